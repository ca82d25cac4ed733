"""Buildpacks pinned where they are named: what a branch, a tag or an address is now becomes a digest.

These requests are made from the caller's own machine. A node does it in the build's sandbox for
what an app's own files name.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx

from buildfarm.buildpacks.address import (
    ARTIFACTS,
    ArchiveBuildpack,
    ArtifactBuildpack,
    Buildpack,
    BundledBuildpack,
    FolderBuildpack,
    GitBuildpack,
    RegistryBuildpack,
    parse_buildpack,
)
from buildfarm.errors import RequestError
from buildfarm.oci.connection import NotInRegistryError, OtherContentError
from buildfarm.oci.registry import Registry

ARTIFACT_TYPE = "application/vnd.buildfarm.buildpack.v1"

_GIT_SECONDS = 60
_PROTOCOLS = "http:https:ssh:git"
_OF_A_REPOSITORY = (
    "GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH", "GIT_NAMESPACE", "GIT_SHALLOW_FILE",
)  # fmt: skip
_HTTP_SECONDS = 30
_ARCHIVE_BYTES_MAX = 512 * 1024 * 1024


def pin(text: str, registry: Registry | None) -> Buildpack:
    """The buildpack that is called so, with what it is now. Raises RequestError, and RegistryError.

    Without a registry, an artifact must be named by its digest.
    """
    buildpack = parsed(text)
    if buildpack.pinned:
        return buildpack
    match buildpack:
        case GitBuildpack():
            return replace(buildpack, ref=_commit(buildpack))
        case ArchiveBuildpack():
            return replace(buildpack, sha256=_sha256(buildpack.url))
        case ArtifactBuildpack():
            return replace(buildpack, reference=_artifact_digest(buildpack, registry))
        case BundledBuildpack() | FolderBuildpack() | RegistryBuildpack():
            return buildpack  # another registry's tag is resolved by the node, which has the credential


def parsed(text: str) -> Buildpack:
    """The buildpack that is called so, as it is named. Raises RequestError."""
    try:
        return parse_buildpack(text)
    except ValueError as error:
        raise RequestError(f"{error}.") from error


def artifact_repository(directory: Path) -> str:
    """Where a folder's buildpack is kept in the registry. Raises RequestError if its name cannot be used."""
    repository = ARTIFACTS + directory.resolve().name.lower()
    try:
        parse_buildpack(f"oci:{repository}:latest")
    except ValueError as error:
        raise RequestError(
            f"The folder's name {directory.resolve().name!r} is not a valid name of a buildpack.",
            advice="Use lower-case letters, digits, dots and dashes.",
        ) from error
    return repository


def ref_names(ref: str) -> tuple[str, ...]:
    """The full names that a ref can stand for; the first one that a repository has is meant.

    A tag's commit, which git lists as ``NAME^{}``, comes before the tag object itself. Names are never completed from
    the left: `main` does not stand for refs/heads/zoe/main.
    """
    if ref == "HEAD" or ref.startswith("refs/"):
        return (f"{ref}^{{}}", ref)
    return (f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}")


def list_refs(url: str, names: Sequence[str]) -> dict[str, str]:
    """Ask a git server for the commits of these full names or patterns. Names that it does not have are left out.

    `git ls-remote` returns every ref whose last components match, so look up the wanted name in the answer. It is run
    outside of any checkout, whose configuration could name programs and other addresses. Raises RequestError.
    """
    try:
        done = subprocess.run(
            ["git", "ls-remote", "--", url, *names],
            cwd="/", env=git_environment(), capture_output=True, text=True, timeout=_GIT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RequestError(
            f"{url} cannot be queried: {error}.", advice="Name the commit: URL#<40 hexadecimal digits>."
        ) from error
    if done.returncode != 0:
        raise RequestError(f"{url} cannot be read: {(done.stderr.strip().splitlines() or ['?'])[-1]}.")
    pairs = (line.partition("\t") for line in done.stdout.splitlines())
    return {name: commit for commit, _, name in pairs}


def git_environment() -> dict[str, str]:
    """The caller's own, so that its credentials and proxies work; nothing asks for input.

    Without what names a repository: a git hook has it, and git would use that one.
    """
    own = {name: value for name, value in os.environ.items() if name not in _OF_A_REPOSITORY}
    return {**own, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _PROTOCOLS, "LC_ALL": "C"}


def _commit(buildpack: GitBuildpack) -> str:
    names = ref_names(buildpack.ref)
    found = list_refs(buildpack.url, names)
    for name in names:
        if name in found:
            return found[name]
    raise RequestError(
        f"{buildpack.url} has no branch or tag {buildpack.ref!r}.",
        advice="Name a commit by all of its 40 hexadecimal digits.",
    )


def _sha256(url: str) -> str:
    total, size = hashlib.sha256(), 0
    try:
        # The bytes themselves count, not what a server's own compression makes of them.
        headers = {"accept-encoding": "identity"}
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_HTTP_SECONDS) as response:
            response.raise_for_status()
            for piece in response.iter_raw():
                size += len(piece)
                if size > _ARCHIVE_BYTES_MAX:
                    raise RequestError(f"{url} is larger than {_ARCHIVE_BYTES_MAX:,} bytes.")
                total.update(piece)
    except httpx.HTTPError as error:
        raise RequestError(f"{url} cannot be fetched: {error}.") from error
    return total.hexdigest()


def _artifact_digest(buildpack: ArtifactBuildpack, registry: Registry | None) -> str:
    if registry is None:
        raise RequestError(
            f"{buildpack} is a tag, which only the farm's own machines can resolve.",
            advice="Name the artifact by its digest.",
        )
    try:
        return str(registry.get_manifest(buildpack.repository, buildpack.reference)[2])
    except NotInRegistryError as error:
        raise RequestError(f"The farm's registry has no {buildpack}.") from error
    except (OtherContentError, ValueError) as error:
        raise RequestError(f"{buildpack} is not an artifact: {error}.") from error
