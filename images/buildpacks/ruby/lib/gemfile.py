"""What Gemfile, its lock file and version files say. They are read as text: a plan runs nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planning.app import App

TEXT = r"[\"'][^\"']*[\"']"
RUBY = re.compile(rf"^\s*ruby[\s(]+({TEXT}(?:\s*,\s*{TEXT})*)", re.MULTILINE)
RUBY_FROM = re.compile(r"^\s*ruby[\s(]+(?:file:\s*|File\.read\s*\(?\s*)[\"']([^\"']+)[\"']", re.MULTILINE)


@dataclass(frozen=True)
class Asked:
    """The Ruby that an app asks for."""

    range: str = ""  # as RubyGems writes it; empty is any
    because: str = "the builder's"
    enforced: bool = False  # Bundler refuses any other


@dataclass(frozen=True)
class Lock:
    gems: dict[str, str] = field(default_factory=dict)
    platforms: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)  # folders of gems that are in the app
    ruby: str = ""
    bundler: str = ""


def read_asked(app: App) -> Asked:
    gemfile = app.text("Gemfile")
    literal = RUBY.search(gemfile)
    if literal:
        return Asked(", ".join(re.findall(r"[\"']([^\"']*)[\"']", literal[1])), "Gemfile", enforced=True)
    other = RUBY_FROM.search(gemfile)
    if other:
        name = other[1]
        asked = app.tool_version("ruby") if name == ".tool-versions" else app.first_line(name)
        return Asked(_plain(asked), f"Gemfile and {name}", enforced=True)
    for name, asked in (
        (".ruby-version", app.first_line(".ruby-version")),
        (".tool-versions", app.tool_version("ruby")),
    ):
        if asked:
            return Asked(_plain(asked), name)
    return Asked()


def _plain(version: str) -> str:
    return version.removeprefix("ruby-").split("@")[0].strip()


def read_lock(text: str) -> Lock:
    lock, section = Lock(), ""
    found = {"RUBY VERSION": "", "BUNDLED WITH": ""}
    for line in text.splitlines():
        if line and not line[0].isspace():
            section = line.strip()
        elif section in ("GEM", "GIT", "PATH") and (gem := re.fullmatch(r"    (\S+) \(([^()]+)\)", line)):
            lock.gems[gem[1]] = gem[2].split("-")[0]
        elif section == "PATH" and (path := re.fullmatch(r"  remote: (.+)", line)):
            lock.paths.append(path[1])
        elif section == "PLATFORMS" and line.strip():
            lock.platforms.append(line.strip())
        elif section in found and line.strip():
            found[section] = line.strip()
    ruby = re.match(r"ruby (\d+(?:\.\d+)*)", found["RUBY VERSION"])
    return Lock(lock.gems, lock.platforms, lock.paths, ruby[1] if ruby else "", found["BUNDLED WITH"])


def read_gems(app: App, lock: Lock) -> set[str]:
    """The names of all gems; without a lock file those that the Gemfile names."""
    return set(lock.gems) or set(re.findall(r"^\s*gem[\s(]+[\"']([^\"']+)[\"']", app.text("Gemfile"), re.MULTILINE))


def fits(platforms: list[str], machine: str) -> bool:
    """Whether a lock file is for this machine: Debian's Ruby calls it …-linux-gnu, others …-linux; "ruby" is any."""
    return not platforms or any(name in ("ruby", f"{machine}-linux", f"{machine}-linux-gnu") for name in platforms)
