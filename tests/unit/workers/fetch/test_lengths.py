"""A source whose manifest states another size than its blob has."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from buildfarm.errors import SourceError
from buildfarm.sources.address import ArtifactSource
from workers.fetch import SourceLimits, fetch
from workers.sandbox.container import WrongLengthError

DIGEST = f"sha256:{'0' * 64}"


def test_it_is_no_packed_directory_and_not_the_nodes_fault():
    def run_part(command, *, stdin, stdin_bytes):
        assert (list(stdin), stdin_bytes) == ([b"12345"], 7)
        raise WrongLengthError("too short")

    blob = SimpleNamespace(digest=DIGEST, size=7)
    registry = SimpleNamespace(
        read_manifest=lambda *_: (SimpleNamespace(layers=[blob]), ""), get_blob=lambda *_, **__: [b"12345"]
    )
    source = ArtifactSource(repository="sources/t", digest=DIGEST)
    with pytest.raises(SourceError, match="is not a packed directory: it does not have the 7 bytes"):
        fetch(source, registry, SimpleNamespace(run_part=run_part), SourceLimits(100, 100, 100))
