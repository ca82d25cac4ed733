"""Private repositories and buildpacks on a real node: ``python -m verify.git.credentials``, as root, services up.

A git server over TLS (git-http-backend) and a real sshd serve them on the builds' own bridge.
"""

from __future__ import annotations

import gzip
import io
import statistics
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from buildfarm.buildpacks.pin import ARTIFACT_TYPE
from buildfarm.config_vars.build_variables import BuildVariable
from buildfarm.errors import RequestError
from buildfarm.model import Build, Phase, State
from buildfarm.sources.address import GitSource
from buildfarm.sources.credentials import Kind, NewCredential
from testkit.builds import Builds, farm_with_node, gateway_of
from testkit.git_server import git_server
from testkit.git_server.private import PrivateGit, PrivateRegistry, private_git, private_registry
from testkit.git_server.ssh_server import make_key, ssh_server
from testkit.queue.stored import all_stored
from testkit.table import Claims

TOKEN = "canary-token-91c3e07b"
LOGIN = "robot:canary-password-77d1"
LOOKS = (
    "#!/bin/bash\nmkdir -p $2 && env >$2/environment; find / -xdev -type f -user $(id -u) 2>/dev/null | head -500\n"
    "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' >$1/seen\n"
    "find $1 -name '.git*' -o -name '*.sh'; find $1 -type f | sort\n"
)
APP = {"bin/detect": "#!/bin/bash\necho App\n", "bin/compile": LOOKS, "Procfile": "web: true\n", "lib/a": "a\n"}
PACK = {"bin/detect": "#!/bin/bash\necho Pack\n", "bin/compile": "#!/bin/bash\necho the private buildpack runs\n"}
RUNS = 5


@dataclass
class Trial:
    """A farm with a node, the private servers, and a key that opens the one over ssh."""

    builds: Builds
    git: PrivateGit
    registry: PrivateRegistry
    key: str
    public: str
    claims: Claims

    def set(self, name: str, kind: Kind, address: str, value: str, *, app: str = "", **fields: object) -> None:
        """Sets a credential of an app; without one, of that which is named like it."""
        new = NewCredential.model_validate({"kind": kind, "address": address, "value": value, **fields})
        self.builds.farm.set_credential(name, new, tenant=self.builds.tenant, app=app or name)

    def build(self, app: str, url: str, **fields: object) -> Build:
        """An ended build of this repository."""
        return self.builds.request(source=GitSource(url=url), app=app, cached_result=False, **fields)

    def works(self, claim: str, build: Build, *words: str) -> None:
        """A claim that a build succeeded, and that its log has all of these words."""
        log = self.builds.log(build)
        missing = [word for word in words if word not in log]
        good = build.state is State.SUCCEEDED and not missing
        self.claims.add(claim, build.state if good else f"{build.state}, without {missing}: {log[-600:]}", good)

    def refused(self, claim: str, build: Build, *words: str) -> None:
        """A claim that a build failed by the app's fault with a sentence that has these words, and no secret."""
        told = f"{build.failure.message} {build.failure.advice}" if build.failure else ""
        code = build.failure.code if build.failure else ""
        good = code in ("app.source", "app.detect") and all(word in told for word in words)
        self.claims.add(claim, f"{code}: {told}", good and not self.found_in(told))

    def found_in(self, text: str) -> list[str]:
        """Which parts of secrets are in a text."""
        lines = [line for line in self.key.splitlines() if len(line) > 40]
        return [canary for canary in (TOKEN, LOGIN.partition(":")[2], *lines) if canary in text]


