"""Payloads of Bitbucket Cloud. Pure.

A push does not say which files it changes, and a pull request names only the first 12 digits of its commit.

Source: support.atlassian.com/bitbucket-cloud/docs/event-payloads (repo:push, pullrequest:*).
"""

from __future__ import annotations

from collections.abc import Iterator

from buildfarm.fields import check_ref
from buildfarm.sources.pushes.event import Event, Kind, Payload, commit_of
from buildfarm.sources.pushes.reading import Json, addresses, seconds

_ENDED = frozenset({"MERGED", "DECLINED", "SUPERSEDED"})


def read(values: Json) -> Payload:
    """What the request says."""
    repository = values["repository"]
    name = str(repository["full_name"])
    page = repository.get("links", {}).get("html", {}).get("href")
    places = addresses([page, f"https://bitbucket.org/{name}"])
    if "pullrequest" in values:
        return Payload(name, places, (_pull(values["pullrequest"], name),))
    return Payload(name, places, tuple(_changes(values.get("push", {}).get("changes", ()))))


def _changes(changes: list[Json]) -> Iterator[Event]:
    for change in changes:
        new, old = change.get("new"), change.get("old")
        if (new or old or {}).get("type") != "branch":
            continue
        before = commit_of(old["target"]["hash"]) if old else ""
        if new:
            branch, target = check_ref(new["name"]), new["target"]
            yield Event(Kind.PUSHED, branch, commit_of(target["hash"]), before, str(target.get("message") or ""))
        elif old:
            yield Event(Kind.DELETED, check_ref(old["name"]), before=before)


def _pull(pull: Json, name: str) -> Event:
    source = pull["source"]
    return Event(
        Kind.CLOSED if pull["state"] in _ENDED else Kind.OPENED,
        check_ref(source["branch"]["name"]),
        commit_of(source["commit"]["hash"]) if source.get("commit") else "",
        number=int(pull["id"]),
        target=str(pull["destination"]["branch"]["name"]),
        fork=((source.get("repository") or {}).get("full_name") or "").lower() != name.lower(),
        at=seconds(pull.get("updated_on")),
    )
