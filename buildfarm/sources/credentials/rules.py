"""Which credentials can be set. Every refusal names the credential, and never its value. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.errors import RequestError
from buildfarm.fields import as_url
from buildfarm.sources.credentials import Kind, NewCredential
from buildfarm.sources.credentials.host_keys import host_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import serialization
else:  # only setting a key needs it
    serialization = LazyModule("cryptography.hazmat.primitives.serialization")

VALUE_CHARS_MAX = 16_384
VALUE_CHARS_MIN = 8  # a shorter one cannot be hidden in logs
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")
_ADDRESS = re.compile(
    r"(?P<host>[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)(?P<port>:[1-9][0-9]{0,4})?(?P<path>(/[A-Za-z0-9._~+-]+)*)/?"
)
_BEFORE = re.compile(r"(https|ssh|oci)://([^/@\s]*@)?|[A-Za-z0-9._-]+@")
_USER = re.compile(r"[\x21-\x39\x3b-\x7e]*")  # printable, without a colon (RFC 7617)
_ADVICE = "See docs/private-repositories.md."


def checked(name: str, new: NewCredential) -> NewCredential:
    """The credential in its stored form. Raises RequestError that says what is wrong with it."""
    check_name(name)
    address = _address(name, new)
    value = new.value.rstrip("\r\n")  # a file's end
    if new.kind is Kind.PUBLIC:
        _check_public(name, new)
    elif not VALUE_CHARS_MIN <= len(value) <= VALUE_CHARS_MAX or "\0" in value:
        raise _refused(name, f"its value must have {VALUE_CHARS_MIN} to {VALUE_CHARS_MAX:,} characters and no NUL")
    if not _USER.fullmatch(new.user):
        raise _refused(name, "its user must be printable ASCII without a colon")
    if new.kind is Kind.SSH_KEY:
        value = _private_key(name, value)
    elif not value.isprintable() or not value.isascii():
        raise _refused(name, f"a {new.kind} is one line of printable ASCII")
    if new.kind is Kind.REGISTRY and (new.submodules or new.lfs):
        raise _refused(name, "a registry has no submodules and no Git LFS files")
    if new.kind is Kind.REGISTRY and not new.user:
        raise _refused(name, "a registry's credential needs its user (--user)")
    if new.host_keys and new.kind is not Kind.SSH_KEY:
        raise _refused(name, "only an ssh key has keys of its host")
    try:
        host_keys = tuple(map(host_key, new.host_keys))
    except ValueError as error:
        raise _refused(name, "a host key is written as in known_hosts: [host] ssh-ed25519 AAAA…") from error
    return new.model_copy(update={"address": address, "value": value, "host_keys": host_keys})


def _check_public(name: str, new: NewCredential) -> None:
    if new.value or new.user:
        raise _refused(name, "a public repository has no user and no value: use --kind token for a login")
    if not new.submodules and not new.lfs:
        raise _refused(name, "public repositories are fetched anyway: add --lfs or --submodules")


def check_name(name: str) -> None:
    """Raises RequestError if a credential cannot have this name."""
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"{name[:80]!r} is not a valid name of a credential.",
            advice="Use 1 to 30 lower-case letters, digits and dashes, not at the ends.",
        )


def _address(name: str, new: NewCredential) -> str:
    text = new.address.strip()
    if new.kind is Kind.SSH_KEY and "/" in text:
        text = as_url(text)  # git@host:1234/path has no port
    found = _ADDRESS.fullmatch(_lower_host(_BEFORE.sub("", text, count=1)))
    if found is None or int((found["port"] or ":1")[1:]) > 65_535 or {".", ".."} & {*found["path"].split("/")}:
        raise _refused(name, f"{new.address[:200]!r} is not an address such as github.com/acme/")
    usual = ":22" if new.kind is Kind.SSH_KEY else ":443"
    port = "" if found["port"] in (None, usual) else found["port"]
    return f"{found['host']}{port}{found['path']}"


def _lower_host(address: str) -> str:
    # git@host:path, whose path begins behind the colon
    address = re.sub(r"^([^/:]+):(?![0-9]+(/|$))", r"\1/", address)
    host, slash, path = address.partition("/")
    return host.lower() + slash + path


def _private_key(name: str, text: str) -> str:
    text = "\n".join(line.strip() for line in text.strip().splitlines()) + "\n"
    try:
        if "OPENSSH PRIVATE KEY" in text:
            serialization.load_ssh_private_key(text.encode(), None)
        else:
            serialization.load_pem_private_key(text.encode(), None)
    except TypeError as error:
        raise _refused(name, "its key has a passphrase: make one without, by ssh-keygen -t ed25519 -N ''") from error
    except Exception as error:  # the library names several, and their texts may repeat a part of the key
        raise _refused(name, "its value is not a private key of ssh: give the file that ssh-keygen makes") from error
    return text


def _refused(name: str, why: str) -> RequestError:
    return RequestError(f"The credential {name} was not set: {why}.", advice=_ADVICE)
