"""Signed images, tried with other people's tools: ``python -m verify.images.signatures``. It needs the farm's engine.

A tool that cannot be installed here is a named skip. Versions are Debian's of trixie and sid, and npm's 3.1.1.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import SignatureError
from buildfarm.model import Build, BuildRequest, State
from buildfarm.oci.digest import Digest
from buildfarm.oci.manifest import Descriptor, Manifest, canonical_json, media_types
from buildfarm.oci.registry import Registry
from buildfarm.oci.signatures import checking, referrers, simple
from buildfarm.oci.signatures.attaching import Attaching, Unsigned, bundles_of
from buildfarm.oci.signatures.dsse import Statement
from buildfarm.oci.signatures.keys import PublicKey
from buildfarm.oci.signatures.provenance import PROVENANCE, Builder
from buildfarm.oci.signatures.signer import FileSigner, new_key
from buildfarm.settings import read_settings
from buildfarm.sources.address import ArtifactSource
from signer.predicates.provenance import Provenance
from signer.predicates.recorded import Recorded
from testkit.registry.own import registry_on, storage_folder
from testkit.table import Claims
from verify.images.foreign_tools import SkippedError, cosign, cosign_attestation, npm_verify, skopeo

REPOSITORY = "apps/verify/signed"


@dataclass(frozen=True)
class Keys:
    """The farm's key and another, in a folder, with their public halves beside them."""

    folder: Path

    def make(self, name: str) -> FileSigner:
        """A new key."""
        path = self.folder / f"{name}.key"
        path.write_bytes(new_key())
        signer = FileSigner.load(path)
        self.public(name).write_text(signer.public_key.pem)
        return signer

    def public(self, name: str) -> Path:
        """The file of its public half."""
        return self.folder / f"{name}.pem"


def main() -> None:
    """Prints the table of claims."""
    claims = Claims("Signed images")
    with tempfile.TemporaryDirectory() as folder, services() as (storage, registry):
        keys = Keys(Path(folder))
        farm, _ = keys.make("farm"), keys.make("other")
        signed, copied, unsigned = (push(registry, name) for name in ("signed", "copied", "unsigned"))
        Attaching(registry, [farm]).sign(signed, more=[provenance(registry.host, signed)])
        copy_signatures(registry, signed.subject.digest, copied.subject.digest)
        for name, accepts in tools(registry, keys, Path(folder)):
            try:
                check(claims, name, accepts, (signed, copied, unsigned))
            except SkippedError as skipped:
                print(f"SKIPPED: {name}: {skipped}")
        bare = push(registry, "bare")
        Attaching(registry, [farm]).sign(bare)
        for name, accepts in attestation_tools(registry, keys):
            try:
                check_provenance(claims, name, accepts, (signed, copied, bare))
            except SkippedError as skipped:
                print(f"SKIPPED: {name}: {skipped}")
        changed_layer(claims, registry, storage, signed)
    claims.finish()


Accepts = Callable[[Unsigned, str], bool]


def check(claims: Claims, tool: str, accepts: Accepts, images: tuple[Unsigned, Unsigned, Unsigned]) -> None:
    """A tool accepts the signed image with the farm's key, and nothing else."""
    signed, copied, unsigned = images
    claims.add(f"{tool} accepts a signed image", signed.subject.digest[:19], accepts(signed, "farm"))
    claims.add(f"{tool} rejects another key", "", not accepts(signed, "other"))
    claims.add(f"{tool} rejects a signature copied from another image", "", not accepts(copied, "farm"))
    claims.add(f"{tool} rejects an unsigned image", "", not accepts(unsigned, "farm"))


def check_provenance(claims: Claims, tool: str, accepts: Accepts, images: tuple[Unsigned, Unsigned, Unsigned]) -> None:
    """A tool accepts the provenance of this image by the farm's key, and nothing else."""
    signed, copied, bare = images
    claims.add(f"{tool} accepts an image's provenance", signed.subject.digest[:19], accepts(signed, "farm"))
    claims.add(f"{tool} rejects provenance by another key", "", not accepts(signed, "other"))
    claims.add(f"{tool} rejects the provenance of another digest", "", not accepts(copied, "farm"))
    claims.add(f"{tool} does not take a signature for provenance", "", not accepts(bare, "farm"))


