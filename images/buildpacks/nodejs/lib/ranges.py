"""Version ranges as npm reads them: ``^20``, ``>=18 <23 || 24.x``, ``~22.1``, ``18 - 20``."""

from __future__ import annotations

import re

Version = tuple[int, int, int]

_PARTIAL = re.compile(r"v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$")
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)$")
_SPACED = re.compile(r"(>=|<=|>|<|=|\^|~>?)\s+")
_OPERATOR = re.compile(r"(>=|<=|>|<|=|\^|~>?)?(.*)$")
_EVERY = ("", "*", "x", "X", "latest", "node", "current", "stable")

# From (inclusive) up to (exclusive).
Interval = tuple[Version, Version]
_FIRST: Version = (0, 0, 0)
_LAST: Version = (10**9, 0, 0)


def exact(text: str) -> bool:
    """Whether this names one version and no range."""
    return bool(re.fullmatch(r"[v=]?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", text.strip()))


def valid(text: str) -> bool:
    try:
        _intervals(text)
    except ValueError:
        return False
    return True


def satisfies(version: str, text: str) -> bool:
    """Whether the version is in the range; a range that cannot be read contains nothing."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if found is None or not valid(text):
        return False
    number = (int(found[1]), int(found[2]), int(found[3]))
    return any(low <= number < high for low, high in _intervals(text))


def _intervals(text: str) -> list[Interval]:
    return [_alternative(part.strip()) for part in text.split("||")]


def _alternative(text: str) -> Interval:
    if text in _EVERY:
        return _FIRST, _LAST
    if hyphen := _HYPHEN.match(text):
        return _bounds(">=", hyphen[1])[0], _bounds("<=", hyphen[2])[1]
    low, high = _FIRST, _LAST
    for word in _SPACED.sub(r"\1", text).replace(",", " ").split():
        found = _OPERATOR.match(word)
        assert found is not None
        lower, upper = _bounds(found[1] or "", found[2])
        low, high = max(low, lower), min(high, upper)
    return low, high


def _bounds(operator: str, text: str) -> Interval:
    found = _PARTIAL.match(text)
    if found is None:
        raise ValueError(text)
    parts = [int(part) for part in found.groups()[:3] if part is not None and part.isdigit()]
    first, second, third = (*parts, 0, 0, 0)[:3]
    low = (first, second, third)
    after = _next(low, len(parts))  # the first version that the written digits do not cover
    nonzero = next((place for place, part in enumerate(parts, 1) if part), len(parts))
    return {
        ">=": (low, _LAST),
        "<": (_FIRST, low),
        ">": (after, _LAST),
        "<=": (_FIRST, after),
        "^": (low, _next(low, nonzero)),
        "~": (low, _next(low, min(2, len(parts)))),
        "~>": (low, _next(low, min(2, len(parts)))),
    }.get(operator, (low, after))


def _next(version: tuple[int, ...], digits: int) -> Version:
    """The version in which the last of the first ``digits`` numbers is one higher."""
    if digits == 0:
        return _LAST
    raised = (*version[: digits - 1], version[digits - 1] + 1, 0, 0)
    return raised[0], raised[1], raised[2]
