"""Secrets made unreadable before anything is logged."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

MASK = "***"

# The farm's own tokens and webhook secrets, bearer headers, and passwords in addresses. What has one of these forms is
# masked wherever it stands; a form is all that a log can know of a secret.
_FORMS = (
    (re.compile(r"\b(bf_(?:[a-z0-9]{1,16}-)?[0-9a-f]{16})_[A-Za-z0-9_-]{20,}"), rf"\1_{MASK}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]{8,}"), f"whsec_{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@"), rf"\1:{MASK}@"),
)
_DEEP_MAX = 6


def mask(text: str) -> str:
    """The text without what looks like a secret."""
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text


def mask_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: masks every text of the event, however deep it lies."""
    for name, value in event.items():
        event[name] = _masked(value, 0)
    return event


def _masked(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return mask(value)
    if depth < _DEEP_MAX and isinstance(value, Mapping):
        return {name: _masked(inner, depth + 1) for name, inner in value.items()}
    if depth < _DEEP_MAX and isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_masked(inner, depth + 1) for inner in value]
    return value
