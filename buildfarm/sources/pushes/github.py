"""Payloads of GitHub, and of Gitea and Forgejo, which follow them. Pure.

Sources: docs.github.com/en/webhooks/webhook-events-and-payloads (push, pull_request, delete),
docs.gitea.com/usage/repository/webhooks, forgejo.org/docs/latest/user/webhooks.
"""

from __future__ import annotations

from buildfarm.fields import check_ref
from buildfarm.sources.pushes.event import Event, Kind, Payload, commit_of
from buildfarm.sources.pushes.reading import Json, addresses, branch_of, changed, seconds

_COMMITS_MAX = 2048  # GitHub lists no more of them
_OPENS = frozenset({"opened", "reopened", "synchronize", "synchronized"})


def read(values: Json) -> Payload:
    """What the request says."""
    repository = values["repository"]
    name = str(repository["full_name"])
    places = addresses(repository.get(key) for key in ("clone_url", "ssh_url", "html_url", "git_url"))
    return Payload(name, places, _events(values, name))


def _events(values: Json, name: str) -> tuple[Event, ...]:
    if "pull_request" in values:
        return _pull(values, name)
    if "ref" in values and "after" in values:
        return _push(values)
    # A deleted branch is reported as a push without a commit too, but some versions send only one of the two.
    if values.get("ref_type") == "branch" and "master_branch" not in values and "sha" not in values:
        return (Event(Kind.DELETED, check_ref(str(values["ref"]).removeprefix("refs/heads/"))),)
    return ()


def _push(values: Json) -> tuple[Event, ...]:
    branch, commit, before = branch_of(values["ref"]), commit_of(values["after"]), commit_of(values.get("before"))
    if not branch:
        return ()
    pushed_at = values["repository"].get("pushed_at")
    at = float(pushed_at) if isinstance(pushed_at, int) else 0.0
    if not commit:
        return (Event(Kind.DELETED, branch, before=before, at=at),)
    commits = values.get("commits") or []
    total = values.get("total_commits") or len(commits)
    whole = bool(commits) and len(commits) >= total and len(commits) < _COMMITS_MAX
    known = whole and before and not values.get("forced")
    message = str((values.get("head_commit") or (commits[-1] if commits else {})).get("message") or "")
    return (Event(Kind.PUSHED, branch, commit, before, message, changed(commits) if known else None, at=at),)


def _pull(values: Json, name: str) -> tuple[Event, ...]:
    action, pull = values.get("action"), values["pull_request"]
    if action not in _OPENS and action != "closed":
        return ()
    head = pull["head"]
    source = (head.get("repo") or {}).get("full_name", "")
    return (
        Event(
            Kind.CLOSED if action == "closed" else Kind.OPENED,
            check_ref(str(head["ref"])),
            commit_of(head["sha"]),
            number=int(pull["number"]),
            target=str(pull["base"]["ref"]),
            fork=source.lower() != name.lower(),
            at=seconds(pull.get("updated_at")),
        ),
    )
