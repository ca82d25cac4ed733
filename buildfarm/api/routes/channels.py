"""Channels over HTTP: the bases that apps follow, and who moved them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from buildfarm.api.bodies import NewChannel
from buildfarm.api.caller import Admin, Operator, noted
from buildfarm.api.problems import responses
from buildfarm.fields import Name
from buildfarm.releases.models import Channel, ChannelHistory

router = APIRouter()

ChannelName = Annotated[Name, Path()]

_COMMON = (401, 403, 422, 429, 503)


@router.get("/v1/channels", tags=["channels"], responses=responses(*_COMMON))
def channels(caller: Operator) -> list[Channel]:
    """The bases that apps may follow, stable first."""
    return caller.services.farm.channels()


@router.get("/v1/channels/{name}", tags=["channels"], responses=responses(404, *_COMMON))
def channel(name: ChannelName, caller: Operator) -> ChannelHistory:
    """A channel and its newest changes."""
    return caller.services.farm.channel(name)


@router.put("/v1/channels/{name}", tags=["channels"], responses=responses(400, 413, *_COMMON))
def set_channel(name: ChannelName, new: NewChannel, caller: Admin) -> ChannelHistory:
    """Point a channel to a base, or make one. Nodes pull it beside their builds; its tag in the registry follows."""
    farm, keeper = caller.services.farm, caller.services.farm.channel_keeper
    base = keeper.checked(farm.registry, name, new.base, new.reason)
    with noted(caller, "channels.set", _told(f"{name}: {base}", new.reason)):
        keeper.move(farm.registry, name, base, actor=caller.token.name, reason=new.reason)
    return farm.channel(name)


@router.delete("/v1/channels/{name}", tags=["channels"], responses=responses(404, *_COMMON))
def remove_channel(
    name: ChannelName, caller: Admin, reason: Annotated[str, Query(max_length=500)] = ""
) -> ChannelHistory:
    """Forget a channel that no app follows; the answer is how it was."""
    farm = caller.services.farm
    found = farm.channel(name)
    with noted(caller, "channels.remove", _told(f"{name}: {found.base}", reason)):
        farm.channel_keeper.remove(name, actor=caller.token.name, reason=reason)
    return found


def _told(what: str, reason: str) -> str:
    return f"{what} ({reason})" if reason else what
