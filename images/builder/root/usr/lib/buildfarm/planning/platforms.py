"""The start that an app's file for another platform names: where there is no Procfile, it is read as one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from planning import read

TYPE_CHECKING = False  # of typing, whose import takes 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Find = Callable[[dict[str, Any]], Any]

_YAML = "puts JSON.dump(YAML.safe_load(STDIN.read, aliases: true))"
_TOP = (None, "", ".", "./", "/")
_RUNTIMES = r"(python|nodejs|php|ruby|go|java)\d*"
# What a start cannot be followed for: a pattern, and what to say of it
_STRANGE = (
    (r"[\x00-\x1f\x7f-\x9f]", "it has several lines"),
    (r"(?:--(?:server\.)?port[= ]|(?:^|\s)-p ?|:|\bPORT=)(\d{2,5})\b", "it names the port {0} itself"),
    (r"(/workspace|/layers|/home/vcap|/opt/render|/nix)/", "{0} is a folder of that platform"),
    (r"(\$\{?VCAP_\w+|\$\{?RAILWAY_\w+|\$\{?RENDER_\w+|\{\{)", "{0} is that platform's own"),
)


def of_google(found: dict[str, Any]) -> Any:
    """Google, "app.yaml Configuration File". Kubernetes' files may have this name."""
    return found.get("entrypoint") if re.fullmatch(_RUNTIMES, str(found.get("runtime"))) else None


def of_cloud_foundry(found: dict[str, Any]) -> Any:
    """Cloud Foundry, "App manifest attribute reference"; `null` and `default` take a command back."""
    app = _only(found.get("applications"), lambda app: True)
    if app.get("path") not in _TOP or app.get("docker"):
        return None
    command = app.get("command") or _only(app.get("processes"), lambda one: one.get("type") == "web").get("command")
    return None if command in ("null", "default") else command


def of_render(found: dict[str, Any]) -> Any:
    """Render, "Blueprint YAML Reference"."""
    web = _only(found.get("services"), lambda service: service.get("type") == "web")
    if web.get("rootDir") not in _TOP or (web.get("runtime") or web.get("env")) in ("docker", "image", "static"):
        return None
    return web.get("startCommand")


def of_digitalocean(found: dict[str, Any]) -> Any:
    """DigitalOcean, "Reference for App Specification"."""
    service = _only(found.get("services"), lambda service: True)
    if service.get("source_dir") not in _TOP or service.get("dockerfile_path") or service.get("image"):
        return None
    return service.get("run_command")


def of_railway(found: dict[str, Any]) -> Any:
    """Railway, "Config as Code"; railpack's own file has the same table."""
    docker = str(_table(found, "build").get("builder")).upper() == "DOCKERFILE"
    return None if docker else _table(found, "deploy").get("startCommand")


def of_nixpacks(found: dict[str, Any]) -> Any:
    """Nixpacks, "File Based Configuration"."""
    return _table(found, "start").get("cmd")


# A file, what in it names the start, and how it is found; the first that names one counts.
FILES: tuple[tuple[str, str, Find], ...] = (
    ("app.yaml", "entrypoint", of_google),
    ("manifest.yml", "command", of_cloud_foundry),
    ("manifest.yaml", "command", of_cloud_foundry),
    ("render.yaml", "startCommand", of_render),
    ("railway.json", "deploy.startCommand", of_railway),
    ("railway.toml", "deploy.startCommand", of_railway),
    ("railpack.json", "deploy.startCommand", of_railway),
    ("nixpacks.toml", "start.cmd", of_nixpacks),
    ("nixpacks.json", "start.cmd", of_nixpacks),
    (".do/app.yaml", "run_command", of_digitalocean),
)


def start(root: Path) -> tuple[str, str, str]:
    """The command, what names it as ``FILE (KEY)``, and why it is not followed; all empty if no file names one.

    Railway builds an app's Dockerfile where there is one: the start is that image's.
    """
    for name, key, find in FILES:
        if name.startswith("rail") and (root / "Dockerfile").is_file():
            continue
        command = find(_load(root / name)) if (root / name).is_file() else None
        if isinstance(command, str) and command.strip():
            return command.strip(), f"{name} ({key})", why_not(command.strip())
    return "", "", ""


def why_not(command: str) -> str:
    """Why a command would not start here what it starts there; empty if it would."""
    for pattern, told in _STRANGE:
        if found := re.search(pattern, command):
            return told.format(*found.groups())
    return ""


def _load(path: Path) -> dict[str, Any]:
    """Empty where it cannot be read: it is another platform's to say what is wrong with it."""
    try:
        found = _parse(path.suffix, read(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _parse(kind: str, text: str) -> Any:
    if kind == ".toml":
        import tomllib  # noqa: PLC0415 - few apps have the file

        return tomllib.loads(text)
    if kind == ".json":
        return json.loads(text)
    import subprocess  # noqa: PLC0415 - its import takes 5 ms

    command = ["ruby", "-ryaml", "-rjson", "-e", _YAML]
    return json.loads(subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout or "{}")


def _table(found: dict[str, Any], key: str) -> dict[str, Any]:
    table = found.get(key)
    return table if isinstance(table, dict) else {}


def _only(entries: Any, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The only table of a list that is wanted; empty if there are several: which one is meant is unknown."""
    tables = [one for one in entries if isinstance(one, dict) and wanted(one)] if isinstance(entries, list) else []
    return tables[0] if len(tables) == 1 else {}


def main(root: Path) -> None:
    """Write the start down as a Procfile, and say so on standard error."""
    command, named_by, not_followed = start(root)
    if not_followed:
        told = f" !     The start in {named_by} is not followed: {not_followed}. Write a Procfile: 'web: COMMAND', "
        sys.stderr.write(f"{told}whose command serves on $PORT.\n")
    elif command:
        (root / "Procfile").write_text(f"# From {named_by}\nweb: {command}\n")
        sys.stderr.write(f"-----> The start is that of {named_by}, as there is no Procfile: {command}\n")
