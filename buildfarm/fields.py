"""What fields of the farm's data are made of: the frozen base class, names and addresses that check themselves."""

from __future__ import annotations

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


class Frozen(BaseModel):
    """Base of everything that travels: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
