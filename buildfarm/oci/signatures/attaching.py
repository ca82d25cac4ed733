"""How signatures come into the registry: beside their image, in the three forms that today's tools read."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from buildfarm.errors import RegistryError
from buildfarm.oci.connection import MissingBlobError, NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import INDEX_TYPES, MANIFEST_TYPES, Descriptor, Manifest
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures import bundle, referrers, simple
from buildfarm.oci.signatures.bundle import Bundle
from buildfarm.oci.signatures.dsse import COSIGN_SIGN, Statement
from buildfarm.oci.signatures.open_uploads import UploadsAhead
from buildfarm.oci.signatures.provenance import repeats, replaced
from buildfarm.oci.signatures.sending import Attached, Sending
from buildfarm.oci.signatures.shared_blobs import SharedBlobs
from buildfarm.oci.signatures.signer import Signer

_THREADS = 64  # for all images at once: those whose requests are tried again must not hold all of them
_TRIES = 5  # of an index that another writer changes meanwhile


@dataclass(frozen=True)
class Unsigned:
    """An image in the registry. ``reference`` is ``host/repository:tag``, the name that it is signed under."""

    repository: str
    subject: Descriptor  # its manifest
    reference: str

    @property
    def name(self) -> str:
        """``host/repository``, which statements about the image name it by."""
        return self.reference.rpartition(":")[0]


@dataclass(frozen=True)
class Present:
    """The manifest of an image's signatures, and the index of its referrers; None if there is none."""

    signatures: bytes | None
    index: bytes | None


NOTHING = Present(None, None)


@dataclass(frozen=True)
class Attaching:
    """Signs images with every key. At most one process may sign an image at a time. Safe for several threads."""

    registry: Registry
    signers: Sequence[Signer]
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS, "attach"), repr=False)
    _shared: SharedBlobs = field(init=False, repr=False)
    _ahead: UploadsAhead = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_shared", SharedBlobs(self.registry))
        object.__setattr__(self, "_ahead", UploadsAhead(self.registry))

    def expect(self, repository: str, statements: int) -> None:
        """An image of this repository is about to be signed, with so many statements beside its signatures.

        Opens the uploads for that in the background. Raises ValueError for a bad name.
        """
        self._ahead.expect(repository, 1 + len(self.signers) * (1 + statements))

    def tidy(self) -> None:
        """Cancel uploads of what was expected and did not come; raises nothing. To be called every few seconds."""
        self._ahead.tidy()

    def close(self) -> None:
        """Cancel all such uploads, for some seconds at most; raises nothing. After it nothing may be signed."""
        self._ahead.close()

    def sign(self, image: Unsigned, *, is_new: bool = False, more: Sequence[Statement] = ()) -> None:
        """Push the image's signatures, and ``more`` statements about it beside them.

        What is there already stays, so that this can be done again at any time. Of one that ``is_new`` nothing is
        likely to be there: all but what gets a tag is sent while that is looked for.
        Raises RegistryError and SetupError.
        """
        digest, repository = image.subject.digest, image.repository
        tag, index_tag = simple.tag_of(digest), referrers.tag_of(digest)
        statements = (Statement(digest, COSIGN_SIGN, {}, image.name), *more)
        looking = [self._pool.submit(self._manifest, repository, name) for name in (tag, index_tag)]
        with self._sending(repository) as sending:
            early = self._parts(image, statements, NOTHING, tag) if is_new else Parts()
            sending.begin(early.attached)
            signatures, index = (one.result() for one in looking)
            # What cannot be read counts as absent, and is replaced.
            found = Present(simple.readable(signatures), referrers.readable(index))
            parts = early if is_new and found == NOTHING else self._parts(image, statements, found, tag)
            self._push(sending, parts, index_tag, found.index)

    def _parts(self, image: Unsigned, statements: Sequence[Statement], found: Present, tag: str) -> Parts:
        """What is still to be pushed."""
        before = found.signatures
        signatures = simple.simple_signatures(image.subject.digest, image.reference, self.signers, before)
        parts = self._missing(image, statements, found.index)
        if signatures.manifest == before:
            return parts
        return replace(parts, attached=[*parts.attached, Attached(signatures.payload, signatures.manifest, tag)])

    def attach(self, image: Unsigned, statement: Statement) -> None:
        """Push a signed statement about the image, as a bundle for each key. Raises RegistryError and SetupError."""
        index_tag = referrers.tag_of(image.subject.digest)
        index = referrers.readable(self._manifest(image.repository, index_tag))
        with self._sending(image.repository) as sending:
            self._push(sending, self._missing(image, [statement], index), index_tag, index)

    def _missing(self, image: Unsigned, statements: Sequence[Statement], index: bytes | None) -> Parts:
        """The statements by each key that has not signed them yet, and what they replace."""
        found = [] if index is None else list(bundles_of(self.registry, image.repository, index))
        bundles: list[Bundle] = []
        gone: set[str] = set()
        for signer in self.signers:
            known = {one.manifest: said for one in found if (said := _opened(one.blob, signer)) is not None}
            for statement in statements:
                if not any(repeats(said, statement) for said in known.values()):
                    bundles.append(Bundle.sign(statement, image.subject, signer))
                    gone.update(replaced(known, statement))
        return Parts([Attached(one.blob, one.manifest) for one in bundles], [one.entry for one in bundles], gone)

    def _push(self, sending: Sending, parts: Parts, index_tag: str, index: bytes | None) -> None:
        """The index comes after all that it lists."""
        sending.finish(parts.attached)
        if parts.entries:
            self._list(sending.repository, index_tag, parts, index)

    @contextmanager
    def _sending(self, repository: str) -> Iterator[Sending]:
        """Nothing is sent any longer when the block has ended."""
        uploads = self._ahead.take(repository)
        sending = Sending(self.registry, repository, self._put, self._pool, self._shared, uploads)
        try:
            yield sending
        finally:
            sending.end()

    def _put(self, repository: str, manifest: bytes, tag: str | None) -> None:
        try:
            self.registry.put_manifest(repository, manifest, MANIFEST_TYPES["oci"], tag=tag)
        except MissingBlobError:
            self._shared.restore(repository)
            self.registry.put_manifest(repository, manifest, MANIFEST_TYPES["oci"], tag=tag)

    def _list(self, repository: str, tag: str, parts: Parts, before: bytes | None) -> None:
        """Adds to the index. The registry compares nothing: what another writer overwrote is written again.

        The first index of an image needs no second look if its keys always make the same signatures: two signers at
        once write the same bytes, and until then only they knew of the image.
        """
        for _ in range(_TRIES):
            self._put_index(repository, tag, parts, before)
            if before is None and all(signer.repeats for signer in self.signers):
                return
            before = referrers.readable(self._manifest(repository, tag))
            listed = [] if before is None else [entry.get("digest") for entry in referrers.listed(before)]
            if all(entry["digest"] in listed for entry in parts.entries):
                return
        raise RegistryError(f"The signatures at {repository}:{tag} were overwritten again and again.")

    def _put_index(self, repository: str, tag: str, parts: Parts, before: bytes | None) -> None:
        """Without what others have listed and removed since: the registry refuses an index that names it."""
        media_type, entries = INDEX_TYPES["oci"], parts.entries
        try:
            self.registry.put_manifest(repository, referrers.index_of(entries, before, parts.gone), media_type, tag=tag)
        except MissingBlobError:
            listed = [] if before is None else referrers.listed(before)
            lost = [
                str(one.get("digest")) for one in listed if self._manifest(repository, str(one.get("digest"))) is None
            ]
            index = referrers.index_of(entries, before, {*parts.gone, *lost})
            self.registry.put_manifest(repository, index, media_type, tag=tag)

    def _manifest(self, repository: str, tag: str) -> bytes | None:
        try:
            return self.registry.get_manifest(repository, tag)[1]
        except NotInRegistryError:
            return None