def repositories(trial: Trial) -> None:
    """The same private repository over ssh and https, with a branch, a commit and a submodule."""
    git, farm = trial.git, trial.builds.farm
    repository = git.repository("team/app.git")
    commit = repository.commit("refs/heads/main", APP)
    over_ssh, over_https = git.ssh_url("team/app.git"), f"{git.https.url}/team/app.git"
    try:
        trial.build("ssh", over_ssh)
        told = "accepted"
    except RequestError as error:
        told = str(error)
    trial.claims.add("an ssh address without a credential is refused at once", told, "credentials set" in told)
    trial.refused("a private repository without a credential fails", trial.build("none", over_https))
    trial.set("ssh", Kind.SSH_KEY, git.ssh_url("team"), trial.key)
    trial.works(
        "a private repository over ssh is built, and the host key learned", trial.build("ssh", over_ssh), commit
    )
    shown = [key for one in farm.credentials(trial.builds.tenant) for key in one.host_keys if one.learned]
    trial.claims.add("the learned host key is shown", ", ".join(shown), len(shown) == 1)
    trial.works("a second build finds the host key known", trial.build("ssh", f"{over_ssh}#{commit}"), commit)
    trial.set("https", Kind.TOKEN, f"{git.https.url}/team", TOKEN)
    build = trial.build("https", f"{over_https}#main")
    trial.works("a private repository over https is built", build, commit)
    canaries(trial, "https", build)
    submodules(trial, over_ssh, over_https)


def submodules(trial: Trial, over_ssh: str, over_https: str) -> None:
    """A relative submodule, one in it, and one over ssh with another credential."""
    git = trial.git
    deep = git.repository("team/deep.git").commit("refs/heads/main", {"deep-file": ""})
    inner = git.repository("team/inner.git")
    modules = '[submodule "deep"]\n\tpath = deep\n\turl = ../deep.git\n'
    inside = _with_gitlinks(inner, {".gitmodules": modules, "inner-file": ""}, {"deep": deep})
    outer = git.repository("team/outer.git")
    modules = '[submodule "lib"]\n\tpath = vendor/lib\n\turl = ../inner.git\n'
    _with_gitlinks(outer, {**APP, ".gitmodules": modules}, {"vendor/lib": inside})
    url = over_ssh.replace("app.git", "outer.git")
    trial.set("sub", Kind.SSH_KEY, git.ssh_url("team"), trial.key)
    trial.works(
        "submodules are left out unless they are asked for", trial.build("sub", url), "set without --submodules"
    )
    trial.set("sub", Kind.SSH_KEY, git.ssh_url("team"), trial.key, submodules=True)
    files = ("/vendor/lib/inner-file", "/vendor/lib/deep/deep-file")
    trial.works("private submodules are fetched, those in submodules too", trial.build("sub", url), *files)
    trial.set("two", Kind.TOKEN, f"{git.https.url}/team", TOKEN, submodules=True)
    modules = f'[submodule "lib"]\n\tpath = lib2\n\turl = {git.ssh_url("team/deep.git")}\n'
    _with_gitlinks(outer, {**APP, ".gitmodules": modules}, {"lib2": deep})
    url = over_https.replace("app.git", "outer.git")
    trial.refused("a submodule of another kind needs its own credential", trial.build("two", url), "deep.git", "--kind")
    trial.set("other", Kind.SSH_KEY, git.ssh_url("team"), trial.key, app="two")
    trial.works("with one it is fetched", trial.build("two", url), "lib2/deep-file")


def _with_gitlinks(repository: object, files: dict[str, str], links: dict[str, str]) -> str:
    """A commit of files, and of other repositories' commits at these paths."""
    made = repository
    made.commit("refs/heads/main", files)  # type: ignore[attr-defined]
    git = made.git  # type: ignore[attr-defined]
    git("read-tree", "main")
    for path, commit in links.items():
        git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    commit = git("-c", "user.name=t", "-c", "user.email=t@x", "commit-tree", git("write-tree"), "-m", "x")
    git("update-ref", "refs/heads/main", commit)
    return str(commit)


