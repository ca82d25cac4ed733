"""What fields of the farm's data are made of: the frozen base class, names and addresses that check themselves."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
# Of an image, or of a build tool: an older node cannot read the latter, and leaves it to a newer one.
ImageName = Annotated[str, StringConstraints(pattern=NAME_PATTERN.replace("^", "^(tools/)?"))]
ImageVersion = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ClassName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,29}$")]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")]


def check_address(url: str) -> str:
    parts = urlsplit(url)
    if not url.isprintable():
        raise ValueError("the address has control characters")
    if not parts.hostname or parts.hostname.startswith("-"):
        raise ValueError("the address has no host")
    if parts.password is not None or (parts.username and parts.scheme.startswith("http")):
        raise ValueError(
            "an address is kept in the record and shown to the build: do not put a password or token into it"
        )
    return url


HttpUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=2048), AfterValidator(check_address)
]

# git@host:path, as scp writes it
_SCP = re.compile(r"([A-Za-z0-9._-]+@[A-Za-z0-9.-]+):(?!//)([^\s:]\S*)")


def as_url(address: str) -> str:
    """``git@host:path`` as an address of ssh; any other address as it is."""
    found = _SCP.fullmatch(address)
    return f"ssh://{found[1]}/{found[2].lstrip('/')}" if found else address


REF_BYTES_MAX = 1024
# A control character or one of space ~ ^ : ? * [ \\, a component that begins with a dot or ends with .lock or is empty,
# two dots, @{, or a dot at the end (git-check-ref-format). A dash at the front would be an option of git's programs.
_NOT_IN_REFS = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|(^|/)[./]|/$|\.lock(/|$)|\.\.|@\{|\.$|^-|^@$")


def check_ref(ref: str) -> str:
    """The name of a git branch or tag, a full ref or a commit id: what `git check-ref-format --allow-onelevel` accepts.

    Raises ValueError if it is none of these, or is longer than REF_BYTES_MAX.
    """
    try:
        size = len(ref.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= REF_BYTES_MAX or _NOT_IN_REFS.search(ref):
        raise ValueError(f"{ref[:200]!r} is not the name of a branch or tag, a full ref or a commit id")
    return ref


GitRef = Annotated[str, StringConstraints(min_length=1, max_length=REF_BYTES_MAX), AfterValidator(check_ref)]


class Frozen(BaseModel):
    """Base of everything that travels: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
