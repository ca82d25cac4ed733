"""What a base lacks that another one has, whatever apps need of it: packages, commands and variables. Pure.

Most of it cannot be known of an app: which commands a program starts, or what it reads of its environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from buildfarm.releases.base import Base
from buildfarm.releases.facts.base import BaseFacts
from buildfarm.releases.facts.words import shown

NAMES_MAX = 20
UNREAD_BASE = "packages and commands were not compared: a base has not been read"
_PACKAGE = re.compile(r"var/lib/dpkg/info/([^/:]+)(?::[^/:]+)?\.list")  # a file for each installed package: dpkg(1)


def differences(before: Base, after: Base, old: BaseFacts | None, new: BaseFacts | None) -> tuple[str, ...]:
    """A phrase for each kind of thing that ``after`` lacks; with facts that are not known, a phrase that says so."""
    found = [
        _phrase("variables", _variables(before) - _variables(after)),
        _phrase("folders of the PATH", _folders(before) - _folders(after)),
    ]
    if old is None or new is None or old.unknown or new.unknown:
        found.append(UNREAD_BASE)
    else:
        found.append(_phrase("packages", _packages(old) - _packages(new)))
        found.append(_phrase("commands", old.commands - new.commands))
    return tuple(phrase for phrase in found if phrase)


def _phrase(kind: str, names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - NAMES_MAX} more" if len(found) > NAMES_MAX else ""
    return f"{len(found)} {kind}: {', '.join(shown(name) for name in found[:NAMES_MAX])}{more}" if found else ""


def _variables(base: Base) -> set[str]:
    return {one.partition("=")[0] for one in base.variables}


def _folders(base: Base) -> set[str]:
    return {folder for one in base.variables if one.startswith("PATH=") for folder in one[5:].split(":")}


def _packages(base: BaseFacts) -> set[str]:
    return {found[1] for name in base.files if (found := _PACKAGE.fullmatch(name))}
