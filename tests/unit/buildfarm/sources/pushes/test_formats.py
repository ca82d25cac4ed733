"""Documented payloads of every forge become the same events."""

from __future__ import annotations

import pytest

from buildfarm.sources.pushes.event import Event, Kind, place_of_address
from buildfarm.sources.pushes.formats import parse
from buildfarm.sources.pushes.hook import Provider
from buildfarm.sources.pushes.reading import UnreadableError
from testkit.queue import pushes as sent
from testkit.queue.pushes import ZEROS, commit, encoded

A, B = commit(1), commit(2)
PUSHES = [
    (Provider.GITHUB, sent.github_push(A, B)),
    (Provider.GITEA, {**sent.github_push(A, B, host="git.example.org"), "total_commits": 1}),
    (Provider.GITLAB, sent.gitlab_push(A, B)),
    (Provider.BITBUCKET, sent.bitbucket_push((A, B))),
]
PULLS = [
    (Provider.GITHUB, sent.github_pull("synchronize", 12, B, at=3723)),
    (Provider.GITEA, sent.github_pull("synchronized", 12, B, at=3723)),
    (Provider.GITLAB, sent.gitlab_merge_request("update", 12, B)),
    (Provider.BITBUCKET, sent.bitbucket_pull("OPEN", 12, B)),
]


def events(provider, payload):
    return parse(provider, encoded(payload)).events


@pytest.mark.parametrize(("provider", "payload"), PUSHES)
def test_a_push_has_its_branch_commit_message_and_what_came_before(provider, payload):
    [event] = events(provider, payload)
    assert (event.kind, event.branch, event.before, event.commit) == (Kind.PUSHED, "main", A, B)
    assert event.message.strip() == "Change it"


@pytest.mark.parametrize(
    ("provider", "payload"),
    [
        (Provider.GITHUB, sent.github_push(A, ZEROS)),
        (Provider.GITLAB, sent.gitlab_push(A, ZEROS)),
        (Provider.BITBUCKET, sent.bitbucket_push((A, ZEROS))),
    ],
)
def test_a_push_of_nothing_is_a_deleted_branch(provider, payload):
    assert events(provider, payload) == (Event(Kind.DELETED, "main", before=A),)


def test_giteas_own_event_of_a_deleted_branch_is_one_too_and_that_of_a_made_branch_is_not():
    base = {"ref": "old", "ref_type": "branch", "pusher_type": "user", "repository": sent.github_repository()}
    assert events(Provider.GITEA, base) == (Event(Kind.DELETED, "old"),)
    assert events(Provider.GITEA, {**base, "sha": A}) == ()
    assert events(Provider.GITHUB, {**base, "master_branch": "main"}) == ()


@pytest.mark.parametrize(("provider", "payload"), PULLS)
def test_a_pull_request_has_its_number_commit_and_branches(provider, payload):
    [event] = events(provider, payload)
    assert (event.kind, event.number, event.branch, event.target) == (Kind.OPENED, 12, "feature", "main")
    assert B.startswith(event.commit)
    assert not event.fork
    assert event.at == pytest.approx(1795741323, abs=1)


@pytest.mark.parametrize(
    ("provider", "payload"),
    [
        (Provider.GITHUB, sent.github_pull("closed", 12, B)),
        (Provider.GITLAB, sent.gitlab_merge_request("merge", 12, B)),
        (Provider.GITLAB, sent.gitlab_merge_request("close", 12, B)),
        (Provider.BITBUCKET, sent.bitbucket_pull("MERGED", 12, B)),
        (Provider.BITBUCKET, sent.bitbucket_pull("DECLINED", 12, B)),
    ],
)
def test_a_merged_or_declined_pull_request_is_closed(provider, payload):
    assert [event.kind for event in events(provider, payload)] == [Kind.CLOSED]


@pytest.mark.parametrize(
    ("provider", "payload"),
    [
        (Provider.GITHUB, sent.github_pull("opened", 12, B, source="mallory/shop")),
        (Provider.GITLAB, sent.gitlab_merge_request("open", 12, B, source=99)),
        (Provider.BITBUCKET, sent.bitbucket_pull("OPEN", 12, B, source="mallory/shop")),
    ],
)
def test_a_pull_request_of_a_fork_is_known_as_one(provider, payload):
    assert [event.fork for event in events(provider, payload)] == [True]


