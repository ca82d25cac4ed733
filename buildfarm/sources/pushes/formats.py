"""Payloads of GitHub, Gitea and Forgejo, GitLab and Bitbucket Cloud as events. Pure.

What a payload is, its own fields say: the headers that name the event are not signed.
"""

from __future__ import annotations

import math

from buildfarm.errors import RequestError
from buildfarm.sources.pushes import bitbucket, github, gitlab
from buildfarm.sources.pushes.event import Payload
from buildfarm.sources.pushes.hook import Provider
from buildfarm.sources.pushes.reading import UnreadableError, load

_READERS = {
    Provider.GITHUB: github.read,
    Provider.GITEA: github.read,
    Provider.GITLAB: gitlab.read,
    Provider.BITBUCKET: bitbucket.read,
}


def parse(provider: Provider, body: bytes) -> Payload:
    """What the request says; no events if it is about anything else. Raises UnreadableError."""
    values = load(body)
    try:
        return _checked(_READERS[provider](values))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RequestError) as error:
        reason = error.message if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"[:100]
        raise UnreadableError(
            f"The payload does not have {provider}'s documented form ({reason}).",
            advice="Check that the hook's provider is the one that sends.",
        ) from error


def _checked(payload: Payload) -> Payload:
    """Raises ValueError for what JSON can say and Redis cannot keep."""
    "".join((payload.name, *(event.branch for event in payload.events))).encode()
    if not all(math.isfinite(event.at) for event in payload.events):
        raise ValueError("a time that cannot be read")
    return payload
