"""Which credential an address gets, and which ones can be set."""

from __future__ import annotations

import base64
import itertools
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.buildpacks.address import GitBuildpack, RegistryBuildpack, parse_buildpack
from buildfarm.errors import RequestError
from buildfarm.fields import as_url
from buildfarm.sources.address import GitSource
from buildfarm.sources.credentials import Credential, CredentialView, Kind, NewCredential
from buildfarm.sources.credentials.host_keys import fingerprint, host_key
from buildfarm.sources.credentials.matching import advice_for, choose, lacking, place_of
from buildfarm.sources.credentials.rules import checked
from buildfarm.sources.credentials.submodules import fetches_more, submodule_url

PKCS8 = serialization.PrivateFormat.PKCS8
VALUE = "canary-value-2f61"
BLOB = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))).decode()


def credential(name="one", app=None, kind=Kind.SSH_KEY, address="github.com/acme"):
    return Credential(name=name, tenant="shop", app=app, kind=kind, address=address, value=VALUE)


def private_key(passphrase=None, form=serialization.PrivateFormat.OpenSSH):
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, form, encryption).decode()


@pytest.mark.parametrize(
    ("address", "url", "fits"),
    [
        ("github.com/acme", "git@github.com:acme/app.git", True),
        ("github.com/acme", "ssh://git@GitHub.com/acme/app", True),
        ("github.com/acme", "ssh://git@github.com:22/acme/app", True),
        ("github.com/acme/app.git", "git@github.com:acme/app", True),
        ("github.com/acme/app", "git@github.com:acme/app.git", True),
        ("github.com", "git@github.com:acme/app.git", True),
        ("github.com/acme", "git@github.com:acmeother/app.git", False),
        ("github.com/acme", "git@github.com.evil.org:acme/app.git", False),
        ("github.com/acme", "ssh://git@github.com:2222/acme/app.git", False),
        ("github.com/acme", "ssh://git@github.com/acme/../other/app", False),
        ("github.com/acme", "ssh://git@github.com/acme/%2e%2e/app", False),
        ("github.com/acme", "https://github.com/acme/app.git", False),
        ("github.com/acme", "git://github.com/acme/app.git", False),
        ("github.com/acme", "ssh://git@github.com:port/acme/app", False),
        ("github.com/acme", "ssh://evil.com%2Fx@github.com/acme/repo", False),
        ("github.com", "ssh://github.com?x@evil.com/acme/repo", False),
        ("github.com", "ssh://github.com#x@evil.com/acme/repo", False),
        ("github.com", "ssh://github.com\\x@evil.com/acme/repo", False),
        ("github.com", "ssh://git@github.com/acme/re po", False),
        ("github.com", "ssh://git@git\thub.com/acme/repo", False),
    ],
)
def test_a_credential_is_for_its_host_its_path_and_its_protocol(address, url, fits):
    assert (choose([credential(address=address)], url) is not None) is fits


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        (Kind.TOKEN, "https://h.org:8443/a/b.git"),
        (Kind.REGISTRY, "oci://h.org:8443/a/b@sha256:" + "0" * 64),
        (Kind.REGISTRY, "oci://h.org:8443/a/b:v1"),
    ],
)
def test_every_kind_has_its_protocol(kind, url):
    assert place_of(url) == (kind, "h.org:8443/a/b")
    assert choose([credential(kind=kind, address="h.org:8443/a/b")], url)
    assert not choose([credential(kind=kind, address="h.org/a/b")], url)


def test_an_apps_own_wins_and_then_the_longest_path():
    tenants = [credential("wide", address="github.com"), credential("team", address="github.com/acme/app")]
    apps = credential("own", app="web", address="github.com/acme")
    for order in itertools.permutations([*tenants, apps]):
        assert choose(order, "git@github.com:acme/app.git") is apps
    assert choose(tenants, "git@github.com:acme/app.git").name == "team"
    assert choose(tenants, "git@github.com:acme/other.git").name == "wide"


@given(st.text(), st.text())
def test_no_text_breaks_the_choice(address, url):
    choose([credential(address=address)], url)
    choose([credential(kind=Kind.TOKEN, address=address)], f"https://{url}")


