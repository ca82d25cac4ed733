"""What a builder image says of itself."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from buildfarm.oci.digest import Digest
from workers.builder import Builder

CONFIG = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": ["sha256:" + "b" * 64]}}


@pytest.mark.parametrize(
    ("env", "stack"),
    [(["PATH=/bin", "STACK=bookworm"], "bookworm"), (["PATH=/bin"], "trixie"), (None, "trixie")],
    ids=["as it says", "one that does not say", "one without variables"],
)
def test_its_stack_is_the_build_s(env, stack):
    content = json.dumps({**CONFIG, "config": {"Env": env}}).encode()
    manifest = SimpleNamespace(layers=("layer",))
    found = Builder("image", "builder", Digest("sha256:" + "a" * 64), manifest, content)
    assert found.reference == "builder@sha256:" + "a" * 64
    assert found.stack == stack
