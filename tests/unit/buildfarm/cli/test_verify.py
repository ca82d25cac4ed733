"""``buildfarm verify`` and ``buildfarm run --verify``: what they accept, and what they show."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from click.testing import CliRunner

from buildfarm.cli import main
from buildfarm.cli.details import verify as verifying
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures.attaching import Attaching
from buildfarm.oci.signatures.dsse import Statement
from buildfarm.oci.signatures.provenance import PROVENANCE, Builder
from tests.unit.buildfarm.oci.signatures.test_attaching import pushed
from tests.unit.buildfarm.oci.signatures.test_formats import A, B

BUILD = {
    "buildDefinition": {
        "buildType": "x",
        "externalParameters": {"app": "t/a"},
        "resolvedDependencies": [
            {"name": "source", "uri": "git+https://h/r@main", "digest": {"gitCommit": "c"}, "annotations": {}},
            {"name": "base", "uri": "oci://h/builder", "digest": {"sha256": "b"}},
            "junk",
        ],
    },
    "runDetails": {"builder": {"id": Builder.CLEAN}, "metadata": {"invocationId": "b1/1\x1b[2J"}},
}

UNSIGNED = "has no signature by a key that was given"


@pytest.fixture
def signed(fake, tmp_path):
    """An image with provenance, and the file of the key."""
    with Registry(f"http://{fake.host}") as registry:
        image = pushed(registry)
        Attaching(registry, [A]).sign(image, more=[Statement(image.subject.digest, PROVENANCE, BUILD, image.name)])
        pushed(registry, "2", "unsigned")
    (tmp_path / "key.pem").write_text(A.public_key.pem)
    (tmp_path / "other.pem").write_text(B.public_key.pem)
    return image


def called(*arguments):
    return CliRunner().invoke(main, arguments, standalone_mode=False)


def test_it_shows_who_built_an_image_from_what(signed, tmp_path):
    done = called("verify", signed.reference, "--key", str(tmp_path / "key.pem"))
    lines = done.output.splitlines()
    assert lines[0].endswith(f"@{signed.subject.digest}")
    assert lines[2:] == [
        f"provenance: {Builder.CLEAN}, SLSA build level 3",
        "  of t/a, build b1/1[2J",
        "  source: git+https://h/r@main, gitCommit:c (reported by the node)",
        "  base: oci://h/builder, sha256:b",
    ]


def test_json_has_the_predicate(signed, tmp_path):
    done = called("verify", signed.reference, "--key", str(tmp_path / "key.pem"), "--json")
    found = json.loads(done.output)
    assert found["statements"] == [PROVENANCE]
    assert found["provenance"] == [BUILD]


@pytest.mark.parametrize(
    ("builders", "error"),
    [
        (["clean"], ""),
        (["cached", "clean"], ""),
        ([str(Builder.CLEAN)], ""),
        (["cached"], "No builder that was asked for"),
        (["https://example.org/other"], "No builder that was asked for"),
        (["fast"], "There is no builder fast"),
    ],
)
def test_a_builder_can_be_required(signed, tmp_path, builders, error):
    options = [part for name in builders for part in ("--builder", name)]
    done = called("verify", signed.reference, "--key", str(tmp_path / "key.pem"), *options)
    assert done.exit_code == (2 if error else 0)
    assert error in done.output


def test_provenance_by_another_key_does_not_count(signed, tmp_path):
    done = called("verify", signed.reference, "--key", str(tmp_path / "other.pem"))
    assert (done.exit_code, UNSIGNED in done.output) == (2, True)


def test_only_a_signed_image_is_run_and_by_its_digest(signed, monkeypatch):
    ran = []
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(os, "execv", lambda program, command: ran.append(command))
    monkeypatch.setattr(verifying, "_keys_of_farm", lambda: [A.public_key])
    unsigned = signed.reference.replace(":latest", ":unsigned")
    assert UNSIGNED in called("run", "--verify", unsigned).output
    assert ran == []
    called("run", "--verify", signed.reference, "worker")
    assert ran[0][-2:] == [f"{signed.name}@{signed.subject.digest}", "worker"]
    called("run", unsigned)
    assert ran[1][-1] == unsigned
    called("run", unsigned, "--", "check", "--verify")  # the app's own option
    assert ran[2][-3:] == [unsigned, "check", "--verify"]
