"""The digest of a piece of content, as a type that checks itself when made."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

_FORM = re.compile(r"sha256:[0-9a-f]{64}")


class Digest(str):
    """``sha256:`` and 64 lower-case hexadecimal digits, as written on the wire.

    Only SHA-256 is taken (OCI image-spec, descriptor.md, section Digests, calls it the one every implementation must
    support). Raises ValueError for anything else.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Digest:
        if not _FORM.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is not a digest: expected sha256: and 64 hexadecimal digits")
        return super().__new__(cls, value)

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The digest of these bytes."""
        return cls("sha256:" + hashlib.sha256(content).hexdigest())

    @property
    def hex(self) -> str:
        """The 64 digits alone."""
        return self.removeprefix("sha256:")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
