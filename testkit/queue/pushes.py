"""Deliveries as forges document them, written by hand and signed; and a fake of their APIs for commit statuses.

Sources of the forms: docs.github.com/en/webhooks/webhook-events-and-payloads (push, pull_request, delete, ping),
docs.gitea.com/usage/repository/webhooks, forgejo.org/docs/latest/user/webhooks,
docs.gitlab.com/user/project/integrations/webhook_events, support.atlassian.com/bitbucket-cloud/docs/event-payloads.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

ZEROS = "0" * 40
GITHUB, GITEA = "https://github.com/octo/shop.git", "https://git.example.org/octo/shop.git"
GITLAB, BITBUCKET = "https://gitlab.example.org/team/web/shop.git", "https://bitbucket.org/octo/shop.git"

Json = dict[str, Any]


def commit(number: int) -> str:
    """A commit's id of a test."""
    return hashlib.sha1(f"commit {number}".encode()).hexdigest()


def github_push(
    before: str, after: str, *, branch: str = "main", message: str = "Change it", files: Sequence[str] = ("app.py",),
    name: str = "octo/shop", host: str = "github.com", **more: Any,
) -> Json:  # fmt: skip
    """A push as GitHub, Gitea and Forgejo report it."""
    made = {"id": after, "message": message, "added": [], "modified": list(files), "removed": []}
    gone = after == ZEROS
    return {
        "ref": f"refs/heads/{branch}", "before": before, "after": after, "created": before == ZEROS, "deleted": gone,
        "forced": False, "head_commit": None if gone else made, "commits": [] if gone else [made],
        "repository": github_repository(name, host), "pusher": {"name": "octocat", "email": "octocat@example.org"},
        **more,
    }  # fmt: skip


def github_repository(name: str = "octo/shop", host: str = "github.com") -> Json:
    """The repository of a payload."""
    return {
        "id": 1296269, "name": name.rpartition("/")[2], "full_name": name, "private": True,
        "html_url": f"https://{host}/{name}", "clone_url": f"https://{host}/{name}.git",
        "ssh_url": f"git@{host}:{name}.git", "git_url": f"git://{host}/{name}.git",
    }  # fmt: skip


def github_pull(
    action: str, number: int, sha: str, *, at: int = 0, source: str = "octo/shop", branch: str = "feature",
    target: str = "main", host: str = "github.com",
) -> Json:  # fmt: skip
    """A pull request as GitHub, Gitea and Forgejo report it."""
    repository = github_repository(host=host)
    return {
        "action": action, "number": number,
        "pull_request": {
            "number": number, "state": "closed" if action == "closed" else "open", "merged": False,
            "updated_at": f"2026-11-27T{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}Z",
            "head": {"ref": branch, "sha": sha, "repo": {"full_name": source}},
            "base": {"ref": target, "sha": commit(0), "repo": repository},
        },
        "repository": repository,
    }  # fmt: skip


def gitlab_push(before: str, after: str, *, branch: str = "main", total: int = 1, name: str = "team/web/shop") -> Json:
    """A push as GitLab reports it."""
    made = {"id": after, "message": "Change it", "added": ["new.py"], "modified": ["app.py"], "removed": ["old.py"]}
    gone = after == ZEROS
    return {
        "object_kind": "push", "event_name": "push", "before": before, "after": after, "ref": f"refs/heads/{branch}",
        "checkout_sha": None if gone else after, "project_id": 15, "project": gitlab_project(name),
        "commits": [] if gone else [made], "total_commits_count": 0 if gone else total,
    }  # fmt: skip


def gitlab_project(name: str = "team/web/shop") -> Json:
    """The project of a payload."""
    page = f"https://gitlab.example.org/{name}"
    return {
        "id": 15, "name": "Shop", "web_url": page, "git_ssh_url": f"git@gitlab.example.org:{name}.git",
        "git_http_url": f"{page}.git", "path_with_namespace": name, "default_branch": "main",
    }  # fmt: skip