@given(
    st.from_regex(r"[a-z]{1,5}(/[a-z]{1,3}){0,3}", fullmatch=True), st.from_regex(r"[a-z/.%@:?#]{0,12}", fullmatch=True)
)
def test_what_fits_has_the_credentials_host_and_path(address, rest):
    host, _, path = address.partition("/")
    url = f"https://{address}{rest}"
    if choose([credential(kind=Kind.TOKEN, address=address)], url):
        assert urlsplit(url).hostname == host
        assert urlsplit(url).path.strip("/").startswith(path)
        assert rest == "" or rest[0] in "/.?#:"


@pytest.mark.parametrize("field", ["submodules", "lfs"])
def test_more_is_fetched_of_a_source_or_a_buildpack(field):
    view = CredentialView(name="k", tenant="shop", kind=Kind.SSH_KEY, address="h.org/a", **{field: True})
    assert fetches_more([view], ["", "python", "git@h.org:a/pack.git#main"])
    assert not fetches_more([view], ["", "https://h.org/a/pack.git#main", "git@h.org:b/pack.git"])
    assert not fetches_more([view.model_copy(update={field: False})], ["git@h.org:a/pack.git"])


def test_a_public_address_counts_unless_a_token_is_for_the_same():
    public = credential("a", kind=Kind.PUBLIC)
    token = credential("z", kind=Kind.TOKEN)
    for order in itertools.permutations([public, token]):
        assert choose(order, "https://github.com/acme/app.git") is token
    deeper = credential("deep", kind=Kind.PUBLIC, address="github.com/acme/app")
    assert choose([token, deeper], "https://github.com/acme/app.git") is deeper
    assert choose([public], "https://github.com/acme/app.git") is public
    assert not choose([public], "git@github.com:acme/app.git")
    assert not choose([public], "oci://github.com/acme/app:v1")


def test_a_public_address_has_no_value():
    new = NewCredential(kind=Kind.PUBLIC, address="https://GitHub.com/acme/", lfs=True)
    kept = checked("open", new)
    assert (kept.address, kept.value, kept.lfs) == ("github.com/acme", "", True)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("git@h.org:1234/x", "h.org/1234/x"),
        ("ssh://git@h.org:1234/x", "h.org:1234/x"),
        ("h.org:1234/x", "h.org:1234/x"),
    ],
)
def test_an_owner_of_digits_is_not_a_port(address, kept):
    new = NewCredential(kind=Kind.SSH_KEY, address=address, value=private_key())
    assert checked("one", new).address == kept


def test_an_address_of_ssh_needs_a_credential():
    views = [CredentialView(name="k", tenant="shop", kind=Kind.SSH_KEY, address="h.org/a")]
    assert lacking(views, ["https://h.org/b", "git@h.org:a/b"]) == ""
    assert lacking(views, ["python", "git@h.org:b/b"]) == "git@h.org:b/b"
    assert lacking(views, ["oci://h.org/a/b:v1"]) == "oci://h.org/a/b:v1"
    assert "--kind registry --for h.org/a/b." in advice_for("oci://h.org/a/b:v1")


def test_addresses_as_scp_writes_them_are_of_ssh():
    assert GitSource(url="git@github.com:acme/app.git#main") == GitSource(
        url="ssh://git@github.com/acme/app.git", ref="main"
    )
    assert parse_buildpack("git@h.org:a/b.git#v1") == GitBuildpack("ssh://git@h.org/a/b.git", "v1")
    assert parse_buildpack("oci://h.org:5000/a/b:v1") == RegistryBuildpack("h.org:5000", "a/b", "v1")
    assert str(parse_buildpack("oci://h.org/a/b@sha256:" + "0" * 64)) == "oci://h.org/a/b@sha256:" + "0" * 64
    for other in ("https://u@h/x", "C:/x", "a@b", "git@h::x", "ssh://git@h/x"):
        assert as_url(other) == other


