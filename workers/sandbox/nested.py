"""JSON and TOML from untrusted code, with a limit on nesting. Pure."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

NESTING_MAX = 100
# tomllib stores every prefix of a dotted key: one of 30,000 parts takes 4 GB. A key cannot span lines.
_LINE_DOTS_MAX = 256


class NestedTooDeepError(ValueError):
    """Values are nested more than NESTING_MAX levels deep, or a TOML key can be."""


class Number(str):
    """A JSON number as it is written."""


def parse_json(text: str | bytes, *, numbers: Callable[[str], Any] | None = None) -> Any:
    """Parse JSON; ``numbers`` makes something else of the text of a number than an int or a float.

    Raises ValueError if it is not JSON, and NestedTooDeepError.
    """
    try:
        return _checked(json.loads(text, parse_int=numbers, parse_float=numbers, parse_constant=numbers))
    except RecursionError as error:
        raise NestedTooDeepError(_sentence()) from error


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises ValueError if it is not TOML, and NestedTooDeepError."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > _LINE_DOTS_MAX:
            raise NestedTooDeepError(f"line {number} has more than {_LINE_DOTS_MAX} dots")
    try:
        found: dict[str, Any] = _checked(tomllib.loads(text))
    except RecursionError as error:
        raise NestedTooDeepError(_sentence()) from error
    return found


def _checked(found: Any) -> Any:
    """The same; what is nested less deep can be written, shown and compared without a RecursionError later."""
    level = [found]
    for _ in range(NESTING_MAX + 1):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return found
    raise NestedTooDeepError(_sentence())


def _sentence() -> str:
    return f"its values are nested more than {NESTING_MAX} levels deep"
