"""A farm's signer as its own process, with a key that it alone has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from buildfarm.farm import Farm
from buildfarm.oci.signatures.signer import new_key

_END_SECONDS = 20


def make_key(folder: Path) -> Path:
    """A new key's file, which only this user can read."""
    path = folder / "signing.key"
    path.touch(mode=0o600)
    path.write_bytes(new_key())
    return path


@contextmanager
def signer_process(farm: Farm, keys: Sequence[Path], **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A signer of this farm, for the length of the block. Its log is beside the first key."""
    environment = {
        **os.environ,
        "BUILDFARM_NAMESPACE": farm.settings.namespace,
        "BUILDFARM_REGISTRY_URL": farm.settings.registry_url,
        "BUILDFARM_REDIS_URL": farm.settings.redis_url.get_secret_value(),
        "BUILDFARM_SIGNING": "1",
        "BUILDFARM_SIGNING_KEYS": "\n".join(f"file:{key}" for key in keys),
        "BUILDFARM_LOG_FORMAT": "json",
        **variables,
    }
    log = keys[0].with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "signer"], env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
