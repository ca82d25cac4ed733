"""Secrets out of text: what a build prints by accident of its secret config vars is not shown.

Best effort, not a security boundary: a build can always print its secrets in another form.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import quote

from buildfarm.config_vars import SECRET_CHARS_MIN

SHOWN = "[hidden]"


class Mask:
    """Knows some secrets, each as it is, line by line, URL-encoded and in base64."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms: set[str] = set()
        for secret in secrets:
            lines = [line.strip() for line in (secret, *secret.splitlines())]
            for line in filter(lambda text: len(text) >= SECRET_CHARS_MIN, lines):
                encoded = base64.b64encode(line.encode()).decode()
                forms |= {line, quote(line, safe=""), encoded.rstrip("="), encoded.translate(_URL_SAFE).rstrip("=")}
        # The longest first: a line of a secret must not be taken out of the middle of the whole.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self.longest = max((len(form.encode()) for form in self._forms), default=0)  # in bytes

    def hide(self, text: str) -> str:
        """The text without them."""
        for form in self._forms:
            text = text.replace(form, SHOWN)
        return text

    def cut(self, text: str, length: int) -> str:
        """The beginning of a text without them; one that goes beyond it is not cut, for half of one could be read."""
        ends = [end for start, end in self.places(text) if start < length] if len(text) > length else []
        return self.hide(text[: max([length, *ends])])

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where they are: start and end of each; those of one form that overlap or touch are one."""
        found: list[tuple[int, int]] = []
        for form in self._forms:
            start = end = at = text.find(form)
            while at >= 0:
                if at > end:
                    found.append((start, end))
                    start = at
                end = at + len(form)
                at = text.find(form, at + 1)
            if start >= 0:
                found.append((start, end))
        return found

    def withhold(self, text: str) -> str:
        """The text without an end that one of them begins with: the rest of it may be still to come."""
        most = 0
        for form in self._forms:
            end = text[1 - len(form) :]
            at = end.find(form[0])
            while at >= 0 and len(end) - at > most:
                if form.startswith(end[at:]):
                    most = len(end) - at
                at = end.find(form[0], at + 1)
        return text[: len(text) - most]

    def finds(self, text: str) -> bool:
        """Whether one of them is in the text."""
        return any(form in text for form in self._forms)


_URL_SAFE = str.maketrans("+/", "-_")
