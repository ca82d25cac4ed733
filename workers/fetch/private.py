"""Fetches private repositories and buildpacks in a separate sandbox, which ends before the build sees a file.

Only that sandbox gets a credential, on standard input, and it runs nothing of the app. What it has fetched is read from
its frozen workspace and streamed into the build's sandbox, as a packed source is: docs/decisions/038-credentials.md.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from buildfarm.buildpacks.address import RegistryBuildpack, parse_buildpack
from buildfarm.buildpacks.pin import ARTIFACT_TYPE
from buildfarm.config_vars.build_variables import BuildVariables
from buildfarm.errors import SourceError, TooLargeError
from buildfarm.oci.producer import produce
from buildfarm.sources.credentials import Credential, Kind
from buildfarm.sources.credentials.host_keys import fingerprint, host_key
from buildfarm.sources.credentials.matching import advice_for, choose, needs_one, place_of
from buildfarm.sources.credentials.submodules import fetches_more, submodule_url
from workers.attempt.signals import Check, Log
from workers.fetch import with_build_variables
from workers.fetch.program import command_of
from workers.fetch.refusals import refusal
from workers.sandbox.container import Sandbox
from workers.sandbox.pool import SandboxPool
from workers.sandbox.workspace import Workspace

SUBMODULES_MAX = 100  # of a source, those of submodules too
SUBMODULES_DEPTH_MAX = 5
_ABOUT_CHARS_MAX = 500
_PIPE_BYTES = 64 * 1024
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Fetched:
    """What came in: its commit or digest, and its files below one folder as a tar archive, to be read once."""

    version: str
    size_bytes: int  # of the files
    pieces: Iterator[bytes]


@dataclass(frozen=True)
class PrivateFetch:
    """Fetches for one attempt. Every method raises SourceError, and what a sandbox raises."""

    pool: SandboxPool
    image: str
    owner: str  # TENANT/APP
    credentials: tuple[Credential, ...]
    variables: BuildVariables
    learn: Callable[[Credential, list[str]], bool]
    log: Log
    check: Check
    limit_bytes: int  # of a buildpack of another registry
    lfs_bytes: int  # of the Git LFS files of a source, or of a buildpack

    def has(self, url: str) -> bool:
        """Whether a credential is for this address."""
        return choose(self.credentials, url) is not None

    def stamp(self, url: str) -> str:
        """What tells the credential for this address from all others, and says nothing about it."""
        one = choose(self.credentials, url)
        if one is None:
            return ""
        used = sorted(self.credentials, key=lambda each: (each.app or "", each.name)) if one.submodules else []
        parts = [
            [each.name, each.app, each.address, each.value, each.submodules, *[True] * each.lfs]  # as before Git LFS
            for each in (one, *used)
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def repeatable(self, asked: Iterable[str], used: Iterable[str]) -> bool:
        """Whether the addresses of a request, and of the buildpacks that were used, show all that was fetched.

        Submodules and Git LFS files are asked for at the credential; what the app's own files name is not known when
        it is submitted.
        """
        asked, used = ([name.partition("#")[0] for name in names] for names in (asked, used))
        known = {place_of(url) for url in asked}
        hidden = [url for url in used if self.has(url) and place_of(url) not in known]
        return not hidden and not fetches_more(self.credentials, [*asked, *used])

    def pin(self, url: str, ref: str) -> str:
        """The commit or digest that this is now; empty if there is no such name."""
        with self._sandbox() as (_, sandbox):
            return str(self._run(sandbox, url, ref, resolve=True)["commit"])

    @contextmanager
    def fetched(self, url: str, ref: str) -> Iterator[Fetched]:
        """The files, while the block lasts; the sandbox has ended before it begins."""
        with self._sandbox() as (workspace, sandbox):
            answer = self._run(sandbox, url, ref)
            used = choose(self.credentials, url)
            if used is not None and used.submodules:
                self._fetch_submodules(sandbox, url, answer)
            elif answer.get("submodules"):
                self._say(f"Submodules are not fetched: the credential for {url} was set without --submodules.")
            # Of this sandbox, and of the credential in its memory, nothing is left when the build sees the first file.
            sandbox.kill()
            workspace.freeze(lambda: None)
            found = workspace.app.scan().found
            archive = workspace.app.archive(found, owner=workspace.owner)
            size_bytes = sum(item.size_bytes for item in found)
            yield Fetched(answer["commit"], size_bytes, _pieces(archive.argv, archive.names))

    def _fetch_submodules(self, sandbox: Sandbox, url: str, answer: dict[str, Any]) -> None:
        waiting = [(url, "/app", 1, found) for found in answer["submodules"]]
        count, lfs_bytes = 0, answer["lfs_bytes"]
        while waiting:
            parent, folder, depth, found = waiting.pop()
            count += 1
            if count > SUBMODULES_MAX or depth > SUBMODULES_DEPTH_MAX:
                raise TooLargeError(
                    f"{url} has more than {SUBMODULES_MAX} submodules, or more than {SUBMODULES_DEPTH_MAX} levels.",
                    advice="Keep fewer of them, or set the credential without --submodules.",
                )
            place, inside = submodule_url(parent, found["url"]), f"{folder}/{found['path']}"
            answer = self._run(sandbox, place, found["commit"], into=inside, lfs_used=lfs_bytes)
            lfs_bytes += answer["lfs_bytes"]
            self._say(f"Submodule {inside.removeprefix('/app/')} at {found['commit']}")
            waiting += [(place, inside, depth + 1, one) for one in answer["submodules"]]

    def _run(
        self, sandbox: Sandbox, url: str, ref: str, *, into: str = "/app", resolve: bool = False, lfs_used: int = 0
    ) -> dict[str, Any]:
        """Runs the program that fetches, with the credential for this address alone."""
        credential = choose(self.credentials, url)
        if credential is None and needs_one(url):
            raise SourceError(
                f"{url} needs a credential, and {self.owner} has none for it.", advice=advice_for(url, self.owner)
            )
        if credential is not None and not credential.value and credential.kind is not Kind.PUBLIC:
            raise refusal("unreadable", url, ref, credential)
        if credential is not None:
            self._say(f"Fetching {url} with the credential {credential.name}")
        job = {"url": url, "ref": ref, "into": into, "resolve": resolve, **_login(credential, url)}
        job |= {"lfs": credential is not None and credential.lfs, "lfs_bytes": self.lfs_bytes - lfs_used}
        name = "git-lfs" if job["lfs"] and not resolve else "git"
        if url.startswith("oci://"):
            buildpack = parse_buildpack(url)
            if not isinstance(buildpack, RegistryBuildpack):
                raise SourceError(f"{url} is not a buildpack of a registry.")
            name, job["limit_bytes"], job["packed_type"] = "oci", self.limit_bytes, ARTIFACT_TYPE
            job |= {"host": buildpack.host, "repository": buildpack.repository, "reference": ref}
        ended = sandbox.run(command_of(name), stdin=[json.dumps(job).encode()], capture=True)
        try:
            answer: dict[str, Any] = json.loads(ended.stdout)
        except ValueError:
            answer = {"failure": "submodules" if ended.cut else "failed"}
        if "failure" in answer:
            raise refusal(answer["failure"], url, ref, credential, _plain(answer.get("about", "")))
        if credential is not None and credential.kind is Kind.SSH_KEY and not credential.host_keys:
            self._learn(credential, url, answer["host_keys"])
        return answer

    def _learn(self, credential: Credential, url: str, host_keys: list[str]) -> None:
        try:
            host_keys = list(map(host_key, host_keys))
        except ValueError as error:
            raise refusal("failed", url, "", credential) from error
        if not self.learn(credential, host_keys):
            raise refusal("changed", url, "", credential)
        shown = ", ".join(map(fingerprint, host_keys))
        self._say(f"The host key of {credential.host} was learned, and counts from now on: {shown}")

    @contextmanager
    def _sandbox(self) -> Iterator[tuple[Workspace, Sandbox]]:
        """A fresh one, like those of builds: the same image, limits and network rules."""
        name = f"buildfarm-fetch-{secrets.token_hex(4)}"
        taken = self.pool.take(
            name, self.image, {}, log=self.log, check=self.check, for_build=False, shares_memory=True
        )
        with taken as (workspace, sandbox):
            try:
                yield workspace, with_build_variables(self.variables, sandbox)
            finally:
                sandbox.kill()

    def _say(self, sentence: str) -> None:
        self.log(f"-----> {sentence}\n".encode())


def _login(credential: Credential | None, url: str) -> dict[str, Any]:
    """What the program gets of the credential, and the host that it is for."""
    if credential is None or credential.kind is Kind.PUBLIC:
        return {"kind": "", "value": "", "user": "", "host": urlsplit(url).netloc, "host_keys": [], "address": ""}
    return {
        "kind": credential.kind, "value": credential.value, "user": credential.login, "host": credential.host,
        "host_keys": list(credential.host_keys), "address": credential.address.removesuffix(".git"),
    }  # fmt: skip


def _plain(about: object) -> str:
    """A name that the program gave, as text that can be encoded."""
    return str(about)[:_ABOUT_CHARS_MAX].encode(errors="backslashreplace").decode()


def _pieces(argv: list[str], names: list[str]) -> Iterator[bytes]:
    with produce(argv, names, pipe_bytes=_PIPE_BYTES) as producer:
        while piece := producer.output.read(_CHUNK_BYTES):
            yield piece
        producer.finish()
