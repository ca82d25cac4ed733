"""Which Node an app asks for, and where."""

from __future__ import annotations

import re
from typing import Any

import ranges
from app import App

# A codename for each even release, as `lts/NAME` in .nvmrc means them.
CODENAMES = {
    "argon": 4, "boron": 6, "carbon": 8, "dubnium": 10, "erbium": 12, "fermium": 14, "gallium": 16, "hydrogen": 18,
    "iron": 20, "jod": 22, "krypton": 24,
}  # fmt: skip
_DEFAULTS = ("lts", "lts/*", "--lts", "lts-*", "system")
_NEWEST = ("latest", "current", "node", "stable")


def asked_node(app: App) -> tuple[str, str]:
    """The range and where it stands; both empty if the app does not say."""
    engine = app.table("engines").get("node")
    if isinstance(engine, str) and engine.strip():
        return _written(engine), f"engines.node in {app.manifest_name}"
    for name in (".nvmrc", ".node-version"):
        if asked := _first_line(app.text(name)):
            return _written(asked), name
    if found := re.search(r"(?m)^node(?:js)?[ \t]+(\S+)", app.text(".tool-versions")):
        return _written(found[1]), ".tool-versions"
    for name in ("mise.toml", ".mise.toml"):
        if app.has(name) and (asked := _mise(app.text(name))):
            return _written(asked), name
    if asked := runtime_version(app.table("devEngines").get("runtime"), "node"):
        return _written(asked), f"devEngines.runtime in {app.manifest_name}"
    return "", ""


def runtime_version(entry: Any, name: str) -> str:
    """The version in ``devEngines.runtime`` or ``.packageManager``: a table, or a list of them."""
    for item in entry if isinstance(entry, list) else [entry]:
        if isinstance(item, dict) and item.get("name") == name and isinstance(item.get("version"), str):
            return str(item["version"]).strip()
    return ""


def _first_line(text: str) -> str:
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return next((line for line in lines if line), "")


def _mise(text: str) -> str:
    import tomllib  # noqa: PLC0415 - few apps have the file

    try:
        tools = tomllib.loads(text).get("tools", {})
    except tomllib.TOMLDecodeError:
        return ""
    found = tools.get("node", tools.get("nodejs", ""))
    found = found[0] if isinstance(found, list) and found else found
    found = found.get("version", "") if isinstance(found, dict) else found
    return str(found)


def _written(text: str) -> str:
    """As a range: tools write ``v22``, ``node-22.1.0``, ``lts/jod`` and ``lts/*``; empty for the builder's own."""
    text = re.sub(r"^(node-|v|=v?)(?=\d)", "", text.strip().lower())
    if text in _DEFAULTS:
        return ""
    if text in _NEWEST:
        return "*"
    if found := re.match(r"lts[/-](\w+)$", text):
        return f"{CODENAMES[found[1]]}.x" if found[1] in CODENAMES else text
    return text


def choose(app: App, have: str) -> tuple[dict[str, Any], str]:
    """The entry ``language`` of the plan, and what is wrong with the range that the app asks for."""
    asked, where = asked_node(app)
    if not asked:
        because = f"the builder's, which {where} allows" if where else "the builder's"
        return {"name": "node", "version": have, "fetched": False, "because": because}, ""
    problem = "" if ranges.valid(asked) else _not_a_range(asked, where)
    fits = ranges.satisfies(have, asked)
    version = have if fits else asked.lstrip("v=") if ranges.exact(asked) else asked
    return {"name": "node", "version": version, "fetched": not fits, "because": f"{where} asks for {asked}"}, problem


def _not_a_range(asked: str, where: str) -> str:
    return f"'{asked}' in {where} is not a version of Node. Write a range as npm reads it, such as '24.x'."
