"""What /usr/lib/buildfarm/front-end says of an app."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = str(Path(__file__).parents[1] / "front-end")


@dataclass(frozen=True)
class FrontEnd:
    steps: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_front_end(root: str, config: str) -> FrontEnd:
    if not Path(root, "package.json").is_file():
        return FrontEnd()
    done = subprocess.run([PROGRAM, "plan", root, config], capture_output=True, text=True, check=True)
    return FrontEnd(**json.loads(done.stdout))
