"""The launcher: becomes a process of an image that Cloud Native Buildpacks made (platform.md, "launcher")."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lifecycle.environment import add_files, add_paths, without

LAYERS = Path("/layers")
PROCESSES = "/cnb/process"


def main(arguments: Sequence[str]) -> NoReturn:
    """``TYPE [ARGUMENT...]`` by the name of the program; else ``launcher -- COMMAND...`` or ``launcher SCRIPT``."""
    called, *words = arguments
    try:
        metadata = tomllib.loads((LAYERS / "config" / "metadata.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        _end(f"the image has no readable metadata: {error}")
    named = Path(called).name
    process = next((item for item in metadata.get("processes", []) if item["type"] == named), None)
    if process is not None:
        # Who starts it may change a process's arguments, never its command.
        command = [*process["command"], *(words or process.get("args", []))]
        folder = process.get("working-dir") or "/app"
    elif words[:1] == ["--"]:
        command, folder = words[1:], "/app"
    else:
        command, folder = ["bash", "-c", _with_profile(words)] if words else [], "/app"
    if not command:
        kinds = ", ".join(item["type"] for item in metadata.get("processes", []))
        _end(f"name what to start: a process type ({kinds}) or a command")
    variables = _environment(metadata.get("buildpacks", []), named if process is not None else "")
    os.chdir(folder)
    os.environ["PATH"] = variables.get("PATH", "")  # where the command is looked for
    try:
        os.execvpe(command[0], command, variables)
    except OSError as error:
        _end(f"{command[0]} cannot be started: {error.strerror}", 127)


def _environment(buildpacks: Sequence[Mapping[str, Any]], process: str) -> dict[str, str]:
    variables = without(os.environ, "CNB_LAYERS_DIR", "CNB_APP_DIR", "CNB_PROCESS_TYPE")
    folders = [part for part in variables.get("PATH", "").split(":") if part != PROCESSES]
    variables["PATH"] = ":".join(folders)
    found = [layer for item in buildpacks for layer in _layers(str(item["id"]))]
    for layer in found:
        add_paths(variables, layer, launch=True)
    for layer in found:
        add_files(variables, layer / "env")
        add_files(variables, layer / "env.launch")
        if process:
            add_files(variables, layer / "env.launch" / process)
    for layer in found:
        for folder in (layer / "exec.d", *([layer / "exec.d" / process] if process else [])):
            if folder.is_dir():
                for program in sorted(path for path in folder.iterdir() if path.is_file()):
                    variables |= _told_by(program, variables)
    return variables


def _layers(buildpack: str) -> list[Path]:
    folder = LAYERS / buildpack.replace("/", "_")
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _told_by(program: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What an exec.d program writes to its file descriptor 3: TOML, keys and text (buildpack.md, "exec.d")."""
    reader, writer = os.pipe()
    try:
        # The program's 3 is our pipe's end, whatever number it has here.
        child = subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$0" 3>&{writer} {writer}>&-' if writer != 3 else 'exec "$0"', str(program)],
            env=dict(variables),
            cwd="/app",
            pass_fds=(writer,),
        )
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            content = pipe.read()
        if child.wait() != 0:
            _end(f"{program} ended with {child.returncode}", child.returncode)
        return {str(key): str(value) for key, value in tomllib.loads(content.decode()).items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        _end(f"{program}: {error}")


def _with_profile(words: Sequence[str]) -> str:
    return f"if [ -f /app/.profile ]; then source /app/.profile; fi; {' '.join(words)}"


def _end(sentence: str, code: int = 82) -> NoReturn:
    print(f"launcher: {sentence}.", file=sys.stderr)
    sys.exit(code)
