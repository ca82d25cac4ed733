"""What was found in a layer, within bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VERSION = 2
_APP_FOLDERS = ("app/", "layers/")
_NEEDS_MAX = 20_000
_BRINGS_MAX = 50_000
_FILES_MAX = 400_000
_COMMANDS_MAX = 300  # of a layer; more are "command:*"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass
class Findings:
    """Needs by what is needed, each with the first file that needs it and how many do; all else by file."""

    needs: dict[str, list[Any]] = field(default_factory=dict)
    brings: dict[str, set[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    unknown: str = ""
    damaged_seconds: float = 0.0  # of the processor, which files took that could not be read
    _once: set[str] = field(default_factory=set)
    _commands: int = 0

    def entry(self, name: str, target: str | None) -> None:
        """Anything but a folder; what is below the app's own folders is not listed."""
        folder, _, last = name.rpartition("/")
        if last.startswith(_WHITEOUT):
            removed = f"{folder}/" if last == _OPAQUE else f"{folder}/{last[len(_WHITEOUT) :]}".lstrip("/")
            self.removed.append(removed)
        elif not name.startswith(_APP_FOLDERS):
            if target is not None:
                self.links[name] = target[:4096]
            self.files.append(name)
        if len(self.files) + len(self.removed) > _FILES_MAX:
            raise ValueError("the layer has too many files")

    def need(self, need: str, name: str) -> None:
        """A file needs it."""
        known = self.needs.get(need)
        if known is not None:
            known[1] += 1
        elif len(self.needs) < _NEEDS_MAX:
            self.needs[need] = [name, 1]
        else:
            self.unreadable(name, "the layer needs too many things")

    def elf(self, name: str, needs: set[str], brings: set[str]) -> None:
        """An ELF file."""
        for need in sorted(needs):
            self.need(need, name)
        for brought in sorted(brings):
            self._bring(brought, name)

    def bring_once(self, brought: str, name: str) -> None:
        """A file brings it; of several the first counts."""
        if brought not in self._once:
            self._once.add(brought)
            self._bring(brought, name)

    def command(self, name: str) -> None:
        """A program that the app brings, where a PATH could find it."""
        brought = f"command:{name.rpartition('/')[2]}" if self._commands < _COMMANDS_MAX else "command:*"
        if name.startswith(_APP_FOLDERS) and brought not in self._once:
            self._commands += 1
            self.bring_once(brought, name)

    def unreadable(self, name: str, why: str) -> None:
        """Not all of the layer is known; the first reason counts."""
        self.unknown = self.unknown or f"{name[-200:]}: {why}"

    def document(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "version": VERSION, "needs": self.needs, "brings": {one: sorted(what) for one, what in self.brings.items()},
            "files": sorted(self.files), "links": self.links, "removed": sorted(self.removed), "unknown": self.unknown,
        }  # fmt: skip

    def _bring(self, brought: str, name: str) -> None:
        if len(self.brings) < _BRINGS_MAX or name in self.brings:
            self.brings.setdefault(name, set()).add(brought)
        else:
            self.unreadable(name, "the layer brings too many things")