def gitlab_merge_request(action: str, number: int, sha: str, *, source: int = 15, message: str = "Change it") -> Json:
    """A merge request as GitLab reports it."""
    return {
        "object_kind": "merge_request", "event_type": "merge_request", "project": gitlab_project(),
        "object_attributes": {
            "iid": number, "action": action, "state": "opened", "source_branch": "feature", "target_branch": "main",
            "source_project_id": source, "target_project_id": 15, "updated_at": "2026-11-27 01:02:03 UTC",
            "last_commit": {"id": sha, "message": message},
        },
    }  # fmt: skip


def bitbucket_push(*changes: tuple[str, str], branch: str = "main") -> Json:
    """A push as Bitbucket Cloud reports it."""

    def side(sha: str) -> Json | None:
        target = {"type": "commit", "hash": sha, "message": "Change it\n", "date": "2026-11-27T01:02:03+00:00"}
        return None if sha == ZEROS else {"type": "branch", "name": branch, "target": target}

    pairs = [
        {"old": side(old), "new": side(new), "created": old == ZEROS, "closed": new == ZEROS, "forced": False}
        for old, new in changes
    ]
    return {"push": {"changes": pairs}, "repository": bitbucket_repository(), "actor": {"type": "user"}}


def bitbucket_repository() -> Json:
    """The repository of a payload."""
    page = "https://bitbucket.org/octo/shop"
    return {"type": "repository", "full_name": "octo/shop", "name": "shop", "links": {"html": {"href": page}}}


def bitbucket_pull(state: str, number: int, sha: str, *, source: str = "octo/shop") -> Json:
    """A pull request as Bitbucket Cloud reports it, with the 12 digits of its commit that it sends."""
    return {
        "pullrequest": {
            "id": number, "state": state, "updated_on": "2026-11-27T01:02:03.123456+00:00",
            "source": {
                "branch": {"name": "feature"}, "commit": {"hash": sha[:12]}, "repository": {"full_name": source}
            },
            "destination": {"branch": {"name": "main"}, "commit": {"hash": commit(0)[:12]}},
        },
        "repository": bitbucket_repository(),
    }  # fmt: skip


def encoded(payload: Json) -> bytes:
    """The body that is sent."""
    return json.dumps(payload).encode()


def signed(provider: str, secret: str, body: bytes) -> dict[str, str]:
    """The headers with which a forge sends a body."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    own = {
        "github": {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={digest}"},
        "gitea": {"X-Gitea-Event": "push", "X-Gitea-Signature": digest},
        "bitbucket": {"X-Event-Key": "repo:push", "X-Hub-Signature": f"sha256={digest}"},
        "gitlab": {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": secret},
    }
    return {"Content-Type": "application/json", **own[provider]}


def standard(secret: str, body: bytes, identity: str, at: int) -> dict[str, str]:
    """The headers of a request that GitLab signs."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{identity}.{at}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {
        "Content-Type": "application/json",
        "Webhook-Id": identity,
        "Webhook-Timestamp": str(at),
        "Webhook-Signature": signature,
    }


class FakeForge(http.server.ThreadingHTTPServer):
    """A forge's API that takes commit statuses: ``got`` has path, headers and body of each, in their order."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Mapping[str, str], Json]] = []
        self.answers: list[int] = []  # statuses of the next answers; 201 after them
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Statuses)

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.server_port}/api"

    def states(self, sha: str) -> list[str]:
        """The states that were set for a commit."""
        with self.lock:
            return [str(body["state"]) for path, _, body in self.got if sha in path]


class _Statuses(http.server.BaseHTTPRequestHandler):
    server: FakeForge

    def do_POST(self) -> None:
        """Keeps a status."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            answer = self.server.answers.pop(0) if self.server.answers else 201
            if answer < 300:
                self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def fake_forge() -> Iterator[FakeForge]:
    """The fake, for the length of the block."""
    server = FakeForge()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
