"""A directory as a packed source: chosen by the ignore files, the same bytes for the same content, kept by digest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from buildfarm.errors import NodeError, SourceError, TooLargeError
from buildfarm.oci.digest import Digest
from buildfarm.oci.image import EMPTY_CONFIG, artifact
from buildfarm.oci.layer import LayerStream
from buildfarm.oci.manifest import Descriptor, LayerDigests, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.tree import tar_command
from buildfarm.sources.address import ArtifactSource

ARTIFACT_TYPE = "application/vnd.buildfarm.source.v1"
# Every entry is below a folder of this name, whatever the directory is called: its name is not part of the source.
TOP = "source"

_OWNER = 1000
_GZIP = b"\x1f\x8b"
_ALWAYS_IGNORED = (".git", ".hg", ".svn")


def pack(registry: Registry, directory: Path, tenant: str, limit_bytes: int) -> tuple[ArtifactSource, int]:
    """The directory's source in the registry, and how many bytes had to be sent for it: 0 if it was there already.

    Raises SourceError if there is nothing to pack, TooLargeError, and RegistryError.
    """
    repository = f"sources/{tenant}"
    digest, sent_bytes = pack_into(registry, directory, repository, ARTIFACT_TYPE, limit_bytes)
    return ArtifactSource(repository=repository, digest=digest), sent_bytes


def pack_into(
    registry: Registry, directory: Path, repository: str, artifact_type: str, limit_bytes: int
) -> tuple[Digest, int]:
    """The directory as an artifact of this type: its manifest's digest, and how many bytes had to be sent.

    Raises as `pack` does.
    """
    # The digest is what reports whether it must be sent, so it is made once before.
    made, stream = packed(directory, limit_bytes)
    manifest = _manifest(made.digest, made.size_bytes, artifact_type)
    digest = Digest.of(manifest)
    if registry.has_manifest(repository, digest):
        return digest, 0
    with _reading(directory):
        sent = registry.upload(repository, stream)
    if sent != made:
        raise SourceError(f"{directory} changed while it was packed.", advice="Build again when nothing writes to it.")
    _put(registry, repository, manifest)
    return digest, sent.size_bytes


def take(registry: Registry, pieces: Iterable[bytes], tenant: str, limit_bytes: int) -> tuple[ArtifactSource, int]:
    """A gzip-compressed tar archive, whose entries lie in one folder, as a source in the registry; and its size.

    Raises SourceError if it is not such an archive, TooLargeError, and RegistryError.
    """
    repository = f"sources/{tenant}"
    digest, size_bytes = registry.put_stream(repository, _bounded(pieces, limit_bytes))
    manifest = _manifest(digest, size_bytes)
    source = ArtifactSource(repository=repository, digest=Digest.of(manifest))
    if not registry.has_manifest(repository, source.digest):
        _put(registry, repository, manifest)
    return source, size_bytes


def packed(directory: Path, limit_bytes: int) -> tuple[LayerDigests, Callable[[], LayerStream]]:
    """What the directory is when it is packed, and what packs it again. Raises SourceError and TooLargeError."""
    names = tuple(chosen_names(directory, limit_bytes))
    root = directory.resolve()

    def stream() -> LayerStream:
        argv = tar_command(root, owner=_OWNER, names=True, top=TOP)
        return LayerStream(argv, names=(f"{root.name}/{name}" for name in names))

    with _reading(directory), stream() as made:
        for _ in made:
            pass
    return made.layer, stream


def digest_of(made: LayerDigests) -> Digest:
    """The digest of the source with this archive."""
    return Digest.of(_manifest(made.digest, made.size_bytes))


@contextmanager
def _reading(directory: Path) -> Iterator[None]:
    try:
        yield
    except NodeError as error:
        raise SourceError(f"{directory} changed or could not be read while it was packed: {error.message}") from error


def _bounded(pieces: Iterable[bytes], limit_bytes: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        if not total and not piece.startswith(_GZIP[: len(piece)]):
            raise SourceError("The source is not a gzip-compressed archive.", advice="Make it with tar -C APP -czf - .")
        total += len(piece)
        if total > limit_bytes:
            raise TooLargeError(
                f"The source is larger than {limit_bytes:,} bytes.", advice="Leave out what the build does not need."
            )
        yield piece
    if not total:
        raise SourceError("The source is empty.", advice="Make it with tar -C APP -czf - .")


def chosen_names(directory: Path, limit_bytes: int) -> Iterator[str]:
    """What belongs to the source: paths relative to ``directory``, sorted, folders before their content.

    Left out is what .gitignore files (in every folder, as git reads them) name, version control's own folders, and what
    is not a file, folder or symbolic link. An empty folder is left out too, as git does. What .slugignore names
    is not: whether a build sees it depends on the stack. Raises SourceError and TooLargeError.
    """
    if not directory.is_dir():
        raise SourceError(f"{directory} is not a directory.", advice="Name the folder that holds the app's source.")
    walk = _Walk(limit_bytes)
    names = list(walk.names_in(directory, "", ()))
    if not names:
        raise SourceError(f"{directory} contains nothing to build.", advice="Check its .gitignore.")
    yield from names


class _Walk:
    """One pass over a directory; counts what it finds."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0

    def names_in(self, folder: Path, prefix: str, rules: tuple[tuple[str, GitIgnoreSpec], ...]) -> Iterator[str]:
        rules = (*rules, *_rules_of(folder, prefix))
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            raise SourceError(f"{folder} cannot be read: {error.strerror}.") from error
        for entry in entries:
            name = prefix + entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name in _ALWAYS_IGNORED or _ignored(name, is_folder, rules):
                continue
            if is_folder:
                inside = self.names_in(Path(entry.path), f"{name}/", rules)
                first = next(inside, None)
                if first is not None:
                    yield name
                    yield first
                    yield from inside
            elif entry.is_symlink():
                yield name
            elif entry.is_file(follow_symlinks=False):
                self._count(entry)
                yield name

    def _count(self, entry: os.DirEntry[str]) -> None:
        if not os.access(entry.path, os.R_OK):
            raise SourceError(f"{entry.path} cannot be read.", advice="Change its permissions, or ignore it.")
        self._bytes += entry.stat(follow_symlinks=False).st_size
        if self._bytes > self._limit_bytes:
            raise TooLargeError(
                f"The source is larger than {self._limit_bytes:,} bytes.",
                advice="List what the build does not need in .gitignore.",
            )


