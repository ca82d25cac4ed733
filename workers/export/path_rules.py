"""Rejects paths that a layer cannot store, before anything is uploaded. That is the app's fault."""

from __future__ import annotations

from collections.abc import Iterable

from buildfarm.errors import CompileError
from buildfarm.oci.tree import Found

# Linux accepts no longer path, so unpacking the layer would fail.
PATH_BYTES_MAX = 4096 - 64
# image-spec, layer.md, "Whiteouts": an engine would delete what the rest of the name says.
WHITEOUT = ".wh."


def refuse_unfit(found: Iterable[Found]) -> None:
    """Raises CompileError that names the first entry of a tree which no layer can hold."""
    for item in found:
        if f"/{WHITEOUT}" in item.name and item.name.rpartition("/")[2].startswith(WHITEOUT):
            raise CompileError(
                f"The build left {shown(item.name)}: in an image a name that starts with .wh. deletes a file.",
                advice="Give it another name, or remove it.",
            )
        if len(item.name) > PATH_BYTES_MAX // 4 and len(item.name.encode(errors="surrogateescape")) > PATH_BYTES_MAX:
            raise CompileError(
                f"The built app contains {shown(item.name)}: its path is longer than {PATH_BYTES_MAX} bytes.",
                advice="Nest its folders less deeply.",
            )


def shown(name: str) -> str:
    """A path for a sentence: short, and without anything that a terminal would obey."""
    short = name if len(name) <= 80 else f"{name[:40]}…{name[-30:]}"
    return ascii(short)
