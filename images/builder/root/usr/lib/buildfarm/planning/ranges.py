"""Version ranges as RubyGems and Composer write them; the two agree on every operator that both have."""

from __future__ import annotations

import re

WIDTH = 4
ONE = re.compile(
    r"(~>|[<>!=]=|[<>=^~])?\s*v?(\d+(?:\.(?:\d+|[xX*]))*|[xX*])(?:-?(?:dev|alpha|beta|rc|p|stable|@)[\w.@-]*)?(?:\s*,\s*|\s+|$)",
    re.IGNORECASE,
)
HYPHEN = re.compile(r"v?(\d+(?:\.\d+)*)\s+-\s+v?(\d+(?:\.\d+)*)")


class WrongRangeError(ValueError):
    """It cannot be read."""


def meets(have: str, wanted: str) -> bool:
    """Whether a version is in a range; alternatives are divided by "|" or "||"."""
    return any(all(_holds(number(have), *one) for one in _conditions(part)) for part in re.split(r"\|\|?", wanted))


def number(version: str) -> tuple[int, ...]:
    """A version's numbers, of one length, so that they can be compared."""
    return _padded([int(part) for part in re.findall(r"\d+", version.partition("-")[0])])


def starts_with(have: str, wanted: str) -> bool:
    """Whether `wanted` is a version, or only its first numbers."""
    return f"{have}.".startswith(f"{wanted}.")


def _conditions(part: str) -> list[tuple[str, str]]:
    text = HYPHEN.sub(_between, part).strip()
    conditions, at = [], 0
    while at < len(text) or not conditions:
        found = ONE.match(text, at)
        if not found:
            raise WrongRangeError(part)
        conditions.append((found[1] or "=", found[2]))
        at = found.end()
    return conditions


def _between(found: re.Match[str]) -> str:
    """ "8.1 - 8.3" is up to the last 8.3."""
    last = found[2] if found[2].count(".") > 1 else f"{found[2]}.99999"
    return f">={found[1]} <={last}"


def _holds(have: tuple[int, ...], operator: str, wanted: str) -> bool:
    numbers = [int(part) for part in wanted.split(".") if part.isdigit()]
    low = _padded(numbers)
    if len(numbers) < len(wanted.split(".")):
        return have[: len(numbers)] == tuple(numbers)
    match operator:
        case "~>" | "~":
            return low <= have < _after(numbers[: max(1, len(numbers) - 1)])
        case "^":
            return (
                low
                <= have
                < _after(numbers[: 1 + next((index for index, part in enumerate(numbers) if part), len(numbers) - 1)])
            )
        case ">=" | ">" | "<" | "<=":
            return {">=": have >= low, ">": have > low, "<": have < low, "<=": have <= low}[operator]
        case "!=":
            return have != low
    return have == low


def _after(numbers: list[int]) -> tuple[int, ...]:
    return _padded([*numbers[:-1], numbers[-1] + 1])


def _padded(numbers: list[int]) -> tuple[int, ...]:
    return tuple((numbers + [0] * WIDTH)[:WIDTH])
