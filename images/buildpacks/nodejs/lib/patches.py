"""The app's own patches of packages, wherever they are: another patch is another package, under the same lock file."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

_TABLES = ("dependencies", "devDependencies", "optionalDependencies", "resolutions")


def find_patches(root: Path, manifests: dict[str, dict[str, Any]], workspace: str) -> list[str]:
    """Those that are there; ``workspace`` is the text of pnpm-workspace.yaml."""
    named = set(re.findall(r"^\s+.*:\s*[\"']?([^\s\"':]+\.patch)\b", workspace, re.MULTILINE))
    for path, manifest in manifests.items():
        folder = PurePosixPath(path).parent
        for key in (manifest.get("patchedDependencies"), _table(manifest, "pnpm").get("patchedDependencies")):
            named.update(str(file) for file in (key if isinstance(key, dict) else {}).values())
        named.update(
            file for key in _TABLES for text in _table(manifest, key).values() for file in _yarns(text, folder)
        )
    return sorted(name for name in named if _is_file(root / name))


def _table(manifest: dict[str, Any], key: str) -> dict[str, Any]:
    table = manifest.get(key)
    return table if isinstance(table, dict) else {}


def _yarns(text: Any, folder: PurePosixPath) -> list[str]:
    """As in "patch:a@npm:1.0.0#~/fixes/a.patch&./b.patch": of the app, and of the manifest's folder."""
    found = re.fullmatch(r"patch:[^#]*#([^:]*)(::.*)?", text) if isinstance(text, str) else None
    files = (file.removeprefix("optional!") for file in (found[1].split("&") if found else ()))
    return [file[2:] if file.startswith("~/") else str(folder / file) for file in files]


def _is_file(path: Path) -> bool:
    """False also for what cannot be a name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
