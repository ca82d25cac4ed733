"""``index_snapshot.py cpanfile.snapshot``: prints it as an index of CPAN, so that cpanm finds exactly its versions."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def index(snapshot: str) -> str:
    lines = ["File: 02packages.details.txt", "Description: Package names found in cpanfile.snapshot", ""]
    packages, path, part = {}, "", ""
    for line in snapshot.splitlines():
        if re.fullmatch(r"  \S+", line):
            path, part = "", ""
        elif found := re.fullmatch(r"    (\w+):(?: (\S+))?", line):
            part = found[1]
            path = found[2] or path
        elif (module := re.fullmatch(r"      (\S+) (\S+)", line)) and part == "provides" and path:
            packages[module[1]] = f"{module[1]} {module[2]} {path}"
    return "\n".join([*lines, *(packages[name] for name in sorted(packages))]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(index(Path(sys.argv[1]).read_text(errors="replace")))