def buildpacks(trial: Trial) -> None:
    """Private buildpacks: by git over both, and of another registry."""
    git = trial.git
    git.repository("team/pack.git").commit("refs/heads/main", PACK)
    source = git.repository("open.git")
    source.commit("refs/heads/main", {"Procfile": "web: true\n"})
    for app, url in (("ssh", git.ssh_url("team/pack.git")), ("https", f"{git.https.url}/team/pack.git")):
        trial.set("source", Kind.TOKEN, f"{git.https.url}/open", TOKEN, app=app)
        build = trial.build(app, f"{git.https.url}/open.git", buildpacks=(f"{url}#main",))
        trial.works(f"a private buildpack over {app} is used", build, "the private buildpack runs")
    user, _, password = LOGIN.partition(":")
    trial.set("robot", Kind.REGISTRY, trial.registry.host, password, app="https", user=user)
    digest = trial.registry.put("team/pack", "v1", _packed(PACK), ARTIFACT_TYPE)
    for reference in (":v1", f"@{digest}"):
        named = f"oci://{trial.registry.host}/team/pack{reference}"
        build = trial.build("https", f"{git.https.url}/open.git", buildpacks=(named,))
        trial.works(
            f"a private buildpack of a registry is used by {reference[:7]}", build, "the private buildpack runs"
        )
    canaries(trial, "a buildpack", build)
    trial.registry.login = "robot:another"
    trial.registry.put("team/pack", "v2", _packed({**PACK, "x": ""}), ARTIFACT_TYPE)
    named = f"oci://{trial.registry.host}/team/pack:v2"
    build = trial.build("https", f"{git.https.url}/open.git", buildpacks=(named,))
    trial.refused("a revoked login of a registry is named", build, "credential robot", "team/pack")


def refusals(trial: Trial) -> None:
    """Wrong and revoked credentials, another host key, a redirect."""
    git = trial.git
    over_ssh, over_https = git.ssh_url("team/app.git"), f"{git.https.url}/team/app.git"
    wrong, _ = make_key(git.folder / "wrong")
    trial.set("wrong", Kind.SSH_KEY, git.ssh_url("team"), wrong)
    trial.refused("a wrong key is refused by name", trial.build("wrong", over_ssh), "credential wrong", over_ssh)
    git.ssh.allow([])
    trial.refused("so is a revoked key", trial.build("ssh", over_ssh), "credential ssh", over_ssh, "credentials set")
    git.ssh.allow([trial.public])
    git.https.logins.clear()
    git.https.logins.add("x-access-token:another-token")
    trial.refused("so is a revoked token", trial.build("https", over_https), "credential https", over_https)
    git.https.logins.add(f"x-access-token:{TOKEN}")
    trial.refused("a ref that is not there is named", trial.build("https", f"{over_https}#nowhere"), "'nowhere'")
    trial.set("pinned", Kind.SSH_KEY, git.ssh_url("team"), trial.key, host_keys=(trial.public,))
    trial.refused("a host that lacks the pinned key gets nothing", trial.build("pinned", over_ssh), "known one")
    trial.set("pinned", Kind.SSH_KEY, git.ssh_url("team"), trial.key, host_keys=(git.ssh.host_key,))
    trial.works("one that has it is used", trial.build("pinned", over_ssh))
    gateway = gateway_of(trial.builds.farm.settings.sandbox_network)
    with ssh_server(gateway) as first:
        first.allow([trial.public])
        url, port = f"{first.url}{git.folder}/team/app.git", int(first.url.rpartition(":")[2])
        trial.set("changed", Kind.SSH_KEY, url, trial.key)
        trial.works("a host key is learned", trial.build("changed", url), "was learned")
    with ssh_server(gateway, port) as second:
        second.allow([trial.public])
        build = trial.build("changed", url)
        trial.refused("a changed host key ends the fetch, with both sides named", build, "not the known one", "changed")
        trial.set("changed", Kind.SSH_KEY, url, trial.key)
        trial.works("set again, it is learned anew", trial.build("changed", url), "was learned")
    with git_server(git.folder, gateway, tls=git.tls) as elsewhere:
        elsewhere.logins.add("x-access-token:nothing")
        git.https.moved["/team/moved.git"] = elsewhere.url
        git.repository("team/moved.git").commit("refs/heads/main", APP)
        build = trial.build("https", f"{git.https.url}/team/moved.git")
        seen = f"{build.state}; the other host was asked {len(elsewhere.asked)} times, and saw {elsewhere.shown}"
        trial.claims.add(
            "after a redirect the other host gets no token", seen, bool(elsewhere.asked and not elsewhere.shown)
        )


