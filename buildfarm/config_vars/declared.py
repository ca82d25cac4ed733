"""What an image's provenance says of the config vars of its build: digests with the farm's key, and never a value."""

from __future__ import annotations

import json
from typing import Protocol

from buildfarm.seal import Seal


class _Request(Protocol):
    """A request, of which image builds have no config vars."""


def declared(place: str, request: _Request, seal: Seal) -> str:
    """Return names and keyed digests as JSON, for the record of a build of ``place``, tenant/app; empty without any.

    A digest is of the app, the name and the value together: the same value has another one in another app, so that no
    tenant can try values against those of others.
    """
    env: dict[str, str] = getattr(request, "env", {})
    if not env:
        return ""
    digests = {name: seal.digest(json.dumps(["config", place, name, env[name]]).encode()) for name in sorted(env)}
    return json.dumps({"config": digests})
