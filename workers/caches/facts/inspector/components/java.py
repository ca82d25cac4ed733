"""Java libraries in archives. Source: Maven's archiver, which writes `META-INF/maven/GROUP/ARTIFACT/pom.properties`.

A jar with such files has these artifacts: several if others were shaded into it. One without any is named by its
manifest's `Bundle-SymbolicName` or `Implementation-Title`, if a version is given too; else it is declared as unknown.
Archives in an archive (`BOOT-INF/lib`, `WEB-INF/lib`) are read likewise, one level deep.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from workers.caches.facts.inspector.components.found import Component, DamagedError, component, each, fields, first

_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties$")
_INNER = re.compile(r"(?:BOOT-INF|WEB-INF)/lib/[^/]+\.jar$")
_ENTRIES_MAX = 100_000
_INNER_MAX = 2_000
_INNER_BYTES_MAX = 64 * 1024 * 1024
_TEXT_BYTES_MAX = 64 * 1024


def read(file: IO[bytes], path: str, *, inner: bool = False) -> Iterator[Component | DamagedError]:
    """The artifacts, and which parts name none. Raises DamagedError if it names nothing, and what zipfile raises."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > _ENTRIES_MAX:
            raise DamagedError("it has too many entries")
        poms = [one for one in entries if _POM.match(one.filename)]
        found = list(each(lambda one: _artifact(_text(archive, one)), poms))
        inside = [] if inner else [one for one in entries if _INNER.match(one.filename)]
        if not found and not inside:
            found = list(_by_manifest(archive, entries))
        yield from found
        for one in inside[:_INNER_MAX]:
            try:
                if one.file_size > _INNER_BYTES_MAX:
                    raise DamagedError("it is too large")
                yield from read(io.BytesIO(archive.read(one)), one.filename, inner=True)
            except (ValueError, NotImplementedError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                why = str(error) if isinstance(error, DamagedError) else "it is damaged"
                yield DamagedError(f"{one.filename[-200:]} in it: {why}")


def _artifact(properties: bytes) -> Component:
    """Of lines KEY=VALUE."""
    lines = (line.partition("=") for line in properties.decode(errors="replace").splitlines())
    found = {key.strip(): value.strip() for key, _, value in lines if not key.startswith("#")}
    return component("maven", f"{found.get('groupId', '')}/{found.get('artifactId', '')}", found.get("version"))


def _by_manifest(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> Iterator[Component]:
    manifest = next((one for one in entries if one.filename == "META-INF/MANIFEST.MF"), None)
    headers = fields(_text(archive, manifest)) if manifest else {}
    name = first(headers, "bundle-symbolicname").partition(";")[0] or first(headers, "implementation-title")
    version = first(headers, "bundle-version") or first(headers, "implementation-version")
    if not re.fullmatch(r"[\w.-]+", name) or not version:
        raise DamagedError("it names no artifact")
    yield component("maven", name, version)


def _text(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as content:
        return content.read(_TEXT_BYTES_MAX)
