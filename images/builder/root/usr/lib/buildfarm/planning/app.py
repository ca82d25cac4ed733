"""An app as a plan sees it: its files and its config vars. Nothing of it is run."""

from __future__ import annotations

import re
from pathlib import Path

from planning import decode

READ_MAX = 4 << 20


class App:  # no dataclass: their import takes 10 ms of every build
    def __init__(self, root: Path, config: dict[str, str] | None = None) -> None:
        self.root, self.config = root, config or {}

    def has(self, *names: str) -> list[str]:
        """Those of the names that are files."""
        return [name for name in names if (self.root / name).is_file()]

    def text(self, name: str) -> str:
        """A file's text; empty if there is no such file."""
        path = self.root / name
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return decode(file.read(READ_MAX)).replace("\r\n", "\n").replace("\r", "\n")

    def first_line(self, name: str) -> str:
        """The first line that says something."""
        lines = (line.split("#")[0].strip() for line in self.text(name).splitlines())
        return next((line for line in lines if line), "")

    def tool_version(self, *tools: str) -> str:
        """What .tool-versions asks of a tool."""
        found = re.search(rf"^(?:{'|'.join(tools)})[ \t]+(\S+)", self.text(".tool-versions"), re.MULTILINE)
        return found[1] if found else ""


def read_app(root: str, config: str) -> App:
    folder = Path(config)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return App(Path(root), {file.name: file.read_text(errors="replace") for file in files if file.is_file()})
