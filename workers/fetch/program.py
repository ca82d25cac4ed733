"""How a program of the farm runs in a fetching sandbox: the node sends its text, so that any builder can run it."""

from __future__ import annotations

from functools import cache
from importlib import resources

from workers.fetch import inside


@cache
def command_of(name: str) -> tuple[str, ...]:
    """The command of this program. -I and -S: nothing of the environment, and only the standard library."""
    text = resources.files(inside).joinpath(f"{name}.py").read_text()
    return ("python3", "-I", "-S", "-c", text)