def canaries(trial: Trial, what: str, build: Build) -> None:
    """Where the secrets are found: they must be nowhere."""
    looked = list(_left(trial, build))
    found = [place for place, content in looked if trial.found_in(content.decode(errors="replace"))]
    total = sum(len(content) for _, content in looked)
    figure = f"{len(looked)} places, {total:,} bytes; found in {found or 'none'}"
    trial.claims.add(f"{what}: no secret in build, image, cache, log, records, Redis, node", figure, not found)


def _left(trial: Trial, build: Build) -> Iterator[tuple[str, bytes]]:
    farm, node = trial.builds.farm, trial.builds.node
    if build.result is not None:
        registry, repository = farm.registry, build.result.repository
        manifest, _ = registry.read_manifest(repository, build.result.digest)
        own = [layer.digest for layer in build.result.layers if layer.origin != "builder"]
        for digest in (manifest.config.digest, *own):
            content = b"".join(registry.get_blob(repository, digest, limit_bytes=2**30))
            yield f"blob {digest}", gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    yield "log", trial.builds.log(build).encode()
    yield "record", farm.get(build.id).model_dump_json().encode()
    yield "credentials", str(farm.credentials(trial.builds.tenant)).encode()
    for key, text in all_stored(farm).items():
        yield f"Redis {key}", text.encode()
    if node is not None:
        yield "node's log", node.log.read_bytes()
        for path in node.workspaces.glob(f"{node.id}*/**/*"):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 2**24 and path.suffix != ".ext4":
                content = path.read_bytes()
                yield str(path), gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def cost(trial: Trial) -> None:
    """What the second sandbox costs a build, and that builds without credentials pay nothing."""
    url = f"{trial.git.https.url}/free.git"
    trial.git.repository("free.git").commit("refs/heads/main", APP)
    trial.git.https.logins.clear()
    plain = [trial.build("plain", url).result for _ in range(RUNS)]
    private = [trial.build("https", f"{trial.git.https.url}/team/app.git").result for _ in range(RUNS)]
    seconds = [
        statistics.median(one.phase_seconds[Phase.PREPARE] for one in results if one) for results in (plain, private)
    ]
    figure = f"prepare: {seconds[0]:.2f} s without, {seconds[1]:.2f} s with a credential (medians of {RUNS})"
    trial.claims.add("a credential costs a build less than 5 s", figure, seconds[1] - seconds[0] < 5)


def _packed(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"pack/{name}")
            info.size, info.mode = len(text), 0o755
            archive.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


def main() -> None:
    """Tries all of it, and prints the table."""
    claims = Claims("Private repositories and buildpacks")
    with ExitStack() as stack:
        builds = stack.enter_context(farm_with_node("credentials"))
        gateway = gateway_of(builds.farm.settings.sandbox_network)
        git = stack.enter_context(private_git(gateway))
        registry = stack.enter_context(private_registry(gateway, git.tls, LOGIN))
        key, public = make_key(git.folder / "key")
        git.ssh.allow([public])
        git.https.logins.add(f"x-access-token:{TOKEN}")
        builds.farm.set_variables({"CA_CERTIFICATES": BuildVariable(value=git.authority, file=True)})
        trial = Trial(builds, git, registry, key, public, claims)
        for part in (repositories, buildpacks, refusals, cost):
            part(trial)
    claims.finish()


if __name__ == "__main__":
    main()
