"""Where buildpacks come from: each that a build may use is brought into its sandbox, and named by its digest.

Addresses are fetched by the sandbox, as sources are; the node itself asks only the farm's registry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from buildfarm.buildpacks.address import (
    ArchiveBuildpack,
    ArtifactBuildpack,
    Buildpack,
    BundledBuildpack,
    FolderBuildpack,
    GitBuildpack,
    RegistryBuildpack,
)
from buildfarm.buildpacks.pin import ARTIFACT_TYPE
from buildfarm.errors import DetectError, NodeError, RegistryError, SourceError, TooLargeError
from buildfarm.oci.connection import NotInRegistryError, OtherContentError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Manifest
from buildfarm.oci.registry import Registry
from buildfarm.recipes.catalogue import own_catalogue
from buildfarm.sources.credentials.matching import advice_for, needs_one
from buildfarm.telemetry import logger
from workers.attempt.signals import Check
from workers.buildpacks.buildpack_cache import BUILDPACK_BYTES_MAX, BuildpackCache
from workers.buildpacks.steps import FOLDER, Steps, folder_name
from workers.sandbox.tools.store import NoToolError, ToolStore

_ENTRIES_MAX = 100_000
_TOO_LARGE = (73, 74)
_LOG = "The log's last lines say why."


@dataclass(frozen=True)
class FetchedBuildpack:
    """A buildpack that is at hand in the sandbox, as the folder ``name`` of /tmp/buildpacks."""

    name: str
    source: str  # pinned as well as it can be
    kind: Literal["classic", "cnb"] = "classic"
    digest: Digest | None = None  # None for bundled buildpacks until detect reports it
    folders: tuple[str, ...] = ()  # of Cloud Native Buildpacks, where each buildpack.toml is


class Fetched(Protocol):
    """What a fetching sandbox has fetched."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def pieces(self) -> Iterator[bytes]: ...


class Private(Protocol):
    """Fetches with credentials, in another sandbox: `workers.fetch.private`."""

    def has(self, url: str) -> bool: ...
    def stamp(self, url: str) -> str: ...
    def pin(self, url: str, ref: str) -> str: ...
    def fetched(self, url: str, ref: str) -> AbstractContextManager[Fetched]: ...


