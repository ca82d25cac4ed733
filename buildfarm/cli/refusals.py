"""What the model refuses in a request, in the words of the command line."""

from __future__ import annotations

from pydantic import ValidationError


def sentence_of(error: ValidationError) -> str:
    """What is wrong with a request, without the model's inner names."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "string_pattern_mismatch":
        wanted = _GRAMMARS.get(place.rpartition(".")[2], "letters, digits and dashes")
        return f"{str(first['input'])[:80]!r} is not a valid {place}: use {wanted}."
    return f"{first['msg'].removeprefix('Value error, ')} ({place})."


_GRAMMARS = {
    "tenant": "1 to 30 lower-case letters, digits and dashes, not at the ends",
    "app": "1 to 30 lower-case letters, digits and dashes, not at the ends",
    "url": "an address that starts with https://, http://, ssh:// or git://, or git@host:path",
    "sha256": "64 hexadecimal digits in lower case",
    "build_class": "lower-case letters and digits",
    "size": "lower-case letters and digits",
    "idempotency_key": "1 to 255 printable characters without a space",
    "ref": "a branch, a tag or a commit id",
}
