"""Channels over HTTP: the bases that apps follow, and who moved them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from buildfarm.api.bodies import NewChannel
from buildfarm.api.caller import Admin, Operator
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
    farm = caller.services.farm
    base = farm.channel_keeper.point(farm.registry, name, new.base, actor=caller.token.name, reason=new.reason)
    caller.note("channels.set", _told(f"{name}: {base}", new.reason))
    return farm.channel(name)


@router.delete("/v1/channels/{name}", tags=["channels"], responses=responses(404, *_COMMON))
def remove_channel(
    name: ChannelName, caller: Admin, reason: Annotated[str, Query(max_length=500)] = ""
) -> ChannelHistory:
    """Forget a channel that no app follows; the answer is how it was."""
    farm = caller.services.farm
    found = farm.channel(name)
    farm.channel_keeper.remove(name, actor=caller.token.name, reason=reason)
    caller.note("channels.remove", _told(f"{name}: {found.base}", reason))
    return found


def _told(what: str, reason: str) -> str:
    return f"{what} ({reason})" if reason else what
