"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from buildfarm.errors import BuildfarmError


class Level(StrEnum):
    """What a finding means for `buildfarm up`."""

    OK = "ok"
    NOTICE = "notice"  # it works without, or `up` does it by itself
    MISSING = "missing"  # it does not work without


@dataclass(frozen=True)
class Finding:
    """A sentence on what was found, and one on what to do about it."""

    check: str
    level: Level
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    """Nothing to do."""
    return Finding(check, Level.OK, detail)


def notice(check: str, detail: str, advice: str) -> Finding:
    """Good to know, and no obstacle."""
    return Finding(check, Level.NOTICE, detail, advice)


def missing(check: str, detail: str, advice: str) -> Finding:
    """An obstacle."""
    return Finding(check, Level.MISSING, detail, advice)


def obstacle(check: str, error: BuildfarmError) -> Finding:
    """An obstacle, as the error that `up` would end with."""
    return missing(check, error.message, error.advice)
