"""What LFS servers answer, as far as a fetch needs it. Their words are data of others.

Sources: "Git LFS Batch API" (api/batch.md), "Server Discovery" (api/server-discovery.md) of github.com/git-lfs/git-lfs.
"""

from __future__ import annotations

import re
import sys
from typing import Any
from urllib.parse import urlsplit

from workers.fetch.inside.refused import RefusedError

REFUSED, MISSING = (401, 403), (404, 410)  # codes of HTTP, which errors of objects have too
# Names of headers that an answer can give for a download: none that says how the request itself is read.
_HEADER = re.compile(
    r"(?!(host|connection|content-length|transfer-encoding|te|upgrade|expect|proxy-.*)$)[a-z0-9-]{1,100}", re.IGNORECASE
)


def objects(answer: Any) -> dict[str, dict[str, Any]]:
    """A batch answer's objects by their ids. Raises ValueError if it is not one for the basic transfer and SHA-256."""
    if not isinstance(answer, dict) or not isinstance(answer.get("objects"), list):
        raise ValueError("it is not an answer of the batch API")  # noqa: TRY004 - whatever is wrong with an answer
    if (answer.get("transfer") or "basic") != "basic" or (answer.get("hash_algo") or "sha256") != "sha256":
        raise ValueError("it wants another transfer than the basic one")
    return {str(one["oid"]): one for one in answer["objects"] if isinstance(one, dict) and "oid" in one}


def action(found: dict[str, Any], path: str, server: str) -> tuple[str, dict[str, str]]:
    """The address of an object and the headers for it. Raises RefusedError if the server does not give it."""
    actions = found.get("actions")
    download = actions.get("download") if isinstance(actions, dict) else None
    if not isinstance(download, dict) or found.get("error"):
        error = found.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        words = f": {code} {error.get('message')}" if isinstance(error, dict) else ""
        say(f"The LFS server gives no content of {path}{words}")
        if isinstance(code, int) and code not in MISSING:
            raise RefusedError("lfs-refused" if code in REFUSED else "lfs-failed", server)
        raise RefusedError("lfs-missing", path)
    return address_of(download)


def address_of(answer: Any) -> tuple[str, dict[str, str]]:
    """The address that an answer gives, and the headers for it. Raises ValueError."""
    given = answer.get("header") or {}
    url = str(answer.get("href"))
    parts = urlsplit(url)
    if not url.isprintable() or " " in url or not parts.hostname or "@" in parts.netloc or not isinstance(given, dict):
        raise ValueError("it is not an address with headers")
    return url, {name: str(text) for name, text in given.items() if _HEADER.fullmatch(name) and _is_plain(str(text))}


def say(sentence: str) -> None:
    """A line for the log; what a server has sent forges no other."""
    sys.stderr.write("".join(letter if letter.isprintable() else " " for letter in sentence)[:2000] + "\n")


def _is_plain(text: str) -> bool:
    return text.isprintable() and text.isascii()
