"""``plan.py BUILD_DIR ENV_DIR``: prints the plan of a Deno app as one JSON object."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ.get("BUILDFARM_LIBRARY", "/usr/lib/buildfarm"))

from planning import ProblemError, found, read, read_json, run, tool_version

FILES = ("deno.json", "deno.jsonc", "deno.lock", "package.json")
ENDINGS = ("ts", "tsx", "js", "mjs", "jsx")
ENTRIES = tuple(
    f"{folder}{name}.{ending}"
    for folder in ("", "src/")
    for name in ("main", "server", "app", "index", "mod")
    for ending in ENDINGS
)
DEFAULT = "2.x"
NO_LOCK = (
    "There is no deno.lock, so other versions can be installed each day. Run 'deno install' and commit deno.lock.",
)


def make(root: Path, config: dict[str, str]) -> dict[str, Any]:
    settings = read_json(root / "deno.json") or read_json(root / "deno.jsonc")
    tasks = _tasks(settings)
    version, because = choose_version(root)
    entry = find_entry(root, tasks)
    lock, names = lock_file(settings), settings.get("importMap")
    locked = bool(lock) and (root / lock).is_file()
    web, why = choose_start(root, tasks, entry)
    if not web and not (root / "Procfile").exists():
        raise ProblemError("How to start the app is unknown. Write a task 'start' into deno.json, or add a main.ts.")
    frozen = " --frozen" if locked else ""
    return {
        "found": [*found(root, *FILES), *([entry] if entry else [])],
        "manager": {"name": "deno", "version": version, "because": lock if locked else "there is no lock file"},
        "language": {"name": "deno", "version": version, "because": because},
        "tools": {"deno": [version]},
        "steps": [
            f"deno install{frozen}{f' --entrypoint {entry}' if entry else ''}",
            *(["deno task build"] if "build" in tasks else []),
        ],
        "locked": locked,
        "inputs": [*([lock] if lock else []), *([names] if isinstance(names, str) else [])],
        "processes": {"web": web} if web else {},
        "because": why,
        "warnings": [] if locked or not settings.get("imports") else list(NO_LOCK),
    }


def lock_file(settings: dict[str, Any]) -> str:
    """The lock file's name; empty where deno.json wants none."""
    lock = settings.get("lock")
    if lock is False:
        return ""
    named = lock.get("path") if isinstance(lock, dict) else lock
    return named if isinstance(named, str) and named else "deno.lock"


def _tasks(settings: dict[str, Any]) -> dict[str, str]:
    """The commands of the tasks, each of which is a string or an object with one."""
    tasks = settings.get("tasks") or {}
    if not isinstance(tasks, dict):
        raise ProblemError("'tasks' of deno.json is not an object. Correct it and build again.")
    return {name: str(task.get("command", "") if isinstance(task, dict) else task) for name, task in tasks.items()}


def choose_version(root: Path) -> tuple[str, str]:
    tool = tool_version(root, "deno")
    said = [
        (read(root / ".deno-version").strip(), ".deno-version"),
        (read(root / ".dvmrc").strip(), ".dvmrc"),
        *([tool] if tool else []),
    ]
    said.append(
        (str((read_json(root / "package.json").get("engines") or {}).get("deno", "")), "engines.deno in package.json")
    )
    for written, because in said:
        text = re.sub(r"^v(?=\d)", "", written)
        if text in ("", "latest", "lts", "*"):
            continue
        if not re.fullmatch(r"[\^~<>=]*\s*\d+(\.(\d+|x|\*)){0,2}", text):
            raise ProblemError(f"'{text}' in {because} is not a version of Deno. Write one such as 2.1.4.")
        return text.replace(" ", ""), because
    return DEFAULT, "nothing asks for a version, so it is the newest 2.x"


def find_entry(root: Path, tasks: dict[str, str]) -> str:
    """The file that the app starts with: the task's, else the first of the usual names."""
    for word in tasks.get("start", "").split():
        if word.endswith(tuple(f".{ending}" for ending in ENDINGS)) and (root / word).is_file():
            return word.removeprefix("./")
    return next((name for name in ENTRIES if (root / name).is_file()), "")


def choose_start(root: Path, tasks: dict[str, str], entry: str) -> tuple[str, str]:
    if "start" in tasks:
        return "deno task start", "the task start of deno.json"
    if (root / "_fresh").exists() or "@fresh/plugin-vite" in read(root / "deno.json"):
        return "deno serve --allow-all --host 0.0.0.0 --port $PORT _fresh/server.js", "Fresh"
    if not entry:
        return "", ""
    code = read(root / entry)
    if re.search(r"^export\s+default\b", code, re.MULTILINE) and "Deno.serve" not in code:
        return f"deno serve --allow-all --host 0.0.0.0 --port $PORT {entry}", f"{entry} exports a server"
    return f"deno run --allow-all {entry}", f"found {entry}"


if __name__ == "__main__":
    run("deno", make)
