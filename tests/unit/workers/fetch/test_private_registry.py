"""The program that reads a private registry, against servers over TLS: where its login goes, and where not."""

from __future__ import annotations

import pytest

from testkit.git_server.private import private_registry, tls_for
from workers.fetch.inside import oci

ADDRESS = "127.0.0.1"
LOGIN = "robot:canary-2d90"


@pytest.fixture
def registries(tmp_path, monkeypatch):
    """The registry of the credential, and one of another host."""
    tls, authority = tls_for(ADDRESS, tmp_path)
    (tmp_path / "authority.pem").write_text(authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with private_registry(ADDRESS, tls, LOGIN) as mine, private_registry(ADDRESS, tls, LOGIN) as other:
        yield mine, other


def registry_of(host):
    user, _, value = LOGIN.partition(":")
    return oci.Registry({"host": host, "repository": "packs/x", "user": user, "value": value})


def test_the_registrys_own_challenge_is_answered(registries):
    mine, _ = registries
    digest = mine.put("packs/x", "v1", b"layer")
    assert oci.manifest_of(registry_of(mine.host), "v1")[1] == digest


def test_the_challenge_of_the_host_behind_a_redirect_gets_no_login(registries, capsys):
    mine, other = registries
    mine.moved_at_once = f"https://{other.host}"
    with pytest.raises(oci.RefusedError, match="failed"):
        oci.manifest_of(registry_of(mine.host), "v1")
    assert other.shown == [""]  # it was asked, without a login
    assert "another host" in capsys.readouterr().err


def test_no_redirect_leads_out_of_tls(registries):
    mine, other = registries
    mine.moved_at_once = f"http://{other.host}"
    with pytest.raises(oci.RefusedError, match="failed"):
        oci.manifest_of(registry_of(mine.host), "v1")
    assert other.shown == []