@pytest.mark.parametrize(
    ("parent", "url", "place"),
    [
        ("git@h.org:a/app.git", "../lib.git", "ssh://git@h.org/a/lib.git"),
        ("https://h.org/a/app.git", "../../b/lib", "https://h.org/b/lib"),
        ("https://h.org/a/app.git", "git@h.org:x/lib", "ssh://git@h.org/x/lib"),
        ("https://h.org/a/app", "https://other.org/lib", "https://other.org/lib"),
    ],
)
def test_a_submodules_address_can_be_relative(parent, url, place):
    assert submodule_url(parent, url) == place


def test_a_token_is_kept_without_the_end_of_its_line():
    assert checked("token", NewCredential(kind=Kind.TOKEN, address="h.org", value=f"{VALUE}\r\n")).value == VALUE


def test_a_key_is_kept_as_ssh_reads_it():
    text = private_key()
    new = NewCredential(kind=Kind.SSH_KEY, address="git@GitHub.com:acme/", value=text.replace("\n", "\r\n").strip())
    kept = checked("deploy", new.model_copy(update={"host_keys": (f"github.com ssh-ed25519 {BLOB} comment",)}))
    assert (kept.value, kept.address, kept.host_keys) == (text, "github.com/acme", (f"ssh-ed25519 {BLOB}",))
    assert checked("pem", new.model_copy(update={"value": private_key(form=PKCS8)}))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"address": "a b"}, "is not an address such as github.com/acme/"),
        ({"address": "h/../b"}, "is not an address"),
        ({"address": "h:70000"}, "is not an address"),
        ({"address": "-oProxyCommand=x"}, "is not an address"),
        ({"value": "short"}, "must have 8 to"),
        ({"value": f"{VALUE}\n{VALUE}"}, "one line of printable ASCII"),
        ({"value": VALUE, "user": "a:b"}, "without a colon"),
        ({"value": VALUE, "user": "a\nb"}, "printable ASCII"),
        ({"kind": Kind.REGISTRY}, "needs its user"),
        ({"host_keys": ("ssh-ed25519 AAAA",)}, "only an ssh key has keys of its host"),
        ({"kind": Kind.REGISTRY, "user": "me", "lfs": True}, "has no submodules and no Git LFS files"),
        ({"kind": Kind.PUBLIC, "lfs": True}, "has no user and no value"),
        ({"kind": Kind.PUBLIC, "lfs": True, "value": "", "user": "me"}, "has no user and no value"),
        ({"kind": Kind.PUBLIC, "value": ""}, "add --lfs or --submodules"),
        ({"kind": Kind.PUBLIC, "value": "", "lfs": True, "host_keys": ("x",)}, "only an ssh key has keys of its host"),
        ({"kind": Kind.SSH_KEY}, "is not a private key of ssh"),
        ({"kind": Kind.SSH_KEY, "value": private_key(b"secret", PKCS8)}, "has a passphrase"),
        ({"kind": Kind.SSH_KEY, "value": private_key(), "host_keys": ("nonsense",)}, "as in known_hosts"),
    ],
)
def test_a_refusal_names_the_credential_and_never_its_value(fields, told):
    new = NewCredential(**{"kind": Kind.TOKEN, "address": "h.org", "value": VALUE, **fields})
    with pytest.raises(RequestError) as error:
        checked("deploy", new)
    assert told in str(error.value)
    assert "deploy" in str(error.value)
    assert not [line for line in new.value.splitlines() if len(line) > 20 and line in str(error.value)]
    assert VALUE not in str(error.value) + repr(new)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!",
        f"ssh-rsa {BLOB}",
        f"@revoked h ssh-ed25519 {BLOB}",
        f"@cert-authority h ssh-ed25519 {BLOB}",
    ],
)
def test_what_is_not_a_hosts_key_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        host_key(text)


def test_a_fingerprint_is_that_of_ssh_keygen():
    assert host_key(f"[h]:22 ssh-ed25519 {BLOB}\n") == f"ssh-ed25519 {BLOB}"
    assert fingerprint(f"ssh-ed25519 {BLOB}").startswith("ssh-ed25519 SHA256:")