@dataclass(frozen=True)
class BuildpackFetcher:
    """Brings buildpacks into sandboxes; one a node."""

    registry: Registry
    cache: BuildpackCache
    tools: ToolStore
    private: Private | None = None  # of one attempt

    def during(self, check: Check) -> BuildpackFetcher:
        """The same fetcher for one attempt: what ``check`` raises ends a download within a second."""
        return replace(self, registry=self.registry.during(check), tools=self.tools.during(check))

    def remove_partial(self) -> None:
        """Remove what a killed process left half-made; for the node's start."""
        self.cache.remove_partial()
        self.tools.remove_partial()

    def provide_tools(self, buildpacks: Sequence[str], has: Callable[[str], bool], steps: Steps) -> tuple[str, ...]:
        """Have the tools ready that the plans of these buildpacks name, and return their folders.

        ``has`` is whether the app has a file: to ask the plans is a step, which most apps of some languages do without.
        A tool that is missing or damaged costs time, never the build: the buildpack fetches it itself. Raises what a
        sandbox raises.
        """
        known = own_catalogue().offered(self.tools.machine, frozenset(buildpacks), has)
        offered = [f"{name}={version}" for name, version in known]
        if not offered:
            return ()
        told = steps.ask("tools", "wanted", *buildpacks, "--", *offered)
        wanted = [line for line in told.stdout.decode(errors="replace").splitlines() if line in offered]
        return tuple(filter(None, [self._provide(tool, steps) for tool in dict.fromkeys(wanted)]))

    def _provide(self, tool: str, steps: Steps) -> str:
        """The folder of a tool, which is written as NAME=VERSION; empty if it is not available."""
        name, _, version = tool.partition("=")
        try:
            return self.tools.provide(name, version)
        except (NoToolError, RegistryError) as error:
            steps.say(f"The buildpack fetches {name} {version} itself, because {error.message.rstrip('.')}")
            logger().warning("tool_not_provided", tool=name, version=version, reason=str(error))
            return ""

    def fetch(self, wanted: Sequence[Buildpack], tenant: str, steps: Steps) -> tuple[FetchedBuildpack, ...]:
        """Each of them, in their order. Raises DetectError, RegistryError and what a sandbox raises."""
        return tuple(self._fetch_one(number, item, tenant, steps) for number, item in enumerate(wanted, start=1))

    def _fetch_one(self, number: int, wanted: Buildpack, tenant: str, steps: Steps) -> FetchedBuildpack:
        if isinstance(wanted, BundledBuildpack):
            return FetchedBuildpack(wanted.name, str(wanted))
        name = folder_name(number, wanted.name)
        if isinstance(wanted, FolderBuildpack):  # a copy of it is there: see slugignore.leave_out
            return _described(name, str(wanted), _digest(name, steps), steps)
        if isinstance(wanted, GitBuildpack | RegistryBuildpack) and (private := self._private(wanted)):
            return self._fetch_private(name, private, wanted, tenant, steps)
        pinned = self._pin(wanted, steps)
        source = str(pinned) if pinned.pinned else ""
        digest = self.cache.find(tenant, source) if source else None
        if digest is None or not self._take(name, digest, steps):
            steps.say(f"Fetching the buildpack {pinned}")
            self._fetch(name, pinned, steps)
            digest = self.cache.keep(tenant, source, lambda take: _give(name, take, steps))
        return _described(name, str(pinned), digest, steps)

    def _private(self, wanted: GitBuildpack | RegistryBuildpack) -> Private | None:
        """What fetches this buildpack, if a credential is for it. Raises DetectError if one is missing."""
        url = wanted.url if isinstance(wanted, GitBuildpack) else str(wanted)
        if self.private is not None and self.private.has(url):
            return self.private
        if needs_one(url):
            raise DetectError(f"The buildpack {url} needs a credential, and there is none.", advice=advice_for(url))
        return None

    def _fetch_private(
        self, name: str, private: Private, wanted: GitBuildpack | RegistryBuildpack, tenant: str, steps: Steps
    ) -> FetchedBuildpack:
        """As any other; what the node keeps of it is found again with the same credential alone."""
        url, ref = (wanted.url, wanted.ref) if isinstance(wanted, GitBuildpack) else (str(wanted), wanted.reference)
        try:
            reference = ref if wanted.pinned else private.pin(url, ref)
            if not reference:
                raise DetectError(f"The buildpack's repository {url} has no branch or tag {ref!r}.")
            pinned = _at(wanted, reference)
            owner = f"{tenant} {private.stamp(url)}"
            digest = self.cache.find(owner, str(pinned))
            if digest is None or not self._take(name, digest, steps):
                with private.fetched(url, reference) as fetched:
                    if fetched.size_bytes > BUILDPACK_BYTES_MAX:
                        raise DetectError(f"The buildpack {wanted} is larger than {BUILDPACK_BYTES_MAX:,} bytes.")
                    if steps.run("take", name, "1", stdin=fetched.pieces).code != 0:
                        raise DetectError(f"The buildpack {wanted} cannot be unpacked.", advice=_LOG)
                digest = self.cache.keep(owner, str(pinned), lambda take: _give(name, take, steps))
        except (SourceError, TooLargeError) as error:
            raise DetectError(f"The buildpack {error.message}", advice=error.advice) from error
        return _described(name, str(pinned), digest, steps)

    def _pin(self, wanted: Buildpack, steps: Steps) -> Buildpack:
        """What a branch or tag is now. A request's were pinned when it was made; those of an app's file are here."""
        match wanted:
            case GitBuildpack() if not wanted.pinned:
                ended = steps.run("resolve-git", wanted.url, wanted.ref, capture=True)
                if ended.code != 0:
                    raise DetectError(
                        f"The buildpack's repository {wanted.url} cannot be reached.",
                        advice=_LOG,
                    )
                commit = ended.stdout.decode(errors="replace").strip()
                if not commit:
                    raise DetectError(f"The buildpack's repository {wanted.url} has no branch or tag {wanted.ref!r}.")
                return replace(wanted, ref=commit)
            case ArtifactBuildpack() if not wanted.pinned:
                return replace(wanted, reference=self._manifest(wanted)[1])
        return wanted

    def _take(self, name: str, digest: Digest, steps: Steps) -> bool:
        """From what the node keeps; False if it was forgotten meanwhile."""
        try:
            return steps.run("take", name, stdin=self.cache.read(digest)).code == 0
        except OSError:
            return False

    def _fetch(self, name: str, wanted: Buildpack, steps: Steps) -> None:
        match wanted:
            case GitBuildpack():
                ended = steps.run_into(name, "fetch-git", wanted.url, wanted.ref)
            case ArchiveBuildpack():
                limits = [str(BUILDPACK_BYTES_MAX), str(BUILDPACK_BYTES_MAX), str(_ENTRIES_MAX)]
                ended = steps.run_into(name, "fetch-archive", wanted.url, wanted.sha256 or "-", *limits)
            case ArtifactBuildpack():
                return self._fetch_artifact(name, wanted, steps)
            case _:
                raise AssertionError("the builder's own are not fetched")
        if ended.code in _TOO_LARGE:
            raise DetectError(f"The buildpack {wanted} is larger than the farm's limit, or than the build's workspace.")
        if ended.code != 0:
            raise DetectError(f"The buildpack {wanted} could not be fetched.", advice=_LOG)
        return None

    def _fetch_artifact(self, name: str, wanted: ArtifactBuildpack, steps: Steps) -> None:
        """A folder that was packed here has a single one above it; a buildpackage's layers are a file system."""
        manifest, _ = self._manifest(wanted)
        strip = "1" if manifest.artifact_type == ARTIFACT_TYPE else "0"
        if sum(layer.size for layer in manifest.layers) > BUILDPACK_BYTES_MAX:
            raise DetectError(f"The buildpack {wanted} is larger than {BUILDPACK_BYTES_MAX:,} bytes.")
        for layer in manifest.layers:
            pieces = self.registry.get_blob(wanted.repository, layer.digest, limit_bytes=layer.size)
            if steps.run("take", name, strip, stdin=pieces).code != 0:
                raise DetectError(f"The buildpack {wanted} cannot be unpacked.", advice=_LOG)

    def _manifest(self, wanted: ArtifactBuildpack) -> tuple[Manifest, Digest]:
        try:
            return self.registry.read_manifest(wanted.repository, wanted.reference)
        except NotInRegistryError as error:
            raise DetectError(
                f"The buildpack {wanted} is not in the farm's registry.", advice="See `buildfarm buildpacks list`."
            ) from error
        except (OtherContentError, ValueError) as error:
            raise DetectError(f"The buildpack {wanted} is not an artifact: {error}.") from error


def _at(buildpack: GitBuildpack | RegistryBuildpack, reference: str) -> GitBuildpack | RegistryBuildpack:
    if isinstance(buildpack, GitBuildpack):
        return replace(buildpack, ref=reference)
    return replace(buildpack, reference=reference)


def _described(name: str, source: str, digest: Digest, steps: Steps) -> FetchedBuildpack:
    """What is in the folder ``name``, by what its files are."""
    told = steps.run("tell", name, capture=True).stdout.decode(errors="replace").splitlines()
    kind: Literal["classic", "cnb"] = "cnb" if told[:1] == ["cnb"] else "classic"
    folders = tuple(line for line in told[1:] if line.startswith(f"{FOLDER}/{name}"))
    return FetchedBuildpack(name, source, kind, digest, folders)


def _digest(name: str, steps: Steps) -> Digest:
    total = hashlib.sha256()
    _give(name, total.update, steps)
    return Digest(f"sha256:{total.hexdigest()}")


def _give(name: str, take: Callable[[bytes], None], steps: Steps) -> None:
    if steps.give(name, take).code != 0:
        raise NodeError(f"The buildpack {name} cannot be kept.")
