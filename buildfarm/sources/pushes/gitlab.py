"""Payloads of GitLab. Pure.

Source: docs.gitlab.com/user/project/integrations/webhook_events (push events, merge request events).
"""

from __future__ import annotations

from buildfarm.fields import check_ref
from buildfarm.sources.pushes.event import Event, Kind, Payload, commit_of
from buildfarm.sources.pushes.reading import Json, addresses, branch_of, changed, seconds

_ADDRESSES = ("git_http_url", "git_ssh_url", "http_url", "ssh_url", "web_url")
_KINDS = {"open": Kind.OPENED, "reopen": Kind.OPENED, "update": Kind.OPENED, "close": Kind.CLOSED, "merge": Kind.CLOSED}


def read(values: Json) -> Payload:
    """What the request says."""
    project = values["project"]
    places = addresses(project.get(key) for key in _ADDRESSES)
    return Payload(str(project["path_with_namespace"]), places, _events(values))


def _events(values: Json) -> tuple[Event, ...]:
    if values["object_kind"] == "merge_request":
        return _merge_request(values["object_attributes"])
    branch = branch_of(values["ref"]) if values["object_kind"] == "push" else ""
    if not branch:
        return ()
    commit, before = commit_of(values["after"]), commit_of(values["before"])
    if not commit:
        return (Event(Kind.DELETED, branch, before=before),)
    commits = values.get("commits") or []
    # At most 20 commits are listed, and all of them are counted. A forced push is not told apart: its commits are new.
    known = before and commits and len(commits) >= int(values.get("total_commits_count") or 0)
    message = next((str(one.get("message") or "") for one in commits if one.get("id") == commit), "")
    return (Event(Kind.PUSHED, branch, commit, before, message, changed(commits) if known else None),)


def _merge_request(values: Json) -> tuple[Event, ...]:
    kind = _KINDS.get(values.get("action", ""))
    if kind is None:  # approved, unapproved
        return ()
    newest = values.get("last_commit") or {}
    return (
        Event(
            kind,
            check_ref(str(values["source_branch"])),
            commit_of(newest.get("id")),
            message=str(newest.get("message") or ""),
            number=int(values["iid"]),
            target=str(values["target_branch"]),
            fork=values["source_project_id"] != values["target_project_id"],
            at=seconds(values.get("updated_at")),
        ),
    )
