"""``buildfarm verify``: whether an image is signed, and by which key."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildfarm import LazyModule
from buildfarm.cli.error_handler import connected_farm, json_option
from buildfarm.errors import RequestError, SignatureError
from buildfarm.oci.reference import check_repository, check_tag, host_of
from buildfarm.settings import Settings, read_settings

if TYPE_CHECKING:
    from buildfarm.oci import digest as digests
    from buildfarm.oci import registry as registries
    from buildfarm.oci.signatures import checking, keys, provenance
else:
    digests = LazyModule("buildfarm.oci.digest")
    registries = LazyModule("buildfarm.oci.registry")
    checking = LazyModule("buildfarm.oci.signatures.checking")
    keys = LazyModule("buildfarm.oci.signatures.keys")
    provenance = LazyModule("buildfarm.oci.signatures.provenance")

_SHOWN_MAX = 300


@click.command()
@click.argument("image")
@click.option(
    "--key", "key_files", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
    help="File with a public key, in PEM form; several: any of them. Default: the farm's keys.",
)  # fmt: skip
@click.option("--content", is_flag=True, help="Also read every layer, and compare it with the manifest.")
@click.option(
    "--builder", "builders", multiple=True, metavar="NAME",
    help="Require provenance by this builder: clean, cached, compose, laptop or a URI; several: by any of them.",
)  # fmt: skip
@json_option
def verify(image: str, key_files: tuple[Path, ...], content: bool, builders: tuple[str, ...], as_json: bool) -> None:
    """Check that an image is signed by the farm, and print its digest and who built it from what.

    IMAGE is HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST. Ends with 2 if no signature is valid. Run the image by the
    digest that is printed: a tag can move after the check.
    """
    whole, found, content_bytes = verified(image, key_files, builders, content=content)
    if as_json:
        told = {"image": whole, "digest": found.digest, "forms": found.forms, "statements": found.statements}
        predicates = [one.predicate for one in found.provenance]
        click.echo(json.dumps({**told, "provenance": predicates, "content_bytes": content_bytes}))
        return
    click.echo(whole)
    click.echo(f"signed as {' and '.join(found.forms)}")
    for statement in found.statements:
        if statement != provenance.PROVENANCE:
            click.echo(f"statement {statement}")
    for made in found.provenance:
        click.echo("\n".join(lines_of(made)))
    if content_bytes is not None:
        click.echo(f"{content_bytes:,} bytes are what the manifest says")


def verified(
    image: str, key_files: tuple[Path, ...] = (), builders: tuple[str, ...] = (), *, content: bool = False
) -> tuple[str, checking.Verified, int | None]:
    """Check an image; return its reference by digest, what was found, and the bytes of ``content`` that were read.

    Raises SignatureError if no signature is valid, or none of the builders made it; RequestError and RegistryError.
    """
    host, repository, reference = parts(image)
    settings = read_settings()
    trusted = [_read_key(path) for path in key_files] or _keys_of_farm()
    with _registry(settings, host) as registry:
        found = checking.verify(registry, repository, reference, trusted)
        _check_builder(found, builders)
        content_bytes = checking.check_content(registry, repository, found.digest) if content else None
    return f"{host}/{repository}@{found.digest}", found, content_bytes


def lines_of(made: provenance.Provenance) -> Iterator[str]:
    """What one statement of provenance says, for people."""
    level = next((f", SLSA build level {one.level}" for one in provenance.Builder if one == made.builder), "")
    yield f"provenance: {_shown(made.builder)}{level}"
    name = made.parameters.get("app") or made.parameters.get("image")
    told = [("of", name), ("build", made.metadata.get("invocationId")), ("at", made.metadata.get("finishedOn"))]
    yield "  " + ", ".join(f"{word} {_shown(value)}" for word, value in told if value)
    for one in made.dependencies:
        digests = one.get("digest")
        found = " ".join(f"{k}:{v}" for k, v in digests.items()) if isinstance(digests, dict) else "no digest"
        by_node = " (reported by the node)" if "annotations" in one else ""
        yield f"  {_shown(one.get('name'))}: {_shown(one.get('uri', 'no address'))}, {_shown(found)}{by_node}"


def _shown(value: object) -> str:
    """A text that others wrote, without what steers a terminal."""
    return "".join(char for char in str(value) if char.isprintable())[:_SHOWN_MAX]


def _check_builder(found: checking.Verified, wanted: tuple[str, ...]) -> None:
    """Raises SignatureError unless the provenance names one of these builders."""
    known = {one.name.lower(): str(one) for one in provenance.Builder}
    uris = [known.get(name, name) for name in wanted]
    if unknown := [name for name in uris if "://" not in name]:
        raise RequestError(
            f"There is no builder {unknown[0][:80]}.", advice=f"Use one of {', '.join(known)}, or a URI."
        )
    builders = [made.builder for made in found.provenance]
    if uris and not {*uris} & {*builders}:
        said = ", ".join(map(_shown, builders)) or "it has no provenance"
        raise SignatureError(f"No builder that was asked for made the image: {said}.")


def parts(image: str) -> tuple[str, str, str]:
    """Host, repository, and tag or digest of a reference. Raises RequestError."""
    host, _, rest = image.partition("/")
    name, at, digest = rest.partition("@")
    repository, colon, tag = name.rpartition(":") if ":" in name else (name, "", "")
    advice = "Write it as HOST/REPOSITORY:TAG or HOST/REPOSITORY@DIGEST."
    if not ({".", ":"} & {*host} or host == "localhost"):
        raise RequestError(f"{image[:200]} does not begin with the host of a registry.", advice=advice)
    try:
        check_repository(repository)
        return host, repository, str(digests.Digest(digest)) if at else check_tag(tag if colon else "latest")
    except ValueError as error:
        raise RequestError(f"{image[:200]} is not the reference of an image: {error}.", advice=advice) from error


def _read_key(path: Path) -> keys.PublicKey:
    try:
        return keys.PublicKey.parse(path.read_bytes())
    except OSError as error:
        raise RequestError(f"The key {path} cannot be read: {error.strerror}.") from error


def _keys_of_farm() -> list[keys.PublicKey]:
    with connected_farm() as farm:
        known = farm.signing_keys()
    if not known:
        raise RequestError(
            "This farm has no signing key.", advice="Name a public key with --key, or turn signing on: docs/signing.md."
        )
    return [keys.PublicKey.parse(pem.encode()) for pem in known]


def _registry(settings: Settings, host: str) -> registries.Registry:
    """The farm's own with its credentials; any other over HTTPS, or HTTP on this machine."""
    timeout, attempts = settings.registry_timeout_seconds, settings.registry_attempts
    if host == host_of(settings.registry_url):
        url, ca = settings.registry_url, settings.registry_ca
    else:
        url, ca = f"{'http' if _is_loopback(host) else 'https'}://{host}", settings.registry_ca
    return registries.Registry(url, timeout_seconds=timeout, attempts=attempts, ca=ca)


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost"
