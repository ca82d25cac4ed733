"""The least that an export can cost on this machine: the processor time of its stages, spread over all processors."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
import uuid
from collections.abc import Callable

from isal import igzip

from bench.measure import cpu_of, own_cpu
from bench.trees import Tree
from buildfarm.farm import Farm
from buildfarm.oci.tree import tar_command

CHUNK_BYTES = 1024 * 1024


def floor_seconds(farm: Farm, tree: Tree) -> float:
    """Archive, hash, compress, hash, and the registry's own work on what comes out, each measured alone."""
    argv = tar_command(tree.root, owner=1000, names=False)
    before = own_cpu()
    # Through a pipe and not to /dev/null, for which GNU tar reads no file at all.
    raw = subprocess.run(argv, capture_output=True, check=True).stdout
    tar_cpu = own_cpu() - before
    chunks = [raw[at : at + CHUNK_BYTES] for at in range(0, len(raw), CHUNK_BYTES)]
    hash_seconds = _seconds(lambda: hashlib.sha256(raw).digest())
    packed: list[bytes] = []
    compress_seconds = _seconds(lambda: packed.extend(igzip.compress(chunk, 1, mtime=0) for chunk in chunks))
    whole = b"".join(packed)
    hash_packed_seconds = _seconds(lambda: hashlib.sha256(whole).digest())
    before = cpu_of("docker-registry")
    farm.registry.put_blob(f"bench/floor-{uuid.uuid4().hex[:12]}", whole)
    registry_cpu = cpu_of("docker-registry") - before
    total = tar_cpu + hash_seconds + compress_seconds + hash_packed_seconds + registry_cpu
    return total / (os.cpu_count() or 1)


def _seconds(step: Callable[[], object]) -> float:
    started = time.monotonic()
    step()
    return time.monotonic() - started
