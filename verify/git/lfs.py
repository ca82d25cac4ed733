"""Git LFS of private repositories on a real node: ``python -m verify.git.lfs``, as root, services up.

The real git-lfs commits and sends the files, to the test server beside git's own and to Giftless.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from buildfarm.config_vars.build_variables import BuildVariable
from buildfarm.model import Build, Phase
from buildfarm.sources.credentials import Kind
from testkit.builds import farm_with_node, gateway_of
from testkit.git_server import Repository, git_server
from testkit.git_server.lfs import OVER_SSH, SESSION, LfsStore
from testkit.git_server.lfs_client import LfsClient, lfs_client
from testkit.git_server.private import private_git, private_registry
from testkit.git_server.ssh_server import make_key
from testkit.table import Claims
from verify.git.credentials import LOGIN, LOOKS, TOKEN, Trial, canaries
from verify.git.giftless import giftless

MIB = 1024 * 1024
SOURCE_BYTES = 64 * MIB
SUMS = "cd $1; find . -name '*.bin' -exec sha256sum {} +; ls -a\n"
APP = {"bin/detect": "#!/bin/bash\necho App\n", "bin/compile": LOOKS + SUMS, "Procfile": "web: true\n"}
FILES = {"picture.bin": bytes(range(256)) * 8000, "deep/in/other.bin": b"other", "empty.bin": b""}


@dataclass
class Lfs:
    """The trial of credentials, with git-lfs."""

    trial: Trial
    client: LfsClient

    @property
    def store(self) -> LfsStore:
        """The objects of the test server."""
        return self.trial.git.https.lfs

    def made(self, name: str, files: Mapping[str, str | bytes]) -> tuple[Repository, str]:
        """A repository with these files, whose content is sent; and its address over https."""
        git = self.trial.git
        repository, url = git.repository(f"team/{name}.git"), f"{git.https.url}/team/{name}.git"
        self.client.commit(repository, {**APP, **files})
        self.client.send(repository, url.replace("://", f"://x-access-token:{TOKEN}@"))
        return repository, url

    def build(self, app: str, url: str, **fields: object) -> Build:
        """A build with the token, which asks for Git LFS files."""
        self.trial.set(app, Kind.TOKEN, f"{self.trial.git.https.url}/team", TOKEN, lfs=True)
        return self.trial.build(app, url, **fields)


def sums(files: Mapping[str, bytes], before: str = "") -> tuple[str, ...]:
    """Lines of sha256sum."""
    return tuple(f"{hashlib.sha256(text).hexdigest()}  ./{name.removeprefix(before)}" for name, text in files.items())


def content(lfs: Lfs) -> None:
    """The same private repository over https and ssh."""
    trial, git = lfs.trial, lfs.trial.git
    repository, url = lfs.made("app", FILES)
    pulled = lfs.client.pulled(url.replace("://", f"://x-access-token:{TOKEN}@"), "picture.bin")
    trial.claims.add(
        "git-lfs pulls from the server what it has pushed", f"{len(pulled):,} bytes", pulled == FILES["picture.bin"]
    )
    trial.set("plain", Kind.TOKEN, f"{git.https.url}/team", TOKEN)
    trial.works(
        "unless asked for, files stay pointers, and the log says what to do", trial.build("plain", url), "--lfs"
    )
    build = lfs.build("https", url)
    trial.works("files come over https with a token", build, *sums(FILES))
    canaries(trial, "https", build)
    _, quiet = lfs.made("quiet", {**FILES, "bin/compile": "#!/bin/bash\n"})
    digests = [str(one.result.digest) if one.result else one.state for one in (lfs.build("https", quiet) for _ in "ab")]
    trial.claims.add(
        "the same commit gives the same image", ", ".join(digests), len({*digests}) == 1 and ":" in digests[0]
    )
    trial.set("ssh", Kind.SSH_KEY, git.ssh_url("team"), trial.key, lfs=True)
    over_ssh = git.ssh_url("team/app.git")
    git.ssh.authenticate("")
    trial.refused(
        "a host without git-lfs-authenticate is named", trial.build("ssh", over_ssh), "credential ssh", "https"
    )
    git.ssh.authenticate(json.dumps({"href": f"{url}/info/lfs", "header": {"Authorization": OVER_SSH}}))
    build = trial.build("ssh", over_ssh)
    trial.works("files come over ssh with a deploy key", build, *sums(FILES))
    canaries(trial, "ssh", build)
    below = {name: text for name, text in FILES.items() if name.startswith("deep/")}
    lfs.client.commit(repository, {f"deep/in/{name}": text for name, text in APP.items()})
    build = lfs.build("https", url, env={"PROJECT_DIR": "deep/in"})
    trial.works("those of PROJECT_DIR are at their places", build, *sums(below, "deep/in/"))


def beside(lfs: Lfs) -> None:
    """Submodules, public repositories, many files, another LFS server."""
    trial, git = lfs.trial, lfs.trial.git
    lfs.made("lib", {"inside.bin": b"of the submodule"})
    modules = '[submodule "lib"]\n\tpath = lib\n\turl = ../lib.git\n'
    outer, url = lfs.made("outer", {"outer.bin": b"outer", ".gitmodules": modules})
    lib = Repository(git.folder / "team/lib.git").git("rev-parse", "main")
    outer.git("read-tree", "main")
    outer.git("update-index", "--add", "--cacheinfo", f"160000,{lib},lib")
    commit = outer.git("-c", "user.name=t", "-c", "user.email=t@x", "commit-tree", outer.git("write-tree"), "-m", "x")
    outer.git("update-ref", "refs/heads/main", commit)
    trial.set("sub", Kind.TOKEN, f"{git.https.url}/team", TOKEN, lfs=True, submodules=True)
    build = trial.build("sub", url)
    trial.works(
        "those of submodules come too", build, *sums({"outer.bin": b"outer", "lib/inside.bin": b"of the submodule"})
    )
    many = {f"many/{number}.bin": f"content {number}".encode() for number in range(1000)}
    _, url = lfs.made("many", {**many, "large.bin": bytes(48 * MIB)})
    build = lfs.build("many", url)
    trial.works("a thousand files and 48 MiB", build, *sums({"many/999.bin": many["many/999.bin"]}))
    seconds = build.result.phase_seconds[Phase.PREPARE] if build.result else 0
    trial.claims.add("they take less than 60 s", f"prepare: {seconds:.1f} s", 0 < seconds < 60)
    git.https.logins.clear()
    address = git.https.url.removeprefix("https://")
    trial.set("public", Kind.PUBLIC, address, "", lfs=True)
    trial.works(
        "those of public repositories come without a login", trial.build("public", f"{git.https.url}/team/app.git")
    )
    git.https.logins.add(f"x-access-token:{TOKEN}")
    with (
        tempfile.TemporaryDirectory() as folder,
        giftless(Path(folder), git.folder, address.partition(":")[0]) as other,
    ):
        repository = git.repository("team/giftless.git")
        lfs.client.commit(repository, {**APP, **FILES})
        lfs.client.send(repository, other.url("team/giftless"))
        git.ssh.authenticate(other.authenticate("team/giftless"))
        build = trial.build("ssh", git.ssh_url("team/giftless.git"))
        trial.works("files come from Giftless, named by git-lfs-authenticate", build, *sums(FILES))
        found = other.token in trial.builds.log(build)
        trial.claims.add("its token is not in the log", "not found" if not found else "found", not found)


def refusals(lfs: Lfs) -> None:
    """What is wrong with the content, the repository and the server."""
    trial, git, store = lfs.trial, lfs.trial.git, lfs.store
    repository, url = lfs.made("app2", FILES)
    oid = hashlib.sha256(FILES["picture.bin"]).hexdigest()
    store.sent[oid] = bytes(len(FILES["picture.bin"]))
    trial.refused("other bytes are refused by file", lfs.build("bad", url), "picture.bin", "credential bad", url)
    store.sent.clear()
    kept = store.objects.pop(oid)
    trial.refused("a missing object is refused by file", lfs.build("bad", url), "picture.bin", "credential bad", url)
    store.objects[oid] = kept
    large = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'1' * 64}\nsize {SOURCE_BYTES + 1}\n"
    files = {**APP, "large.bin": large, ".gitattributes": "*.bin filter=lfs\n"}
    git.repository("team/large.git").commit("refs/heads/main", files)
    before = len(store.batches)
    build = lfs.build("bad", f"{git.https.url}/team/large.git")
    told = str(build.failure)
    good = "large.bin has 67,108,865; there is room for 67,108,864" in told and "credential bad" in told
    trial.claims.add("too many bytes are refused before any is fetched", told, good and len(store.batches) == before)
    with git_server(git.folder, git.https.url.partition("//")[2].partition(":")[0], tls=git.tls) as other:
        lfs.client.commit(repository, {".lfsconfig": f"[lfs]\n\turl = {other.url}/team/app2.git/info/lfs\n"})
        build = lfs.build("bad", url)
        trial.refused("an LFS server of another host is refused by name", build, other.url, "credential bad", url)
        trial.claims.add("and was not asked", f"{len(other.lfs.seen)} requests", not other.lfs.seen)
        lfs.client.commit(repository, {".lfsconfig": "[lfs]\n\tconcurrenttransfers = 1\n"})
        store.at, other.lfs.objects = f"{other.url}/store", store.objects
        trial.works("a storage on another host is used", lfs.build("bad", url), *sums(FILES))
        shown = {one.get("Authorization") for one in other.lfs.seen}
        trial.claims.add(
            "it gets what the answer gave, and not the token",
            f"{shown}; logins {other.shown}",
            shown == {SESSION} and not other.shown,
        )
        store.at, store.moved, other.lfs.is_open = "", other.url, True
        other.lfs.seen.clear()
        trial.works("a redirect to it is followed", lfs.build("bad", url), *sums(FILES))
        shown = {one.get("Authorization") for one in other.lfs.seen}
        trial.claims.add("after a redirect it gets nothing", str(shown), shown == {None} and not other.shown)
    store.moved = ""
    for place in ("https://169.254.169.254", "https://10.255.255.1"):
        store.at = place
        trial.refused(f"{place} cannot be reached", lfs.build("bad", url), "credential bad", url)
    store.at = ""


def main() -> None:
    """Tries all of it, and prints the table."""
    claims = Claims("Git LFS of private repositories")
    with ExitStack() as stack:
        builds = stack.enter_context(farm_with_node("lfs", BUILDFARM_SOURCE_BYTES=str(SOURCE_BYTES)))
        gateway = gateway_of(builds.farm.settings.sandbox_network)
        git = stack.enter_context(private_git(gateway))
        registry = stack.enter_context(private_registry(gateway, git.tls, LOGIN))
        key, public = make_key(git.folder / "key")
        git.ssh.allow([public])
        git.https.logins.add(f"x-access-token:{TOKEN}")
        builds.farm.set_variables({"CA_CERTIFICATES": BuildVariable(value=git.authority, file=True)})
        client = lfs_client(git.folder / "client", git.authority)
        lfs = Lfs(Trial(builds, git, registry, key, public, claims), client)
        for part in (content, beside, refusals):
            part(lfs)
    claims.finish()


if __name__ == "__main__":
    main()
