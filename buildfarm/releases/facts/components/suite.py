"""Which packages of a base are older than those of a suite, such as the distribution's security suite. Pure.

A suite's index is a file `Packages`. Source: the Debian repository format (wiki.debian.org/DebianRepository/Format).
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from buildfarm.releases.facts.components.models import ComponentView
from buildfarm.releases.facts.components.versions import VersionTextError, compare

INDEX_BYTES_MAX = 512 * 1024 * 1024
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ": lzma.open}
_FIELD = re.compile(r"^(Package|Version|Architecture): (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Behind:
    """A package of the base of which the suite has a newer version."""

    package: str
    source: str  # of the base's: name@version
    installed: str
    newest: str


def behind(components: Iterable[ComponentView], index: str) -> list[Behind]:
    """By name; a version that cannot be compared is not newer."""
    newest: dict[tuple[str, str], str] = {}
    for name, version, architecture in _packages(index):
        known = newest.get((name, architecture))
        if known is None or _is_newer(version, known):
            newest[name, architecture] = version
    found = []
    for one in components:
        if one.kind == "deb":
            architecture = one.purl.partition("arch=")[2].partition("&")[0]
            version = newest.get((one.name, architecture), "")
            if version and _is_newer(version, one.version):
                found.append(Behind(one.name, one.source, one.version, version))
    return found


def index_text(content: bytes) -> str:
    """A file `Packages`, also compressed by gzip or xz. Raises ValueError if it is not one, or is too large."""
    try:
        if opener := next((found for magic, found in _PACKED.items() if content.startswith(magic)), None):
            with opener(io.BytesIO(content)) as file:  # as much of it as shows that it is too large
                content = file.read(INDEX_BYTES_MAX + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ValueError("it is damaged") from error
    text = content.decode(errors="replace")
    if len(content) > INDEX_BYTES_MAX or not next(_packages(text), None):
        raise ValueError("it is not an index of packages")
    return text


def _packages(index: str) -> Iterator[tuple[str, str, str]]:
    for paragraph in re.split(r"\n\s*\n", index):
        fields = dict(_FIELD.findall(paragraph))
        if "Package" in fields and "Version" in fields:
            yield fields["Package"], fields["Version"], fields.get("Architecture", "")


def _is_newer(version: str, than: str) -> bool:
    try:
        return compare("deb", version, than) > 0
    except VersionTextError:
        return False
