"""A build of a private repository, its submodule and a private buildpack, on a real node, over a real sshd and TLS."""

from __future__ import annotations

import json

import pytest

from buildfarm.config_vars.build_variables import BuildVariable
from buildfarm.errors import RequestError
from buildfarm.model import State
from buildfarm.sources.address import GitSource
from buildfarm.sources.credentials import Kind, NewCredential
from testkit.builds import gateway_of
from testkit.git_server.lfs import OVER_SSH, PATH, SESSION
from testkit.git_server.lfs_client import lfs_client
from testkit.git_server.private import private_git
from testkit.git_server.ssh_server import make_key
from testkit.queue.stored import all_stored

TOKEN = "canary-token-5e80a1"
SEES = (
    "#!/bin/bash\ncat /proc/[0-9]*/environ | tr '\\0' '\\n' >$1/seen; find $1 /platform -name '*key*' -o -name .git\n"
)
SOURCE = {"Procfile": "web: true\n", ".gitmodules": '[submodule "lib"]\n\tpath = lib\n\turl = ../lib.git\n'}
PACK = {"bin/detect": "#!/bin/bash\necho Private\n", "bin/compile": f"{SEES}cat $1/lib/file\n"}


@pytest.fixture(scope="module")
def private(built):
    """The servers, and a key that the one over ssh lets in."""
    with private_git(gateway_of(built.farm.settings.sandbox_network)) as git:
        key, public = make_key(git.folder / "key")
        git.ssh.allow([public])
        git.https.logins.add(f"x-access-token:{TOKEN}")
        built.farm.set_variables(
            {"CA_CERTIFICATES": BuildVariable(value=git.authority, file=True)}, tenant=built.tenant
        )
        lib = git.repository("team/lib.git").commit("refs/heads/main", {"file": "of the submodule\n"})
        git.repository("team/pack.git").commit("refs/heads/main", PACK)
        source = git.repository("team/app.git")
        source.commit("refs/heads/main", SOURCE)
        source.git("read-tree", "main")
        source.git("update-index", "--add", "--cacheinfo", f"160000,{lib},lib")
        name = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        source.git(
            "update-ref", "refs/heads/main", source.git(*name, "commit-tree", source.git("write-tree"), "-m", "x")
        )
        yield git, key


def credential(kind, address, value, **fields):
    return NewCredential(kind=kind, address=address, value=value, **fields)


def test_a_private_source_submodule_and_buildpack_are_built_and_the_build_sees_no_key(built, private, record_property):
    git, key = private
    farm, tenant, url = built.farm, built.tenant, git.ssh_url("team/app.git")
    with pytest.raises(RequestError, match=r"needs a credential.*buildfarm credentials set"):
        built.submit(source=GitSource(url=url), app="private")
    farm.set_credential(
        "deploy", credential(Kind.SSH_KEY, git.ssh_url("team"), key, submodules=True), tenant=tenant, app="private"
    )
    farm.set_credential("packs", credential(Kind.TOKEN, f"{git.https.url}/team", TOKEN), tenant=tenant)
    # A tenant's token can set this, and its holder could read a credential by it: such fetches do not use it.
    built.farm.set_variables({"HTTPS_PROXY": BuildVariable(value="http://127.0.0.1:1")}, tenant=tenant, app="private")
    pack = f"{git.https.url}/team/pack.git#main"
    build = built.request(source=GitSource(url=url), app="private", buildpacks=(pack,))
    log = built.log(build)
    assert build.state is State.SUCCEEDED, log
    assert "of the submodule" in log
    assert "was learned" in log
    (shown,) = [one for one in farm.credentials(tenant) if one.learned]
    assert (shown.name, len(shown.host_keys)) == ("deploy", 1)
    secrets = [TOKEN, *(line for line in key.splitlines() if len(line) > 40)]
    layers = [layer for layer in build.result.layers if layer.origin != "builder"]
    content = [
        b"".join(farm.registry.get_blob(build.result.repository, layer.digest, limit_bytes=2**30)) for layer in layers
    ]
    places = [log, built.node.log.read_text(), *map(str, content), *all_stored(farm).values()]
    assert not [text for text in places for secret in secrets if secret in text]
    record_property("seen", f"{len(places)} places without the key and the token")


def test_git_lfs_files_come_over_https_and_over_ssh_if_they_are_asked_for(built, private, tmp_path, record_property):
    git, key = private
    farm, tenant = built.farm, built.tenant
    repository, content = git.repository("team/lfs.git"), bytes(range(256)) * 1000
    client = lfs_client(tmp_path / "client", git.authority)
    look = "#!/bin/bash\necho Lfs\n", "#!/bin/bash\ncd $1; wc -c picture.bin deep/other.bin; ls -a\n"
    files = {"bin/detect": look[0], "bin/compile": look[1], "picture.bin": content, "deep/other.bin": b"other"}
    client.commit(repository, {**files, "Procfile": "web: true\n"})
    repository_url = f"{git.https.url}/team/lfs.git"
    client.send(repository, repository_url.replace("://", f"://x-access-token:{TOKEN}@"))
    git.ssh.authenticate(json.dumps({"href": repository_url + PATH.rstrip("/"), "header": {"Authorization": OVER_SSH}}))
    for app, kind, url, value in (
        ("https", Kind.TOKEN, repository_url, TOKEN), ("ssh", Kind.SSH_KEY, git.ssh_url("team/lfs.git"), key),
    ):  # fmt: skip
        farm.set_credential(app, credential(kind, url, value, lfs=True), tenant=tenant, app=f"lfs-{app}")
        build = built.request(source=GitSource(url=url), app=f"lfs-{app}", buildpacks=())
        log = built.log(build)
        assert build.state is State.SUCCEEDED, log
        assert {"256000 picture.bin", "5 deep/other.bin"} <= {" ".join(line.split()) for line in log.splitlines()}
        assert "Fetching 2 Git LFS objects, 256,005 bytes in all" in log
        assert "pointers" not in log
        places = [log, built.node.log.read_text(), *all_stored(farm).values()]
        assert not [text for text in places for secret in (TOKEN, OVER_SSH, SESSION) if secret in text]
    record_property("seen", "256,005 bytes over https and over ssh")


def test_a_revoked_key_and_a_changed_host_key_are_named(built, private):
    git, key = private
    url, tenant = git.ssh_url("team/app.git"), built.tenant
    wrong, public = make_key(git.folder / "wrong")
    built.farm.set_credential("wrong", credential(Kind.SSH_KEY, url, wrong), tenant=tenant, app="wrong")
    failure = built.request(source=GitSource(url=url), app="wrong").failure
    assert failure.code == "app.source"
    assert f"{url} could not be fetched with the credential wrong: its host refused" in failure.message
    pinned = credential(Kind.SSH_KEY, url, key, host_keys=(public,))
    built.farm.set_credential("pinned", pinned, tenant=tenant, app="pinned")
    failure = built.request(source=GitSource(url=url), app="pinned").failure
    assert "is not the known one (ssh-ed25519 SHA256:" in failure.message
    assert "--host-key" in failure.advice
