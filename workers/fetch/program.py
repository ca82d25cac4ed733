"""How a program of the farm runs in a fetching sandbox: the node sends its text, so that any builder can run it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from inspect import getsource

_INSIDE = "workers.fetch.inside"
_LFS = ("pointer", "address", "answers", "authenticate", "server", "files")
# Its modules, each after those that it imports; the last one is the program.
_PROGRAMS = {
    "git": ("refused", "git"),
    "git-lfs": ("refused", "lfs", *(f"lfs.{name}" for name in _LFS), "git"),
    "oci": ("refused", "oci"),
}
# Makes modules of their texts, under the names by which they import each other.
_LOADER = """
import sys, types
for name, text in {modules!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), vars(module))
module.main()
"""


@cache
def command_of(name: str) -> tuple[str, ...]:
    """The command of this program. -I and -S: nothing of the environment, and only the standard library."""
    modules = [(full, getsource(import_module(full))) for full in (f"{_INSIDE}.{part}" for part in _PROGRAMS[name])]
    return ("python3", "-I", "-S", "-c", _LOADER.format(modules=modules))
