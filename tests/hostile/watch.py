"""A watch over a node: everything it opens, lists, stats or runs below its workspaces that does not go by the door.

An audit hook (PEP 578) hears what Python opens, lists, changes and starts; Python does not audit stat and its kind, so
those are wrapped. It is part of the tests: the node's own code has no hook.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil  # noqa: F401 - it looks at what os can do when it is imported: that must be before the wrapping
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

DOOR = "workers/build_folder.py"
# What a build on a snapshot wrote is looked at in one place, without reading any file of it.
RAW_DOOR = "workers/sandbox/overlay.py"
_RAW_EVENTS = ("os.lstat", "os.scandir", "os.getxattr")
REPORT = "HOSTILE_WATCH_REPORT"

# Audit events with a path, and which of the arguments that is.
_PATHS = {
    **dict.fromkeys(
        ["open", "os.listdir", "os.scandir", "os.chdir", "os.chmod", "os.chown", "os.mkdir", "os.remove", "os.rmdir",
         "os.truncate", "os.utime", "os.getxattr", "os.listxattr", "os.setxattr", "os.removexattr", "glob.glob",
         "shutil.rmtree", "shutil.chown", "shutil.unpack_archive", "tempfile.mkstemp", "tempfile.mkdtemp"], (0,)),
    **dict.fromkeys(
        ["os.link", "os.rename", "shutil.copyfile", "shutil.copymode", "shutil.copystat", "shutil.copytree",
         "shutil.move"], (0, 1)),
    "os.symlink": (1,),
}  # fmt: skip
_COMMANDS = {"subprocess.Popen": (0, 1, 2), "os.exec": (0, 1), "os.posix_spawn": (0, 1), "os.system": (0,)}
_NOT_AUDITED = ("stat", "lstat", "access", "readlink", "statvfs", "open")


class Watch:
    """Writes a line of JSON for each access; ``workspaces`` is the folder of all nodes' workspaces."""

    def __init__(self, workspaces: str, report: Path) -> None:
        self._root = re.escape(workspaces)
        self._below = re.compile(f"{self._root}/[^/]+/[^/]+/files/(app|cache|tmp|layers|merged)/.")
        # Both trees of an overlay, and what is below a snapshot
        self._raw = re.compile(f"{self._root}/[^/]+/[^/]+/files/node/(upper|lower|work)/.")
        # Of a snapshot, the farm's own list of folders with hard links is read, by the door
        self._list = re.compile(f"{self._root}/[^/]+/[^/]+/files/node/lower/linked(/folders)?$")
        self._at = re.compile(f"{self._root}/[^/]+/[^/]+/files(/|$)")
        self._descriptor = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._busy = threading.local()
        self._readlink = os.readlink

    def begin(self) -> None:
        """From now on to the end of the process."""
        for name in _NOT_AUDITED:
            self._wrap(name)
        sys.addaudithook(self._hear)

    def _wrap(self, name: str) -> None:
        original = getattr(os, name)

        @functools.wraps(original)
        def watched(path: Any, *arguments: Any, **options: Any) -> Any:
            self._look(f"os.{name}", self._resolved(path, options.get("dir_fd")))
            return original(path, *arguments, **options)

        for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
            if original in able:
                able.add(watched)
        setattr(os, name, watched)

    def _hear(self, event: str, arguments: Sequence[Any]) -> None:
        if event in _PATHS:
            for number in _PATHS[event]:
                self._look(event, self._resolved(arguments[number], None))
        elif event in _COMMANDS:
            self._judge(event, [*_words(arguments[number] for number in _COMMANDS[event])])

    def _look(self, event: str, path: str) -> None:
        if self._below.match(path):
            self._write(event, path, door=_by_the_door())
        elif self._raw.match(path):
            listed = bool(self._list.match(path)) and _by_the_door()
            self._write(event, path, door=listed or (event in _RAW_EVENTS and _by_the_door(RAW_DOOR)))

    def _judge(self, event: str, words: list[str]) -> None:
        """A program may be given what the door gave it: a tar that takes names, and a find that the door started."""
        paths = [self._resolved(word.rpartition("=")[2] if word.startswith("--") else word, None) for word in words]
        told = " ".join(words)[:300]
        if any(self._raw.match(path) for path in paths):
            self._write(event, told, door=False)
        elif any(self._below.match(path) for path in paths):
            self._write(event, told, door=_by_the_door())
        elif any(self._at.match(path) for path in paths):
            program = words[0].rpartition("/")[2]
            by_name = "--no-recursion" in words and "--files-from=-" in words
            if program == "tar":
                self._write(event, told, door=by_name)
            elif program == "find":
                self._write(event, told, door=_by_the_door())

    def _resolved(self, path: Any, folder: int | None) -> str:
        """As the kernel would begin to read it: from a descriptor, the working directory or the root."""
        if getattr(self._busy, "now", False):
            return ""
        self._busy.now = True
        try:
            if isinstance(path, int):
                return self._readlink(f"/proc/self/fd/{path}")
            text = os.fsdecode(path)
            if match := re.match(r"/proc/self/fd/(\d+)", text):
                text = self._readlink(match[0]) + text[match.end() :]
            if not text.startswith("/"):
                base = self._readlink(f"/proc/self/fd/{folder}") if folder is not None else os.getcwd()  # noqa: PTH109
                text = f"{base}/{text}"
            return os.path.normpath(text)
        except (OSError, TypeError, ValueError):
            return ""
        finally:
            self._busy.now = False

    def _write(self, event: str, path: str, *, door: bool) -> None:
        stack = [] if door else [f"{name}:{line}" for name, line in _stack()][2:12]
        os.write(
            self._descriptor, json.dumps({"event": event, "path": path, "door": door, "stack": stack}).encode() + b"\n"
        )


def read_report(report: Path) -> tuple[int, list[str]]:
    """How many accesses went by the door, and the others, as text."""
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    others = [f"{line['event']} {line['path']} from {line['stack']}" for line in lines if not line["door"]]
    return sum(line["door"] for line in lines), others


def _stack() -> Iterator[tuple[str, int]]:
    frame = sys._getframe()
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]


def _by_the_door(door: str = DOOR) -> bool:
    return any(name.endswith(door) for name, _ in _stack())


def _words(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, str | bytes | os.PathLike):
            yield os.fsdecode(value)
        elif isinstance(value, list | tuple):
            yield from _words(value)
