"""The bases that hosts should have, over HTTP, and what hosts report of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from buildfarm.api.caller import HostReporter, Operator
from buildfarm.api.problems import responses
from buildfarm.fields import Frozen
from buildfarm.releases.rollouts.hosts import HOST_PATTERN
from buildfarm.releases.rollouts.views import AnnouncedBase

router = APIRouter()

HostName = Annotated[str, Path(pattern=HOST_PATTERN)]

_COMMON = (401, 403, 422, 429, 503)


class HostBases(Frozen):
    """What a host has."""

    bases: tuple[Annotated[str, Field(max_length=400)], ...] = Field(
        max_length=200, description="repository@digest, as announced; others do not count"
    )


@router.get("/v1/bases", tags=["bases"], responses=responses(*_COMMON))
def announced_bases(caller: Operator) -> list[AnnouncedBase]:
    """The bases that hosts which run apps should have, those that apps move to next first."""
    return caller.services.farm.announced_bases()


@router.put("/v1/hosts/{host}", tags=["bases"], responses=responses(400, 413, *_COMMON))
def report_host(host: HostName, has: HostBases, caller: HostReporter) -> list[AnnouncedBase]:
    """Report which announced bases a host has, for 15 minutes. Reading is enough of a right: docs/hosts.md."""
    return caller.services.farm.report_host(host, has.bases)