def attestation_tools(registry: Registry, keys: Keys) -> Iterator[tuple[str, Accepts]]:
    """Those that read provenance, as `tools` does."""

    def own(image: Unsigned, key: str) -> bool:
        with suppress(SignatureError):
            trusted = [PublicKey.parse(keys.public(key).read_bytes())]
            found = checking.verify(registry, REPOSITORY, image.subject.digest, trusted).provenance
            return [one.builder for one in found] == [Builder.CLEAN]
        return False

    yield "buildfarm verify --builder", own
    for suite in ("trixie", "sid"):
        yield (
            f"cosign verify-attestation of {suite}",
            lambda image, key, suite=suite: cosign_attestation(  # type: ignore[misc]
                suite, keys.public(key), f"{registry.host}/{REPOSITORY}@{image.subject.digest}"
            ),
        )


def provenance(host: str, image: Unsigned) -> Statement:
    """As the signer makes it for a clean build."""
    source = ArtifactSource(repository="sources/verify", digest=image.subject.digest)
    request = BuildRequest(tenant="verify", app="signed", source=source, clean=True)
    build = Build(id="b", request=request, state=State.RUNNING, attempt=1, submitted_at=1.0, started_at=1.0)
    predicate = Provenance(host).of_build(Recorded.of(build, {}, None, ("", f"builder@{image.subject.digest}")))
    return Statement(image.subject.digest, PROVENANCE, predicate, image.name)


def tools(registry: Registry, keys: Keys, folder: Path) -> Iterator[tuple[str, Accepts]]:
    """Each tool by name and version, and what it says to an image and a key."""

    def place(image: Unsigned) -> str:
        return f"{registry.host}/{REPOSITORY}@{image.subject.digest}"

    def own(image: Unsigned, key: str) -> bool:
        with suppress(SignatureError):
            trusted = [PublicKey.parse(keys.public(key).read_bytes())]
            return bool(checking.verify(registry, REPOSITORY, image.subject.digest, trusted).forms)
        return False

    def npm(image: Unsigned, key: str) -> bool:
        try:
            index = registry.get_manifest(REPOSITORY, referrers.tag_of(image.subject.digest))[1]
        except Exception:  # noqa: BLE001 - there is nothing to verify
            return False
        found = [one for one in bundles_of(registry, REPOSITORY, index) if one.subject == image.subject.digest]
        return bool(found) and npm_verify(found[0].blob, keys.public(key))

    yield "buildfarm verify", own
    for suite in ("trixie", "sid"):
        yield f"cosign of {suite}", lambda image, key, suite=suite: cosign(suite, keys.public(key), place(image))  # type: ignore[misc]
    yield "skopeo of trixie", lambda image, key: skopeo(folder, keys.public(key), registry.host, place(image))
    yield "npm @sigstore/verify", npm


def changed_layer(claims: Claims, registry: Registry, storage: Path, signed: Unsigned) -> None:
    """Other bytes under a layer's digest in the registry's files are found when the content is read."""
    manifest, _ = registry.read_manifest(REPOSITORY, signed.subject.digest)
    layer = manifest.layers[0].digest
    path = storage / "docker/registry/v2/blobs/sha256" / layer.hex[:2] / layer.hex / "data"
    path.write_bytes(path.read_bytes()[::-1])
    found = ""
    try:
        checking.check_content(registry, REPOSITORY, signed.subject.digest)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not accepted
        found = type(error).__name__
    claims.add("buildfarm verify --content rejects a changed layer", found, bool(found))


def push(registry: Registry, text: str) -> Unsigned:
    """An image of one layer."""
    types = media_types("docker")
    layer = registry.put_blob(REPOSITORY, text.encode())
    config = canonical_json(
        {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer]}}
    )
    manifest = Manifest(
        types.manifest,
        Descriptor(types.config, registry.put_blob(REPOSITORY, config), len(config)),
        (Descriptor(types.layers["none"], layer, len(text)),),
    ).encode()
    digest = registry.put_manifest(REPOSITORY, manifest, types.manifest, tag=text)
    return Unsigned(
        REPOSITORY, Descriptor(types.manifest, digest, len(manifest)), f"{registry.host}/{REPOSITORY}:{text}"
    )


def copy_signatures(registry: Registry, source: Digest, target: Digest) -> None:
    """Gives one image's signatures to another."""
    for name in (simple.tag_of, referrers.tag_of):
        media_type, content, _ = registry.get_manifest(REPOSITORY, name(source))
        registry.put_manifest(REPOSITORY, content, media_type, tag=name(target))


@contextmanager
def services() -> Iterator[tuple[Path, Registry]]:
    """A registry for this run alone."""
    with storage_folder() as folder, registry_on(folder, read_settings().docker_url) as registry:
        yield folder, registry


if __name__ == "__main__":
    main()
