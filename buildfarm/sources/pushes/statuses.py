"""Commit statuses of each forge as requests. Pure.

Sources: docs.github.com/en/rest/commits/statuses, docs.gitea.com/api (repoCreateStatus),
docs.gitlab.com/api/commits (set the pipeline status of a commit),
developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote

from buildfarm.sources.pushes.hook import Hook, Provider, api_of

_DESCRIPTION_CHARS = 140  # GitHub's limit
_KEY_CHARS = 40  # Bitbucket's


class Status(StrEnum):
    """What is reported of a commit."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"  # the app's fault
    ERROR = "error"  # the farm's fault, or a refused build
    STOPPED = "stopped"  # cancelled, or a newer build took its place


@dataclass(frozen=True)
class CommitStatus:
    """A commit's status for one app."""

    name: str  # the repository's full name at its forge
    commit: str
    app: str
    status: Status
    text: str
    link: str  # the build's page


@dataclass(frozen=True)
class StatusRequest:
    """A POST to the forge's API."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes


_GITHUB = {Status.STOPPED: "error"}
_GITLAB = {Status.FAILURE: "failed", Status.ERROR: "failed", Status.STOPPED: "canceled"}
_BITBUCKET = {
    Status.PENDING: "INPROGRESS", Status.SUCCESS: "SUCCESSFUL", Status.FAILURE: "FAILED", Status.ERROR: "FAILED",
    Status.STOPPED: "STOPPED",
}  # fmt: skip


def status_request(hook: Hook, token: str, told: CommitStatus) -> StatusRequest:
    """The request that sets a commit's status."""
    api, context, text = api_of(hook), f"buildfarm/{told.app}", _short(told.text)
    if hook.provider is Provider.GITLAB:
        url = f"{api}/projects/{quote(told.name, safe='')}/statuses/{told.commit}"
        state = _GITLAB.get(told.status, told.status)
        values = {"state": state, "target_url": told.link, "name": context, "description": text}
        own = ("PRIVATE-TOKEN", token)
    elif hook.provider is Provider.BITBUCKET:
        url = f"{api}/repositories/{quote(told.name)}/commit/{told.commit}/statuses/build"
        state = _BITBUCKET[told.status]
        values = {"key": _key(context), "state": state, "url": told.link, "name": context, "description": text}
        own = ("Authorization", f"Bearer {token}")
    else:
        url = f"{api}/repos/{quote(told.name)}/statuses/{told.commit}"
        state = _GITHUB.get(told.status, told.status)
        values = {"state": state, "target_url": told.link, "context": context, "description": text}
        own = ("Authorization", f"{'Bearer' if hook.provider is Provider.GITHUB else 'token'} {token}")
    headers = (("Content-Type", "application/json"), ("Accept", "application/json"), ("User-Agent", "buildfarm"), own)
    return StatusRequest(url, headers, json.dumps({key: str(value) for key, value in values.items()}).encode())


def _short(text: str) -> str:
    """The first line, as long as all forges take it."""
    text = next(iter(text.splitlines()), "")
    return text if len(text) <= _DESCRIPTION_CHARS else f"{text[: _DESCRIPTION_CHARS - 1]}…"


def _key(context: str) -> str:
    if len(context) <= _KEY_CHARS:
        return context
    return f"{context[:31]}-{hashlib.sha256(context.encode()).hexdigest()[:8]}"