def _rules_of(folder: Path, prefix: str) -> Iterator[tuple[str, GitIgnoreSpec]]:
    path = folder / ".gitignore"
    if path.is_file():
        try:
            yield prefix, GitIgnoreSpec.from_lines(path.read_text(errors="surrogateescape").splitlines())
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} cannot be read: {error}.") from error


def _ignored(name: str, is_folder: bool, rules: tuple[tuple[str, GitIgnoreSpec], ...]) -> bool:
    path = f"{name}/" if is_folder else name
    # The last rule that names the entry counts, and those of a folder nearer to it are later.
    for prefix, spec in reversed(rules):
        for pattern in reversed(list(spec.patterns)):
            if isinstance(pattern, GitIgnoreSpecPattern) and _names(pattern, path.removeprefix(prefix)):
                return bool(pattern.include)
    return False


def _names(pattern: GitIgnoreSpecPattern, path: str) -> bool:
    """Whether the pattern names the entry itself, as git asks, and not only a folder that it is in.

    ``!kept`` takes back the folder of that name, but nothing in it that another rule ignores (gitignore(5)).
    """
    matched = None if pattern.regex is None else pattern.regex.match(path)
    if matched is None:
        return False
    if "ps_d" in matched.re.groupindex:  # pathspec's mark of the slash behind a folder's name
        return matched.end() == len(path)
    return matched.end() < len(path)  # `folder/**` names what is in the folder, and not the folder


def _manifest(digest: Digest, size_bytes: int, artifact_type: str = ARTIFACT_TYPE) -> bytes:
    return artifact(artifact_type, [Descriptor(media_types("oci").layers["gzip"], digest, size_bytes)])


def _put(registry: Registry, repository: str, manifest: bytes) -> None:
    registry.put_blob(repository, EMPTY_CONFIG)
    registry.put_manifest(repository, manifest, media_types("oci").manifest, tag=None)
