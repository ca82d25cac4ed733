"""The digest type."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from buildfarm.oci.digest import Digest

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.binary(max_size=200))
def test_the_digest_of_content_is_its_sha256(content):
    digest = Digest.of(content)

    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert digest.hex == hashlib.sha256(content).hexdigest()
    assert Digest(str(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY.removeprefix("sha256:"),
        EMPTY.upper(),
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY + "\n",
        EMPTY.replace("sha256", "sha512"),
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="is not a digest"):
        Digest(text)


def test_a_model_checks_its_digests():
    adapter = TypeAdapter(Digest)

    assert isinstance(adapter.validate_python(EMPTY), Digest)
    with pytest.raises(ValidationError):
        adapter.validate_python("sha256:short")
