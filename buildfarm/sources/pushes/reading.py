"""How parts of all forges' payloads are read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from buildfarm.errors import RequestError
from buildfarm.fields import check_ref
from buildfarm.sources.pushes.event import place_of_address

Json = Mapping[str, Any]


class UnreadableError(RequestError):
    """The body is not the JSON that the forge documents."""

    code = "request.unreadable"


def load(body: bytes) -> Json:
    """The body's JSON object. Raises UnreadableError."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(
            "The body is not JSON.", advice="Choose the content type application/json in the forge's settings."
        ) from error
    if not isinstance(found, dict):
        raise UnreadableError("The body is not a JSON object.", advice="Deliver what the forge itself sends.")
    return found


def seconds(value: object) -> float:
    """A time as seconds since the epoch: a number, ISO 8601, or GitLab's ``2026-01-31 12:00:00 UTC``; 0 if none."""
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str) or not value:
        return 0.0
    text = value.replace(" UTC", "+00:00").replace("Z", "+00:00")
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def branch_of(ref: str) -> str:
    """The branch of a full ref; empty for a tag. Raises ValueError for what git would not accept."""
    name = ref.removeprefix("refs/heads/")
    return check_ref(name) if name != ref else ""


def changed(commits: Iterable[Json]) -> tuple[str, ...]:
    """The files that commits add, change and remove."""
    found: dict[str, None] = {}
    for commit in commits:
        for name in ("added", "modified", "removed"):
            found.update(dict.fromkeys(commit.get(name) or ()))
    return tuple(map(str, found))


def addresses(texts: Iterable[object]) -> frozenset[str]:
    """The places of those that are addresses."""
    return frozenset(place_of_address(text) for text in texts if isinstance(text, str)) - {""}