def test_a_fork_that_was_deleted_is_a_fork():
    payload = sent.github_pull("opened", 12, B)
    payload["pull_request"]["head"]["repo"] = None
    assert events(Provider.GITHUB, payload)[0].fork


def test_changed_files_are_known_only_if_the_payload_has_all_of_them():
    paths = lambda provider, payload: events(provider, payload)[0].paths  # noqa: E731
    assert paths(Provider.GITHUB, sent.github_push(A, B, files=["a", "b"])) == ("a", "b")
    assert paths(Provider.GITHUB, sent.github_push(A, B, forced=True)) is None
    assert paths(Provider.GITHUB, sent.github_push(ZEROS, B)) is None
    assert paths(Provider.GITHUB, sent.github_push(A, B, commits=[])) is None
    assert paths(Provider.GITEA, sent.github_push(A, B, total_commits=31)) is None
    assert paths(Provider.GITLAB, sent.gitlab_push(A, B)) == ("new.py", "app.py", "old.py")
    assert paths(Provider.GITLAB, sent.gitlab_push(A, B, total=21)) is None
    assert paths(Provider.BITBUCKET, sent.bitbucket_push((A, B))) is None


def test_other_events_say_nothing():
    ping = {"zen": "Keep it logically awesome.", "hook_id": 1, "repository": sent.github_repository()}
    assert events(Provider.GITHUB, ping) == ()
    assert events(Provider.GITHUB, sent.github_pull("labeled", 12, B)) == ()
    assert events(Provider.GITLAB, sent.gitlab_merge_request("approved", 12, B)) == ()
    assert events(Provider.GITLAB, {"object_kind": "note", "project": sent.gitlab_project()}) == ()
    assert events(Provider.GITHUB, {**sent.github_push(A, B), "ref": "refs/tags/v1"}) == ()


@pytest.mark.parametrize("provider", Provider)
@pytest.mark.parametrize(
    "body",
    [b"", b"payload=%7B%7D", b"[]", b"{}", b"[" * 100_000, b'{"repository": 1}', b'{"project": {}}', b"\xff"],
)
def test_what_has_another_form_is_unreadable(provider, body):
    with pytest.raises(UnreadableError):
        parse(provider, body)


@pytest.mark.parametrize("wrong", ["../../x", "main; rm -rf", "G" * 40, 7, "a" * 65])
def test_a_commit_is_an_id_and_nothing_else(wrong):
    with pytest.raises(UnreadableError):
        events(Provider.GITHUB, {**sent.github_push(A, B), "after": wrong})


def test_a_branch_is_what_git_allows():
    with pytest.raises(UnreadableError):
        events(Provider.GITHUB, {**sent.github_push(A, B), "ref": "refs/heads/--upload-pack=x"})


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://github.com/Octo/Shop.git", "github.com/octo/shop"),
        ("git@github.com:octo/shop.git", "github.com/octo/shop"),
        ("ssh://git@github.com:2222/octo/shop", "github.com/octo/shop"),
        ("https://git.example.org:8443/a/b/c/", "git.example.org/a/b/c"),
        ("nothing", ""),
        ("https://[", ""),
    ],
)
def test_a_repository_is_the_same_by_all_of_its_addresses(url, place):
    assert place_of_address(url) == place


def test_every_address_of_a_payload_is_known():
    assert parse(Provider.GITHUB, encoded(sent.github_push(A, B))).addresses == {"github.com/octo/shop"}
    assert parse(Provider.GITLAB, encoded(sent.gitlab_push(A, B))).addresses == {"gitlab.example.org/team/web/shop"}
    assert parse(Provider.BITBUCKET, encoded(sent.bitbucket_push())).addresses == {"bitbucket.org/octo/shop"}


@pytest.mark.parametrize("time", ["1" + "0" * 400, "1e400", "Infinity", "NaN"])
def test_a_time_that_is_no_number_is_refused(time):
    body = encoded({**sent.github_pull("opened", 12, B)}).replace(b'"2026-11-27T00:00:00Z"', time.encode())
    assert time.encode() in body
    with pytest.raises(UnreadableError):
        parse(Provider.GITHUB, body)


def test_a_name_that_is_no_text_is_refused():
    body = encoded(sent.github_push(A, B)).replace(b"octo/shop", b"octo/\\ud800")
    with pytest.raises(UnreadableError):
        parse(Provider.GITHUB, body)
