"""Limits, retention and images in use over HTTP: the calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from buildfarm.client import wire
from buildfarm.client.calls import Call
from buildfarm.gc.retention import InUse, Retention, Rollback
from buildfarm.queue.view import Limits


def limits(tenant: str, app: str | None) -> Call[Limits]:
    """A tenant's limits."""
    return Call("GET", f"/v1/limits/{tenant}", wire.decoded(Limits), {"app": app} if app else {})


def limits_set() -> Call[dict[str, int]]:
    """All limits that were set."""
    return Call("GET", "/v1/limits", wire.decoded(dict[str, int]))


def set_limits(
    tenant: str, app: str | None, values: Mapping[str, int | None], sizes: Sequence[str] | None = ()
) -> Call[Limits]:
    """Changes a tenant's limits; without ``sizes`` they stay as they are."""
    chosen = {} if sizes is not None and not sizes else {"sizes": sizes and list(sizes)}
    body = {**values, **chosen, **({"app": app} if app else {})}
    return replace(limits(tenant, None), method="PUT", body=body)


def usage(tenant: str) -> Call[dict[str, int]]:
    """A tenant's bytes."""
    return Call("GET", f"/v1/usage/{tenant}", wire.decoded(dict[str, int]))


def retention(tenant: str, app: str | None) -> Call[Retention]:
    """A policy in force."""
    return Call("GET", f"/v1/retention/{tenant}", wire.decoded(Retention), {"app": app} if app else {})


def retention_set() -> Call[dict[str, float]]:
    """All values that were set."""
    return Call("GET", "/v1/retention", wire.decoded(dict[str, float]))


def set_retention(tenant: str, app: str | None, values: Mapping[str, float | None]) -> Call[Retention]:
    """Changes a policy."""
    return replace(retention(tenant, None), method="PUT", body={**values, **({"app": app} if app else {})})


def roll_back(build_id: str, seen: str) -> Call[Rollback]:
    """Points a tag at an earlier image."""
    parameters = {"seen": seen} if seen else {}
    return Call("POST", f"/v1/builds/{build_id}/rollback", wire.decoded(Rollback), parameters)


def signing_keys() -> Call[tuple[str, ...]]:
    """The signer's public keys; an API of an older version has none."""
    return Call("GET", "/v1/farm", lambda answer: tuple(answer.json().get("signing_keys", ())))


def images_in_use() -> Call[list[InUse]]:
    """All reports of running images."""
    return Call("GET", "/v1/images/in-use", wire.decoded(list[InUse]))


def report_in_use(images: Collection[str], days: float, reporter: str) -> Call[InUse]:
    """Replaces a reporter's images."""
    body = {"images": sorted(images), "days": days, "reporter": reporter}
    return Call("PUT", "/v1/images/in-use", wire.decoded(InUse), body=body)
