"""The forms in which the values of secret config vars are searched for in an image's files."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

VALUE_BYTES_MIN = 8

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True)
class Needle:
    """A form of one config var's value."""

    form: bytes
    name: str  # the config var's
    encoding: str = ""  # as the error's sentence says it


def needles_of(values: Mapping[str, str]) -> tuple[Needle, ...]:
    """Return every form of every value of at least 8 bytes; ``values`` are by the names of their config vars.

    Space around a value is not part of it: a shell drops a final newline. Base64 of a longer text is found too, as in
    the ``user:token`` of a registry's login. A value can start in it at three places, and each gives other characters;
    those that also depend on what stands beside the value are cut off.
    """
    found: dict[bytes, Needle] = {}
    for name, text in values.items():
        value = text.strip().encode(errors="surrogatepass")
        if len(value) < VALUE_BYTES_MIN:
            continue
        encoded = [_base64_behind(count, value) for count in range(3)]
        for form, encoding in (
            (value, ""),
            (quote(value, safe="").encode(), "URL-encoded"),
            *((form, "in base64") for form in encoded),
            *((form.translate(_URL_SAFE), "in base64") for form in encoded),
        ):
            found.setdefault(form, Needle(form, name, encoding))
    return tuple(found.values())


def _base64_behind(count: int, value: bytes) -> bytes:
    """The characters that stand for the value alone if ``count`` bytes come before it; each stands for 6 bits."""
    begin, end = -(-8 * count // 6), 8 * (count + len(value)) // 6
    return base64.b64encode(bytes(count) + value)[begin:end]
