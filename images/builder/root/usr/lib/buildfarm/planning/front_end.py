"""What /usr/lib/buildfarm/front-end says of an app."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

TYPE_CHECKING = False  # of typing, whose import takes 4 ms of every build
if TYPE_CHECKING:
    from typing import Any

PROGRAM = str(Path(__file__).parents[1] / "front-end")


class FrontEnd:
    """``plan`` is all that the buildpack nodejs will do, for `front-end build`."""

    def __init__(
        self,
        steps: Sequence[str] = (),
        problems: Sequence[str] = (),
        warnings: Sequence[str] = (),
        plan: dict[str, Any] | None = None,
    ) -> None:
        self.steps, self.problems, self.warnings, self.plan = list(steps), list(problems), list(warnings), plan


def read_front_end(root: str, config: str) -> FrontEnd:
    if not Path(root, "package.json").is_file():
        return FrontEnd()
    import subprocess  # noqa: PLC0415 - only here: most apps have no front end, and its import takes 5 ms

    done = subprocess.run([PROGRAM, "plan", root, config], capture_output=True, text=True, check=True)
    return FrontEnd(**json.loads(done.stdout))
