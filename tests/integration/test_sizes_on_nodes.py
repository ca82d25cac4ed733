"""A build that needs more memory than a standard sandbox has: the hint, and the larger sandbox that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.cli.show import show_build, terminal
from buildfarm.farm import open_farm
from buildfarm.model import State
from testkit.builds import Builds, build_node, farm_alone, wait_for, write_files

MIB = 1024**2
STANDARD_MIB, LARGE_MIB, NEEDED_MIB = 256, 768, 400
SIZES = {"large": f"memory:{LARGE_MIB}MiB/disk:5GiB/seconds:60"}
NODE = {
    "BUILDFARM_SIZES": f"large={SIZES['large']}",
    "BUILDFARM_MEMORY_BYTES": str(STANDARD_MIB * MIB),
    "BUILDFARM_TENANT_SIZES": "standard,large",
    "BUILDFARM_NODE_SIZES": "standard,large",
    "BUILDFARM_NODE_MEMORY_BYTES": str((STANDARD_MIB + LARGE_MIB) * MIB),
    "BUILDFARM_SLOTS": "3",
}


def app(directory: Path, script: str) -> Path:
    """An app that a buildpack of its own builds with this script."""
    files = {"bin/detect": "#!/bin/sh\necho own\n", "bin/compile": f"#!/bin/sh\nset -e\n{script}\n"}
    write_files(directory, files)
    for name in ("detect", "compile"):
        (directory / "bin" / name).chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def built():
    """A farm with one node, on which a large build and a standard one have room, and nothing else."""
    with farm_alone("sizes") as alone:
        changes = {
            "sizes": SIZES, "memory_bytes": STANDARD_MIB * MIB, "tenant_sizes": frozenset({"standard", "large"})
        }  # fmt: skip
        settings = alone.settings.model_copy(update=changes)
        with open_farm(settings) as farm, build_node(farm, **NODE) as node:
            yield Builds(farm, node)


def test_a_build_that_needs_more_memory_names_the_next_size_and_succeeds_with_it(built, tmp_path, capsys):
    need = app(tmp_path / "need", f"python3 -c 'x = bytearray({NEEDED_MIB} << 20); import time; time.sleep(10)'")
    failed = built(need, "need")
    assert failed.failure.code == "app.out_of_memory"
    assert failed.failure.message == "The build needed more memory than its limit (256 MiB, size standard)."
    assert failed.failure.advice == "Build again with --size large, or let it do less at once."
    assert "Build again with --size large" in built.log(failed)

    source, _ = built.farm.pack(need, built.tenant)
    running = built.submit(source=source, app="need", size="large")
    wait_for(lambda: built.farm.get(running).state is State.RUNNING, 60)
    beside = built(app(tmp_path / "quick", "true"), "quick")
    assert (beside.state, built.farm.get(running).state) == (State.SUCCEEDED, State.RUNNING)
    ended = built.ended(running)
    assert (ended.state, ended.request.size) == (State.SUCCEEDED, "large"), ended.failure
    show_build(terminal(), ended, "")
    assert "size       large\n" in capsys.readouterr().out

    built.farm.set_limits(built.tenant, sizes=["standard"])
    failed = built(need, "need", cached_result=False)
    assert (failed.failure.code, "--size" in failed.failure.advice) == ("app.out_of_memory", False)
    built.farm.set_limits(built.tenant, sizes=None)


def test_a_sandbox_has_the_memory_and_the_disk_of_its_size(built, tmp_path):
    script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes || true\ndf -k /app | tail -1"
    log = built.log(built(app(tmp_path / "look", script), "look", size="large"))
    assert str(LARGE_MIB * MIB) in log
    blocks = next(int(line.split()[1]) for line in log.splitlines() if line.endswith("/app"))
    assert blocks > 4.5 * 1024**2
    assert built.node.log.read_text().count("claim_refused") == 0
    [row] = built.farm.nodes()
    assert (row.sizes, row.memory_bytes) == ({"standard": 3, "large": 1}, (LARGE_MIB + STANDARD_MIB) * MIB)
