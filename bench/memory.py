"""Peak memory of an export: ``python -m bench.memory ROOT`` prints KiB above idle."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.trees import Tree
from bench.ways import Ours
from buildfarm.farm import open_farm
from buildfarm.settings import read_settings
from testkit.registry.reading import read_builder


def main(root: Path) -> None:
    with open_farm(read_settings()) as farm:
        builder = read_builder(farm)
        warm = root.parent / "warm" / "app"
        warm.mkdir(parents=True, exist_ok=True)
        (warm / "x").write_text("x")
        for folder in (warm, root):
            idle = peak()
            ours = Ours(farm, builder, Tree("memory", folder, frozenset(), "", 0, 0), folder)
            ours.export()
            ours.clean()
        print(peak() - idle)


def peak() -> int:
    """Peak resident memory of this process in KiB (proc(5), VmHWM); tar's own few MiB are not in it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
