"""Which build tools a plan means, for /usr/lib/buildfarm/tools.

Only the first of its ranges counts: a later one is what a buildpack takes if it cannot fetch a version of the first.
Ranges are npm's, or ">=1.24.3,<1.25" and "==3.31.10".
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, os.environ.get("BUILDFARM_RANGES", "/buildpacks/nodejs/lib"))

import ranges

ROOT = Path("/opt/buildfarm/tools")


def main(action: str, first: str, *words: str) -> int:
    if action == "wanted":
        for name, version in wanted(json.loads(first), [tuple(word.split("=", 1)) for word in words]):
            print(f"{name}={version}")
        return 0
    found = find(first, words, os.environ.get("BUILDFARM_TOOLS", "").split())
    if found is None:
        return 1
    print(*found)
    return 0


def wanted(asked: dict[str, list[str]], offered: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of each tool that a plan names, the newest offered version in the first of its ranges."""
    chosen = []
    for tool, texts in asked.items():
        versions = [version for name, version in offered if name == tool and within(version, *texts[:1])]
        chosen += [(tool, max(versions, key=numbers))] if versions else []
    return chosen


def find(name: str, asked: tuple[str, ...], mounted: list[str]) -> tuple[Path, str] | None:
    """`mounted` are folders below the root, as "go/1.24.11-0123456789ab"."""
    for folder in mounted:
        version = folder.rpartition("/")[2].rpartition("-")[0]
        if folder.rpartition("/")[0] == name and within(version, *asked[:1]) and (ROOT / folder).is_dir():
            return ROOT / folder, version
    return None


def within(version: str, text: str = "") -> bool:
    text = re.sub(r"==+", "=", text.replace(",", " ")).strip()
    if ranges.exact(text):
        return text.lstrip("v=") == version
    return ranges.satisfies(version, text)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
