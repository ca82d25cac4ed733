"""The settings of a static site (redirects, headers, pages), and the readers of `_redirects` and `_headers`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

REDIRECTS = (301, 302, 303, 307, 308)
PATTERN = re.compile(r"/[^\s\"\\]*")
STATUS = re.compile(r"(\d{3})(!?)")
NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
PLACEHOLDERS_MAX = 8  # a regular expression of lighttpd hands on nine groups, one of which is the query


@dataclass(frozen=True)
class Rule:
    """A request for `source` is answered with `target`."""

    source: str  # "*" at its end stands for anything, ":name" for one folder
    target: str  # ":splat" and ":name" are what the source's stand for
    status: int = 301  # one of REDIRECTS, or 200: the target's content under the source's address
    force: bool = False  # also where there is a file at the source


@dataclass(frozen=True)
class Headers:
    """Headers for the paths that match `path`, in which "*" stands for anything and ":name" for one folder."""

    path: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Site:
    fallback: str = ""  # page of the folder that answers, with 200, what is not a file
    error_page: str = "404.html"  # page of the folder that answers what is not found, with its status
    clean: bool = True  # /about is about.html
    https_only: bool = False
    listing: bool = False  # a folder without index.html is listed
    dot_files: bool = False  # files and folders whose name begins with a dot are served
    passwords: str = ""  # htpasswd file, from the app's folder
    rules: tuple[Rule, ...] = ()
    headers: tuple[Headers, ...] = ()


@dataclass
class Read:
    """What a file says, and a sentence for each line that is not followed."""

    rules: list[Rule] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    error_page: str = ""
    warnings: list[str] = field(default_factory=list)


def from_settings(settings: dict[str, Any]) -> Site:
    """A site from the JSON that the buildpack writes; its keys are the fields of Site."""
    rules = tuple(Rule(**rule) for rule in settings.get("rules", ()))
    headers = tuple(Headers(one["path"], tuple(one["headers"].items())) for one in settings.get("headers", ()))
    return Site(**{**settings, "rules": rules, "headers": headers})


def with_files(site: Site, folder: Path) -> Site:
    """The site with what `_redirects` and `_headers` of its folder say."""
    read = read_files(folder)
    return replace(
        site,
        rules=(*site.rules, *read.rules),
        headers=(*site.headers, *read.headers),
        error_page=read.error_page or site.error_page,
    )


def read_files(folder: Path) -> Read:
    read = Read()
    for name, reader in (("_redirects", read_redirects), ("_headers", read_headers)):
        path = folder / name
        if path.is_file():
            reader(path.read_text(encoding="utf-8-sig", errors="replace"), read)
    return read


def read_redirects(text: str, read: Read) -> None:
    """Lines "FROM TO [STATUS]", as Netlify and Cloudflare Pages have them."""
    for number, line in enumerate(text.splitlines(), 1):
        words = re.sub(r"(^|\s)#.*", "", line).split()
        if not words:
            continue
        problem = _read_redirect(words, read)
        if problem:
            read.warnings.append(f"_redirects, line {number}: {problem} This line is not followed.")


def _read_redirect(words: list[str], read: Read) -> str:
    source, *rest = words
    at = next((index for index, word in enumerate(rest) if word.startswith(("/", "http://", "https://"))), None)
    if at is None:
        return f"'{' '.join(words)}' does not name where to send a visitor."
    if at > 0:
        return "Rules for query parameters are not supported."
    target, *options = rest
    status = STATUS.fullmatch(options[0]) if options else None
    if len(options) > (1 if status else 0):
        return f"'{options[-1]}' is not supported: conditions, such as on a country or a language, are not."
    rule = Rule(source, target, int(status[1]) if status else 301, bool(status and status[2]))
    problem = check_rule(rule)
    if problem:
        return problem
    if rule.status == 404:
        read.error_page = target.lstrip("/")
    else:
        read.rules.append(rule)
    return ""


def check_rule(rule: Rule) -> str:
    """What is wrong with a rule, or nothing."""
    if not PATTERN.fullmatch(rule.source):
        return f"'{rule.source}' is not a path. Write it from /, without the host's name."
    if "*" in rule.source[:-1]:
        return f"'{rule.source}' has a * that is not at its end."
    if len(re.findall(r"/:\w+|\*", rule.source)) > PLACEHOLDERS_MAX:
        return f"'{rule.source}' has more than {PLACEHOLDERS_MAX} placeholders."
    if not re.fullmatch(r"[^\s\"\\]+", rule.target):
        return f"'{rule.target}' is not an address."
    return _check_status(rule)


def _check_status(rule: Rule) -> str:
    away = not rule.target.startswith("/")
    if rule.status == 404 and (rule.source != "/*" or away):
        return "Only '/* PAGE 404' is supported for a custom page."
    if rule.status == 200 and away:
        return "A status of 200 with another host is a proxy, which is not supported."
    if rule.status not in {*REDIRECTS, 200, 404}:
        return f"{rule.status} is not one of the statuses {', '.join(map(str, REDIRECTS))}, 200 and 404."
    return ""


def read_headers(text: str, read: Read) -> None:
    """Paths at the start of a line, and below each, indented, its headers."""
    path = ""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if not line[0].isspace():
            path = words if PATTERN.fullmatch(words) else ""
            problem = "" if path else f"'{words}' is not a path."
        else:
            problem = _read_header(path, words, read)
        if problem:
            read.warnings.append(f"_headers, line {number}: {problem} This line is not followed.")


def _read_header(path: str, words: str, read: Read) -> str:
    name, colon, value = (part.strip() for part in words.partition(":"))
    if not path:
        return "No path precedes it."
    if words.startswith("! "):
        return "Removing a header is not supported."
    problem = check_header(name, value) if colon else f"'{words}' has no colon."
    if not problem:
        read.headers.append(Headers(path, ((name, value),)))
    return problem


def check_header(name: str, value: str) -> str:
    """What is wrong with a header, or nothing."""
    if not NAME.fullmatch(name):
        return f"'{name}' is not the name of a header."
    if name.lower() == "basic-auth":
        return "Basic-Auth is not supported: use Staticfile.auth."
    if re.search(r"[\x00-\x1f\x7f]|\\$|\\\"", value):
        return f"The value of {name} has a character that cannot be sent."
    return ""
