"""``plan.py BUILD_DIR ENV_DIR``: prints the plan of a static site as one JSON object."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ.get("BUILDFARM_LIBRARY", "/usr/lib/buildfarm"))

from planning import ProblemError, found, read, read_json, run
from static_site.site_files import Rule, check_header, check_rule, read_files

FOLDERS = ("public", "dist", ".", "public_html", "htdocs", "www", "build")
HSTS = "http_strict_transport_security"
IGNORED = {
    "Staticfile": ("ssi", "location_include", "status_codes", "enable_http2"),
    "static.json": ("proxies", "canonical_host", "encoding"),
}


def make(root: Path, config: dict[str, str]) -> dict[str, Any]:
    warnings: list[str] = []
    named, settings = _settings(root, warnings)
    folder, because = _folder(root, named, listing=bool(settings.get("listing")))
    warnings += read_files(root / folder).warnings
    if settings:
        because += ", settings of " + " and ".join(found(root, "Staticfile", "Staticfile.auth", "static.json"))
    return {
        "found": found(
            root,
            "Staticfile",
            "Staticfile.auth",
            "static.json",
            *(f"{name}/index.html".removeprefix("./") for name in FOLDERS),
        )
        + [
            f"{folder}/{name}".removeprefix("./")
            for name in ("_redirects", "_headers")
            if (root / folder / name).is_file()
        ],
        "root": folder,
        "settings": settings,
        "processes": {"web": f"/usr/lib/buildfarm/serve-static {_quoted(folder)} --settings .static/site.json"},
        "because": because,
        "warnings": warnings,
    }


def _settings(root: Path, warnings: list[str]) -> tuple[str, dict[str, Any]]:
    """The folder that the app's files name, if any, and the fields of the server's Site."""
    folder = ""
    settings: dict[str, Any] = {}
    if (root / "Staticfile").is_file():
        folder, settings = read_staticfile(read(root / "Staticfile"), warnings)
    if (root / "static.json").is_file():
        own = read_json(root / "static.json")
        folder, more = str(own.get("root") or "").strip("/") or folder, read_static_json(own, warnings)
        settings |= more
        if not folder and (root / "public_html").is_dir():
            folder = "public_html"
    if (root / "Staticfile.auth").is_file():
        settings["passwords"] = "Staticfile.auth"
    return folder, settings


def _folder(root: Path, named: str, *, listing: bool) -> tuple[str, str]:
    if named:
        if not re.fullmatch(r"(?!/)(?!.*(^|/)\.\.(/|$))[^\n\"\\]+", named) or not (root / named).is_dir():
            raise ProblemError(
                f"The folder '{named}', which Staticfile or static.json names as its root, is not in the app. "
                "Name one that is."
            )
        return named, f"{named} is the root that the app names"
    for name in FOLDERS:
        if (root / name / "index.html").is_file():
            return name, f"found {name}/index.html".replace(" ./", " ")
    if listing:
        return ".", "Staticfile asks for lists of folders"
    raise ProblemError(
        "There is no index.html in the app's own folder, nor in public, dist, public_html, htdocs, www or build. "
        "Add one, or name the site's folder: "
        "'root: FOLDER' in Staticfile."
    )


def read_staticfile(text: str, warnings: list[str]) -> tuple[str, dict[str, Any]]:
    """Cloud Foundry's settings: lines "key: value"."""
    values = {
        key.lower(): value.strip().strip("\"'")
        for key, value in re.findall(r"^([\w-]+):[ \t]*(.*)$", text, re.MULTILINE)
    }
    settings: dict[str, Any] = {}
    if _on(values, "pushstate"):
        settings["fallback"] = "index.html"
    for key, ours in (("force_https", "https_only"), ("host_dot_files", "dot_files"), ("directory", "listing")):
        if _on(values, key):
            settings[ours] = True
    if _on(values, HSTS):
        more = "; includeSubDomains" if _on(values, f"{HSTS}_include_subdomains") else ""
        more += "; preload" if _on(values, f"{HSTS}_preload") else ""
        settings["headers"] = [{"path": "/*", "headers": {"Strict-Transport-Security": f"max-age=31536000{more}"}}]
    page = re.search(r"^status_codes:\s*\n(?:[ \t]+.*\n)*?[ \t]+404:[ \t]*(\S+)", text, re.MULTILINE)
    if page:
        settings["error_page"] = page[1].strip("\"'").lstrip("/")
    warnings += _ignored("Staticfile", set(values) - ({"status_codes"} if page else set()))
    return values.get("root", "").strip("/"), settings


def _on(values: dict[str, str], key: str) -> bool:
    return values.get(key, "").lower() in ("true", "enabled", "visible", "yes", "on")


def read_static_json(own: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """The settings of Heroku's static buildpack."""
    if own.get("basic_auth"):
        raise ProblemError(
            "basic_auth of static.json is not supported, so the site would be open to all. Commit a password file "
            "Staticfile.auth instead."
        )
    settings: dict[str, Any] = {}
    for key, ours in (("clean_urls", "clean"), ("https_only", "https_only")):
        if key in own:
            settings[ours] = bool(own[key])
    if own.get("error_page"):
        settings["error_page"] = str(own["error_page"]).lstrip("/")
    rules = [
        Rule(_source(source), str(to.get("url", "")), _status(to.get("status", 301)), force=True)
        for source, to in _objects(own, "redirects")
    ]
    routes = own.get("routes") or {}
    for source, to in routes.items() if isinstance(routes, dict) else ():
        page = to.get("path", "") if isinstance(to, dict) else to
        if isinstance(to, dict) and to.get("excepts"):
            warnings.append(f"static.json: 'excepts' of the route {source} has no effect here.")
        if source == "/**" and str(page).lstrip("/").endswith(".html"):
            settings["fallback"] = str(page).lstrip("/")
        else:
            rules.append(Rule(_source(source), f"/{str(page).lstrip('/')}", 200))
    settings["rules"] = [vars(rule) for rule in rules if not _warned(check_rule(rule), warnings)]
    settings["headers"] = [
        {
            "path": _path(path),
            "headers": {
                name: str(value)
                for name, value in headers.items()
                if not _warned(check_header(name, str(value)), warnings)
            },
        }
        for path, headers in _objects(own, "headers")
    ]
    warnings += _ignored("static.json", {key for key in own if own[key]})
    return {key: value for key, value in settings.items() if value != []}


def _objects(own: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    value = own.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise ProblemError(f"'{key}' of static.json is not an object of objects. Correct it and build again.")
    return list(value.items())


def _status(value: object) -> int:
    return int(value) if isinstance(value, int | str) and str(value).isdigit() else 0


def _source(path: str) -> str:
    """A path of static.json as ours: "**" stands for anything, "*" for one folder."""
    return re.sub(r"(?<!\*)\*(?!\*)", ":one", path).replace("/**", "/*")


def _path(path: str) -> str:
    return re.sub(r"(?<!\*)\*(?!\*)", ":one", path).replace("**", "*")


def _ignored(file: str, keys: set[str]) -> list[str]:
    return [f"'{key}' of {file} is not supported and has no effect here." for key in IGNORED[file] if key in keys]


def _warned(problem: str, warnings: list[str]) -> bool:
    if problem:
        warnings.append(f"static.json: {problem} This is not followed.")
    return bool(problem)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w./-]+", name) else "'" + name.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    run("static", make)