@dataclass(frozen=True)
class Parts:
    """What is to be pushed, and the entries of the index; those ``gone`` leave it."""

    attached: Sequence[Attached] = ()
    entries: Sequence[dict[str, object]] = ()
    gone: Collection[str] = ()


@dataclass(frozen=True)
class FoundBundle:
    """A bundle in the registry, and the image that its manifest names."""

    subject: str
    blob: bytes
    manifest: str = ""  # its digest


def bundles_of(registry: Registry, repository: str, index: bytes) -> Iterator[FoundBundle]:
    """The bundles of an index, in its order. Raises RegistryError.

    Each manifest is opened: cosign 3 lists its bundles under another artifact type than theirs.
    """
    for entry in referrers.listed(index):
        try:
            _, content, _ = registry.get_manifest(repository, Digest(str(entry.get("digest"))))
            manifest = Manifest.parse(content)
            fields: Mapping[str, Any] = json.loads(content)
            layers = [layer for layer in manifest.layers if layer.media_type == bundle.BUNDLE_TYPE]
            subject = str((fields.get("subject") or {}).get("digest", ""))
            for layer in layers:
                yield FoundBundle(subject, registry.read_blob(repository, layer.digest), str(entry["digest"]))
        except (ValueError, TypeError, AttributeError, RecursionError, NotInRegistryError):
            continue  # something other than a bundle, or a list of what is gone


def _opened(blob: bytes, signer: Signer) -> Statement | None:
    """The statement, if this key signed it."""
    try:
        return bundle.opened(blob, signer.public_key)
    except ValueError:
        return None
