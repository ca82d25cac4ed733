"""``plan.py BUILD_DIR ENV_DIR``: prints the plan of a Rust app as one JSON object."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ.get("BUILDFARM_LIBRARY", "/usr/lib/buildfarm"))

from planning import ProblemError, found, read, run

WEB_NAMES = ("web", "server", "api", "app", "main")
HAS = "the distribution's, which is the only one here"


def make(root: Path, config: dict[str, str]) -> dict[str, Any]:
    manifest = _toml(root, "Cargo.toml")
    programs = find_programs(root, manifest)
    if not programs:
        raise ProblemError(
            "Cargo.toml has no program: there is no src/main.rs, no file below src/bin and no [[bin]]. Add one, or "
            "build an app that uses it."
        )
    web, why = choose_web(programs, _table(manifest, "package"))
    asked = _asked(root)
    lock = (root / "Cargo.lock").is_file()
    processes = {"web": f"target/release/{web}"} if web else {}
    return {
        "found": found(
            root, "Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain", ".cargo/config.toml", "vendor"
        ),
        "manager": {
            "name": "cargo",
            "version": "the distribution's",
            "because": "Cargo.lock" if lock else "there is no lock file",
        },
        "language": {"name": "rust", "version": "the distribution's", "because": HAS},
        "steps": [f"cargo build --release{' --locked' if lock else ''}"],
        "programs": programs,
        "processes": processes | {name: f"target/release/{name}" for name in programs if name not in (web, "web")},
        "because": why,
        "warnings": [
            *([f"{asked[1]} asks for Rust {asked[0]}; it is built with the distribution's."] if asked else []),
            *(
                []
                if web or (root / "Procfile").exists()
                else [f"How to start the app is unknown: {why}. Name it in a Procfile: 'web: target/release/NAME'."]
            ),
        ],
    }


def _toml(root: Path, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(read(root / name))
    except tomllib.TOMLDecodeError as error:
        raise ProblemError(f"{name} is not valid TOML: {error}. Correct it and build again.") from error


def _table(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    value = manifest.get(name, {})
    if not isinstance(value, dict):
        raise ProblemError(f"'{name}' of Cargo.toml is not a table. Correct it and build again.")
    return value


def find_programs(root: Path, manifest: dict[str, Any]) -> list[str]:
    """The programs of the root's package and of the workspace's members, each once."""
    programs = _package_programs(root, manifest)
    workspace = _table(manifest, "workspace")
    for pattern in workspace.get("default-members") or workspace.get("members", []):
        for folder in (
            sorted(root.glob(str(pattern).removeprefix("./"))) if not str(pattern).startswith(("/", "..")) else ()
        ):
            if folder != root and (folder / "Cargo.toml").is_file():
                programs += _package_programs(folder, _toml(folder, "Cargo.toml"))
    return list(dict.fromkeys(programs))


def _package_programs(folder: Path, manifest: dict[str, Any]) -> list[str]:
    package = _table(manifest, "package")
    if not package:
        return []
    named = [one for one in manifest.get("bin", []) if not one.get("required-features")]
    programs = [str(one["name"]) for one in named if "name" in one]
    if (folder / "src/main.rs").is_file() and not any(
        one.get("path", "src/main.rs") == "src/main.rs" for one in manifest.get("bin", [])
    ):
        programs.insert(0, str(package.get("name", "")))
    if package.get("autobins", True):
        programs += [path.stem for path in sorted((folder / "src/bin").glob("*.rs"))] + [
            path.parent.name for path in sorted((folder / "src/bin").glob("*/main.rs"))
        ]
    return [name for name in programs if re.fullmatch(r"[\w-]+", name)]


def choose_web(programs: list[str], package: dict[str, Any]) -> tuple[str, str]:
    if len(programs) == 1:
        return programs[0], f"{programs[0]} is the only program"
    for name in (package.get("default-run"), package.get("name"), *WEB_NAMES):
        if name in programs:
            return name, f"of the programs, {name} is the app's own or called like a web server"
    return "", f"none of {', '.join(programs)} is called like a web server"


def _asked(root: Path) -> tuple[str, str] | None:
    """A toolchain that the app pins, other than "stable"."""
    for name in ("rust-toolchain.toml", "rust-toolchain"):
        text = read(root / name).strip()
        if text:
            channel = re.search(r'channel\s*=\s*"([^"]+)"', text)
            version = channel[1] if channel else text.splitlines()[0]
            return None if version == "stable" or version.startswith("[") else (version, name)
    return None


if __name__ == "__main__":
    run("rust", make)
