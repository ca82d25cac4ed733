"""Keys in files and behind commands."""

from __future__ import annotations

import sys

import pytest

from buildfarm.errors import SettingsError, SetupError
from buildfarm.oci.signatures.signer import new_key, open_signer

COMMAND = """
import sys
from pathlib import Path
from buildfarm.oci.signatures.signer import FileSigner
signer = FileSigner.load(Path(sys.argv[1]))
if sys.argv[-1] == "public-key":
    sys.stdout.write(signer.public_key.pem)
elif sys.argv[2] == "good":
    sys.stdout.buffer.write(signer.sign(sys.stdin.buffer.read()))
elif sys.argv[2] == "raw":
    sys.stdout.buffer.write(b"r" * 64)
else:
    sys.exit(7)
"""


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "signing.key"
    path.write_bytes(new_key())
    return path


@pytest.fixture
def command(tmp_path, key):
    (tmp_path / "kms.py").write_text(COMMAND)
    return lambda mode: f"exec:{sys.executable} {tmp_path / 'kms.py'} {key} {mode}"


def test_a_file_signs_and_signs_the_same_again(key):
    signer = open_signer(f"file:{key}")
    assert signer.sign(b"x") == signer.sign(b"x")
    assert signer.public_key.made(signer.sign(b"x"), b"x")
    assert not signer.public_key.made(signer.sign(b"x"), b"y")


def test_a_command_signs_with_the_key_that_it_reports(key, command):
    signer = open_signer(command("good"))
    assert signer.public_key == open_signer(f"file:{key}").public_key
    assert signer.public_key.made(signer.sign(b"x"), b"x")


@pytest.mark.parametrize(("mode", "sentence"), [("raw", "DER form"), ("bad", "ended with 7")])
def test_a_command_that_does_not_sign_is_a_failure(command, mode, sentence):
    signer = open_signer(command(mode))
    with pytest.raises(SetupError, match=sentence):
        signer.sign(b"x")


@pytest.mark.parametrize("address", ["", "file:", "exec:", "/a/key", "pkcs11:x"])
def test_an_address_without_a_kind_is_refused(address):
    with pytest.raises(SettingsError, match="file:PATH or exec:COMMAND"):
        open_signer(address)


def test_a_missing_key_and_a_foreign_file_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        open_signer(f"file:{tmp_path / 'none'}")
    (tmp_path / "text").write_text("no key")
    with pytest.raises(SettingsError, match="is not a signing key"):
        open_signer(f"file:{tmp_path / 'text'}")


def test_a_command_that_is_not_there_is_refused():
    with pytest.raises(SetupError, match="cannot be run"):
        open_signer("exec:/nowhere/kms sign")
