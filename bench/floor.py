"""The least that an export can take on this machine: its processor time, spread over all processors, and what follows.

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

CHUNK_BYTES = 1024 * 1024
RUNS = 3


def floor_seconds(farm: Farm, tree: Tree) -> float:
    """Archive, hash, compress, hash, the registry's own work on what comes out, and the last writes, each alone.

    Of each stage the best of several runs counts, the first of which warms the page cache: a floor is no average.
    """
    argv = tar_command(tree.root, owner=1000)
    tar_cpu = math.inf
    for _ in range(RUNS + 1):
        before = own_cpu()
        # Through a pipe and not to /dev/null, for which GNU tar reads no file at all.
        subprocess.run(f"{shlex.join(argv)} | cat >/dev/null", shell=True, check=True)
        tar_cpu = min(tar_cpu, own_cpu() - before)
    raw = subprocess.run(argv, capture_output=True, check=True).stdout
    chunks = [raw[at : at + CHUNK_BYTES] for at in range(0, len(raw), CHUNK_BYTES)]
    whole = b"".join(igzip.compress(chunk, 1, mtime=0) for chunk in chunks)
    compute = sum(
        min(_seconds(step) for _ in range(RUNS))
        for step in (
            lambda: hashlib.sha256(raw).digest(),
            lambda: [igzip.compress(chunk, 1, mtime=0) for chunk in chunks],
            lambda: hashlib.sha256(whole).digest(),
        )
    )
    registry_cpu = math.inf
    for _ in range(RUNS):
        before = cpu_of("docker-registry")
        farm.registry.put_blob(f"bench/floor-{uuid.uuid4().hex[:12]}", whole, look=False)
        registry_cpu = min(registry_cpu, cpu_of("docker-registry") - before)
    return (tar_cpu + compute + registry_cpu) / (os.cpu_count() or 1) + _writes_seconds(farm)


def _writes_seconds(farm: Farm) -> float:
    """A config and a manifest into the registry, each alone."""
    best = math.inf
    for _ in range(RUNS):
        repository, config = f"bench/floor-{uuid.uuid4().hex[:12]}", uuid.uuid4().bytes
        layer = Descriptor(media_types("oci").layers["gzip"], farm.registry.put_blob(repository, config), len(config))
        started = time.monotonic()
        farm.registry.put_blob(repository, EMPTY_CONFIG, look=False)
        manifest = artifact("application/vnd.buildfarm.floor.v1", [layer])
        farm.registry.put_manifest(repository, manifest, media_types("oci").manifest, tag=None)
        best = min(best, time.monotonic() - started)
    return best


def _seconds(step: Callable[[], object]) -> float:
    started = time.monotonic()
    step()
    return time.monotonic() - started
