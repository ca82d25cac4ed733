"""What the registry's own collector lists: every manifest, also those without a tag."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import SetupError

SECONDS_MAX = 3600.0  # what was uploaded since is not in it
Place = tuple[str, str]  # a manifest's repository and digest

_MARKED = re.compile(r"(\S+): marking manifest (sha256:[0-9a-f]{64})\s*")
_MADE = re.compile(r"# ([0-9]{1,12})\n")  # written before the collector lists
_COMPLETE = re.compile(r"\d+ blobs marked, \d+ blobs and \d+ manifests eligible for deletion")


@dataclass(frozen=True)
class Listing:
    """Every manifest of a registry at a time, in seconds since the epoch."""

    places: tuple[Place, ...]
    at: float

    @classmethod
    def read(cls, path: Path) -> Listing:
        """Read the time, and what ``docker-registry garbage-collect --dry-run`` printed. Raises SetupError."""
        try:
            text = path.read_text(errors="replace")
        except OSError as error:
            raise SetupError(f"{path}, the listing of the registry, cannot be read: {error.strerror}.") from error
        made = _MADE.match(text)
        if made is None or not _COMPLETE.search(text):
            raise SetupError(
                f"{path} is not a complete listing of a registry, or does not say when it was made.",
                advice="Make it anew: first a line with # and the seconds since 1970 (date +%s), then what"
                " docker-registry garbage-collect --dry-run CONFIGURATION prints.",
            )
        at = min(float(made[1]), time.time())
        if time.time() - at > SECONDS_MAX:
            raise SetupError(
                f"{path}, the listing of the registry, was made more than an hour ago.",
                advice="Make it anew, just before this.",
            )
        found = (_MARKED.fullmatch(line) for line in text.splitlines())
        return cls(tuple(dict.fromkeys((match[1], match[2]) for match in found if match)), at)
