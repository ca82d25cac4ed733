"""Retention: what of a tenant or an app stays how long. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from buildfarm.errors import RequestError
from buildfarm.fields import Frozen
from buildfarm.oci.digest import Digest
from buildfarm.settings import Settings

DAY = 86400.0
DAYS_MAX = 3650
COUNT_MAX = 100_000


class Retention(Frozen):
    """What stays without a tag and without being in use: the newest few, and others for some days."""

    images: int = Field(ge=0, le=COUNT_MAX, description="newest images of an app")
    image_days: float = Field(ge=0, le=DAYS_MAX, description="and all of its images for so long")
    sources: int = Field(ge=0, le=COUNT_MAX, description="newest sources of the tenant")
    source_days: float = Field(ge=0, le=DAYS_MAX, description="and all of its sources for so long")
    caches: int = Field(ge=0, le=COUNT_MAX, description="1: the newest build cache of an app, however old it is")
    cache_days: float = Field(ge=0, le=DAYS_MAX, description="a build cache that is used, for so long")
    records: int = Field(ge=0, le=COUNT_MAX, description="records of an app at most; 0: as many as there are")
    record_days: float = Field(gt=0, le=DAYS_MAX, description="a record after the end of its build")


TENANT_FIELDS = tuple(Retention.model_fields)
APP_FIELDS = tuple(name for name in TENANT_FIELDS if not name.startswith("source"))


class InUse(Frozen):
    """Images that a reporter, such as an orchestrator, has running; they are never removed before ``until``."""

    reporter: str
    images: tuple[str, ...]  # digests
    until: float  # seconds since the epoch


class Running(Frozen):
    """An image that runs, and how many newer images and how many days its app has gone on."""

    digest: str
    newer: int | None  # None if no record names it
    days: float | None


class Rollback(Frozen):
    """A tag that was pointed at an earlier image."""

    build: str  # whose image it points to now
    tag: str
    digest: Digest
    before: str  # the digest that it pointed to, empty if there was none
    unsigned: bool = False  # the tag moves once the signer has signed the image, or stays if it refuses


def digest_of(image: str) -> str:
    """The digest of an image that is named by it, with or without its repository. Raises RequestError."""
    try:
        return str(Digest(image.rpartition("@")[2]))
    except ValueError as error:
        raise RequestError(
            f"{image[:120]!r} does not name an image by its digest.", advice="Write repository@sha256:… or sha256:…."
        ) from error


def effective(settings: Settings, values: Mapping[str, float], tenant: str, app: str | None = None) -> Retention:
    """The policy in force: what was set for the app, else for the tenant, else the settings."""
    found: dict[str, float] = {
        "images": settings.retain_images,
        "image_days": settings.retain_image_days,
        "sources": settings.retain_sources,
        "source_days": settings.retain_source_days,
        "caches": settings.retain_caches,
        "cache_days": settings.retain_cache_days,
        "records": settings.retain_records,
        "record_days": settings.record_seconds / DAY,
    }
    for owner, fields in ((tenant, TENANT_FIELDS), (f"{tenant}/{app}" if app else "", APP_FIELDS)):
        found |= {name: values[f"{owner}:{name}"] for name in fields if f"{owner}:{name}" in values}
    return Retention.model_validate(found)


def check_values(values: Mapping[str, float | None], app: str | None) -> None:
    """Raises RequestError for what is not a field of a policy or is out of bounds."""
    allowed = APP_FIELDS if app else TENANT_FIELDS
    if unknown := set(values) - set(allowed):
        whose = "an app" if app else "a tenant"
        raise RequestError(
            f"The policy of {whose} has no field named {', '.join(sorted(unknown))}.",
            advice=f"Its fields are: {', '.join(allowed)}.",
        )
    for name, value in values.items():
        most = DAYS_MAX if name.endswith("_days") else COUNT_MAX
        least = 0 if name != "record_days" else 1e-3
        fits = name.endswith("_days") or value is None or value % 1 == 0
        if value is not None and not (fits and least <= value <= most):
            kind = "" if fits else "a whole number "
            raise RequestError(f"{name} must be {kind}from {least:g} to {most:,}, not {value:g}.")


def lowers(before: Retention, after: Retention) -> bool:
    """Whether the new policy keeps fewer images."""
    return after.images < before.images or after.image_days < before.image_days


def would_delete(running: Iterable[Running], policy: Retention) -> Sequence[Running]:
    """The running images that only their report would keep under this policy."""
    return [
        image
        for image in running
        if (image.newer is None or image.newer >= policy.images)
        and (image.days is None or image.days > policy.image_days)
    ]


def refuse(owner: str, found: Sequence[Running]) -> RequestError:
    """The refusal of a policy that would delete running images."""
    names = ", ".join(image.digest for image in found[:3]) + (", …" if len(found) > 3 else "")
    known = [image.newer for image in found if image.newer is not None]
    advice = "Stop them or deploy newer ones first"
    if len(known) == len(found):
        advice += f", or keep at least the newest {max(known) + 1} images"
    return RequestError(
        f"This policy would delete {len(found)} running images of {owner}: {names}.", advice=f"{advice}."
    )
