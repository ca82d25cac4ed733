"""How a buildpack is named: by the builder's own name, or by where it comes from. Pure.

==================================  ===========================================================
``python``                          one of the builder's own; ``heroku/python`` is the same
``https://host/x.git#REF``          a git repository at a branch, tag, full ref or commit; without one, its HEAD
``git@host:x.git#REF``              likewise, over ssh; a credential must be for it
``https://host/x.tar.gz#sha256=H``  a tar archive; without the digest, whatever is there
``oci:buildpacks/x@sha256:H``       an artifact or buildpackage in the farm's registry, or its tag
``oci://host/x@sha256:H``           one in another registry, or its tag; a credential must be for it
==================================  ===========================================================

The first # ends the address: a ref can contain others, as well as @ and +, and is not percent-decoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from buildfarm.fields import as_url, check_address, check_ref

ARTIFACTS = "buildpacks/"  # repositories that buildpacks may come from; others hold what tenants own

_NAME = re.compile(r"(?:heroku/|scalingo/)?([a-z0-9][a-z0-9._-]{0,63})")
_ARTIFACT = re.compile(r"oci:(buildpacks/[a-z0-9][a-z0-9._/-]{0,127})(?:@(sha256:[0-9a-f]{64})|:([\w][\w.-]{0,127}))")
_ELSEWHERE = re.compile(
    r"oci://([a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?)/([a-z0-9][a-z0-9._/-]{0,200})(?:@(sha256:[0-9a-f]{64})|:([\w][\w.-]{0,127}))"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})")
_ARCHIVE = (".tgz", ".tar.gz", ".tar", ".tar.xz", ".tar.bz2", ".tbz", ".tar.zst")
_URL_CHARS_MAX = 2048


@dataclass(frozen=True)
class BundledBuildpack:
    """One that the builder holds, and pins by its own digest."""

    name: str
    pinned = True

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class GitBuildpack:
    """A commit of a git repository."""

    url: str
    ref: str = "HEAD"

    def __str__(self) -> str:
        return f"{self.url}#{self.ref}"

    @property
    def name(self) -> str:
        return _stem(self.url)

    @property
    def pinned(self) -> bool:
        return _COMMIT.fullmatch(self.ref) is not None


@dataclass(frozen=True)
class ArchiveBuildpack:
    """A tar archive, whose bytes have this SHA-256 in hex; empty if none was given."""

    url: str
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.url}#sha256={self.sha256}" if self.sha256 else self.url

    @property
    def name(self) -> str:
        return _stem(self.url)

    @property
    def pinned(self) -> bool:
        return bool(self.sha256)


@dataclass(frozen=True)
class ArtifactBuildpack:
    """An artifact of the farm's registry; ``reference`` is a digest or a tag."""

    repository: str
    reference: str

    def __str__(self) -> str:
        return f"oci:{self.repository}{'@' if self.pinned else ':'}{self.reference}"

    @property
    def name(self) -> str:
        return self.repository.rpartition("/")[2]

    @property
    def pinned(self) -> bool:
        return self.reference.startswith("sha256:")


@dataclass(frozen=True)
class RegistryBuildpack:
    """An artifact or buildpackage of another registry; ``reference`` is a digest or a tag."""

    host: str
    repository: str
    reference: str

    def __str__(self) -> str:
        return f"oci://{self.host}/{self.repository}{'@' if self.pinned else ':'}{self.reference}"

    @property
    def name(self) -> str:
        return _plain(self.repository.rpartition("/")[2])

    @property
    def pinned(self) -> bool:
        return self.reference.startswith("sha256:")


@dataclass(frozen=True)
class FolderBuildpack:
    """A folder of the app's own source, by its path below the app. Only the app's project.toml can name one."""

    path: str
    pinned = True  # with the source

    def __str__(self) -> str:
        return f"./{self.path}"

    @property
    def name(self) -> str:
        return _plain(self.path.rpartition("/")[2].lower())


Buildpack = BundledBuildpack | GitBuildpack | ArchiveBuildpack | ArtifactBuildpack | RegistryBuildpack | FolderBuildpack


def parse_buildpack(text: str) -> Buildpack:
    """What a buildpack is called. Raises ValueError that says how to write it."""
    if found := _NAME.fullmatch(text):
        return BundledBuildpack(found[1])
    if found := _ARTIFACT.fullmatch(text):
        return ArtifactBuildpack(found[1], found[2] or found[3])
    if found := _ELSEWHERE.fullmatch(text):
        return RegistryBuildpack(found[1], found[2], found[3] or found[4])
    url, _, fragment = text.partition("#")
    url = as_url(url)
    if (
        not re.match(r"(https?|git|ssh)://[^\s/]", url)
        or re.search(r"\s", url)
        or not url.isprintable()
        or len(text) > _URL_CHARS_MAX
    ):
        raise ValueError(
            f"{text[:200]!r} does not name a buildpack: write a name, https://host/repository.git#ref, "
            "git@host:repository.git#ref, https://host/archive.tar.gz#sha256=…, oci:buildpacks/name@sha256:… or oci://host/name:tag"
        )
    try:
        check_address(url)
    except ValueError as error:
        raise ValueError(f"a buildpack's address cannot be used: {error}") from error
    if url.startswith("http") and urlsplit(url).path.endswith(_ARCHIVE):
        digest = _SHA256.fullmatch(fragment)
        if fragment and not digest:
            raise ValueError(f"{text[:200]!r}: an archive's address ends with #sha256= and 64 hexadecimal digits")
        return ArchiveBuildpack(url, digest[1] if digest else "")
    try:
        return GitBuildpack(url, check_ref(fragment) if fragment else "HEAD")
    except ValueError as error:
        raise ValueError(f"{text[:200]!r}: what follows the # is not a branch, tag, full ref or commit id") from error


def _stem(url: str) -> str:
    name = urlsplit(url).path.rstrip("/").rpartition("/")[2].lower()
    for ending in (".git", *sorted(_ARCHIVE, key=len, reverse=True)):
        name = name.removesuffix(ending)
    return _plain(name)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name).strip("-.")[:60] or "buildpack"
