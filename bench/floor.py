"""The least that an export can take on this machine: its processor time, spread over all processors, and what follows.

The stages: list (an lstat of each entry, which the stat signature needs), archive, hash, compress, hash, send, and
mount the builder's layers; the last two with what the registry and the engine's proxy before it spend on what comes in.
Config and manifest are written behind the last layer, one after the other: no processor makes that shorter.
"""

from __future__ import annotations

import hashlib
import math
import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable

from isal import igzip

from bench.measure import cpu_of, own_cpu
from bench.trees import Tree
from buildfarm.farm import Farm
from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.manifest import Descriptor, media_types
from buildfarm.oci.tree import tar_command
from workers.builder import Builder

CHUNK_BYTES = 1024 * 1024
RUNS = 3
SENDING_RUNS = 8
RECEIVERS = ("docker-registry", "docker-proxy")


def floor_seconds(farm: Farm, builder: Builder, tree: Tree) -> float:
    """Each stage alone, the best of several runs; the first warms the page cache. A floor is not an average."""
    argv = tar_command(tree.root, owner=1000)
    # Through a pipe and not to /dev/null, for which GNU tar reads no file at all.
    listing, archive = map(
        _shell_cpu, (f"find {tree.root} -printf %s >/dev/null", f"{shlex.join(argv)} | cat >/dev/null")
    )
    raw = subprocess.run(argv, capture_output=True, check=True).stdout
    chunks = [raw[at : at + CHUNK_BYTES] for at in range(0, len(raw), CHUNK_BYTES)]
    whole = b"".join(igzip.compress(chunk, 1, mtime=0) for chunk in chunks)
    compute = sum(
        min(_seconds(step) for _ in range(RUNS))
        for step in (
            lambda: hashlib.sha256(raw).digest(),
            lambda: [igzip.compress(chunk, 1, mtime=0) for chunk in chunks],
        )
    )
    # Its digest is the second hash.
    send = _receivers_cpu(lambda: farm.registry.put_blob(_repository(), whole, look=False))
    mount = _receivers_cpu(lambda: _mount(farm, builder))
    return (listing + archive + compute + send + mount) / (os.cpu_count() or 1) + _writes_seconds(farm)


def _receivers_cpu(step: Callable[[], object]) -> float:
    """With the registry's part, which the kernel reports only in hundredths of a second: the mean of several runs."""

    def several() -> None:
        for _ in range(SENDING_RUNS):
            step()

    return _cpu(several, *RECEIVERS) / SENDING_RUNS


def _repository() -> str:
    return f"bench/floor-{uuid.uuid4().hex[:12]}"


def _mount(farm: Farm, builder: Builder) -> None:
    repository = _repository()
    for layer in builder.manifest.layers:
        farm.registry.mount(repository, layer.digest, builder.repository)


def _writes_seconds(farm: Farm) -> float:
    """A config and a manifest into the registry, each alone."""
    best = math.inf
    for _ in range(RUNS):
        repository, config = _repository(), uuid.uuid4().bytes
        layer = Descriptor(media_types("oci").layers["gzip"], farm.registry.put_blob(repository, config), len(config))
        started = time.monotonic()
        farm.registry.put_blob(repository, EMPTY_CONFIG, look=False)
        manifest = artifact("application/vnd.buildfarm.floor.v1", [layer])
        farm.registry.put_manifest(repository, manifest, media_types("oci").manifest, tag=None)
        best = min(best, time.monotonic() - started)
    return best


def _shell_cpu(command: str) -> float:
    return min(_cpu(lambda: subprocess.run(command, shell=True, check=True)) for _ in range(RUNS + 1))


def _cpu(step: Callable[[], object], *others: str) -> float:
    """Processor seconds of this process, of the children it waited for, and of other processes of these names."""
    before = own_cpu() + sum(map(cpu_of, others))
    step()
    return own_cpu() + sum(map(cpu_of, others)) - before


def _seconds(step: Callable[[], object]) -> float:
    started = time.monotonic()
    step()
    return time.monotonic() - started
