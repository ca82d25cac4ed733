"""What a hook makes of events, and how its state goes on."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from buildfarm.sources.pushes.choose import Wanted, choose, is_of
from buildfarm.sources.pushes.event import Event, Kind
from buildfarm.sources.pushes.formats import parse
from buildfarm.sources.pushes.hook import Hook, NewHook, Provider, api_of
from buildfarm.sources.pushes.state import PULLS_MAX, State, absorb, settled
from buildfarm.sources.pushes.statuses import CommitStatus, Status, status_request
from testkit.queue import pushes as sent
from testkit.queue.pushes import commit, encoded

A, B = commit(1), commit(2)


def hook(**fields):
    values = {"app": "web", "provider": "github", "repository": sent.GITHUB, "page": "https://builds.example.org"}
    return Hook(**{**values, "tenant": "shop", "id": "0" * 16, "made_at": 0.0, **fields})


def chosen(hook, event):
    return choose(hook, event, parse(Provider.GITHUB, encoded(sent.github_push(A, B))), "key")


def push(**fields):
    return Event(**{"kind": Kind.PUSHED, "branch": "main", "commit": B, "before": A, **fields})


def pull(**fields):
    return Event(
        **{"kind": Kind.OPENED, "branch": "feature", "commit": B, "number": 12, "target": "main", "at": 5.0, **fields}
    )


def test_a_push_to_the_branch_is_built_and_one_to_another_is_not():
    assert chosen(hook(), push()).skip == ""
    assert chosen(hook(), push(branch="other")) == "the branch is not main"


@pytest.mark.parametrize("word", ["[skip ci]", "[ci skip]", "[Skip CI]", "[no ci]"])
def test_a_message_can_ask_for_no_build(word):
    assert word in chosen(hook(), push(message=f"Mend it {word}\n\nbecause")).skip
    assert chosen(hook(pull_requests=True), pull(message=word)).skip
    assert not chosen(hook(), push(message="skip ci without brackets")).skip


def test_a_project_directory_is_a_path_filter_unless_there_are_others():
    both = hook(project_dir="services/web")
    assert chosen(both, push(paths=("services/web/a",))).skip == ""
    assert "no file" in chosen(both, push(paths=("services/api/a",))).skip
    wider = hook(project_dir="services/web", paths=("services/**",))
    assert chosen(wider, push(paths=("services/api/a",))).skip == ""
    assert hook(project_dir="a*[b]").filters == (r"a\*\[b]/**",)


def test_pull_requests_are_built_if_asked_for_and_of_forks_only_if_asked_for_too():
    assert chosen(hook(), pull()) == "the hook builds no pull requests"
    assert isinstance(chosen(hook(pull_requests=True), pull()), Wanted)
    assert "fork" in chosen(hook(pull_requests=True), pull(fork=True))
    assert isinstance(chosen(hook(pull_requests=True, forks=True), pull(fork=True)), Wanted)
    assert "not for main" in chosen(hook(pull_requests=True), pull(target="old"))


def test_only_the_hooks_own_repository_counts():
    ours = parse(Provider.GITHUB, encoded(sent.github_push(A, B)))
    other = parse(Provider.GITHUB, encoded(sent.github_push(A, B, name="octo/other")))
    assert is_of(hook(), ours)
    assert is_of(hook(repository="ssh://git@github.com/octo/Shop"), ours)
    assert not is_of(hook(), other)
    assert not is_of(hook(repository="https://github.example.org/octo/shop"), ours)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"app": "a" * 21, "pull_requests": True}, "at most 20 characters"),
        ({"forks": True}, "only with pull_requests"),
        ({"provider": "bitbucket", "paths": ["a/**"]}, "Bitbucket does not say"),
        ({"provider": "bitbucket", "forks": True, "pull_requests": True}, "leave forks out"),
        ({"repository": "https://user:secret@github.com/a/b"}, "do not put a password"),
        ({"project_dir": "../x"}, "relative path"),
        ({"project_dir": "/x"}, "relative path"),
        ({"branch": "-x"}, "not the name of a branch"),
        ({"paths": ["a["]}, "not a path filter"),
        ({"preview_hours": 0}, "greater than 0"),
        ({"provider": "svn"}, "github"),
    ],
)
def test_wrong_terms_are_refused_with_the_reason(fields, reason):
    with pytest.raises(ValidationError, match=reason):
        NewHook(**{"tenant": "shop", "app": "web", "provider": "github", "repository": sent.GITHUB, **fields})


def test_a_token_is_in_no_text_of_a_hook():
    new = NewHook(tenant="shop", app="web", provider="github", repository=sent.GITHUB, status_token="ghp_s3cret")
    assert "ghp_s3cret" not in repr(new) + str(new)


def wanted(event, hook_=None, key="k"):
    return choose(
        hook_ or hook(pull_requests=True), event, parse(Provider.GITHUB, encoded(sent.github_push(A, B))), key
    )


def test_a_skipped_push_is_not_built_and_those_after_it_are_in_order():
    state = State()
    for event in (push(before=""), push(before=B, commit=A, message="[skip ci]"), push(before=A, commit=commit(3))):
        state = settled(absorb(state, wanted(event), "main", 0.0), 0.0)
    assert [one.commit for one in state.ready] == [B, commit(3)]
    assert state.line.head == commit(3)


def test_a_pull_request_is_built_once_for_each_commit_and_again_when_it_is_opened_again():
    state = State()
    for number, (kind, sha) in enumerate([("opened", A), ("opened", A), ("opened", B), ("closed", B), ("closed", B)]):
        event = pull(kind=Kind(kind), commit=sha, at=float(number + 1))
        state = absorb(state, wanted(event, key=str(number)), "main", 0.0)
    assert [(one.kind, one.commit) for one in state.ready] == [("opened", A), ("opened", B), ("closed", B)]
    state = absorb(state, wanted(pull(commit=B, at=9.0)), "main", 0.0)
    assert state.ready[-1].commit == B
    assert len(state.ready) == 4


def test_a_deleted_branch_closes_the_pull_requests_of_it_and_of_no_fork():
    state = State()
    for number, fields in ((1, {}), (2, {"branch": "other"}), (3, {"fork": True})):
        open_hook = hook(pull_requests=True, forks=True)
        state = absorb(state, wanted(pull(number=number, **fields), open_hook), "main", 0.0)
    state = absorb(state, wanted(Event(Kind.DELETED, "feature", before=B), key="gone"), "main", 1.0)
    assert [(one.number, one.kind) for one in state.ready if one.kind is Kind.CLOSED] == [(1, Kind.CLOSED)]
    assert {number: one.is_open for number, one in state.pulls.items()} == {1: False, 2: True, 3: True}


def test_pull_requests_that_are_remembered_are_bounded():
    state = State()
    for number in range(1, PULLS_MAX + 50):
        state = absorb(state, wanted(pull(number=number)), "main", 0.0).model_copy(update={"ready": ()})
    assert len(state.pulls) == PULLS_MAX
    assert PULLS_MAX + 49 in state.pulls


def test_a_state_is_the_same_when_it_is_read_back():
    state = absorb(absorb(State(), wanted(pull()), "main", 0.0), wanted(push()), "main", 0.0)
    assert State.model_validate_json(state.model_dump_json()) == state


@pytest.mark.parametrize(
    ("short", "ref"), [(B, B), (B[:12], "refs/heads/feature"), ("a" * 64, "a" * 64), ("", "refs/heads/feature")]
)
def test_git_fetches_the_commit_or_the_branch_if_its_id_is_cut(short, ref):
    assert Wanted(key="", kind=Kind.OPENED, branch="feature", commit=short).ref == ref


STATUS = CommitStatus("team/web/shop", B, "web", Status.STOPPED, "x" * 200, "https://builds.example.org/builds/1")


@pytest.mark.parametrize(
    ("provider", "repository", "url", "header", "state"),
    [
        ("github", sent.GITHUB, f"https://api.github.com/repos/team/web/shop/statuses/{B}", "Bearer t", "error"),
        (
            "github", "https://ghe.example.org/a/b", f"https://ghe.example.org/api/v3/repos/team/web/shop/statuses/{B}",
            "Bearer t", "error",
        ),
        ("gitea", sent.GITEA, f"https://git.example.org/api/v1/repos/team/web/shop/statuses/{B}", "token t", "stopped"),
        (
            "gitlab", sent.GITLAB, f"https://gitlab.example.org/api/v4/projects/team%2Fweb%2Fshop/statuses/{B}", "t",
            "canceled",
        ),
        (
            "bitbucket", sent.BITBUCKET,
            f"https://api.bitbucket.org/2.0/repositories/team/web/shop/commit/{B}/statuses/build", "Bearer t",
            "STOPPED",
        ),
    ],
)  # fmt: skip
def test_a_status_is_sent_as_the_forge_documents_it(provider, repository, url, header, state):
    asked = status_request(hook(provider=provider, repository=repository), "t", STATUS)
    assert asked.url == url
    assert header in dict(asked.headers).values()
    assert f'"{state if provider != "gitea" else "error"}"' in asked.body.decode()
    assert len(asked.body) < 400
    assert "Bearer t" not in repr(asked)


def test_another_api_can_be_named():
    assert api_of(hook(api="https://forge.internal:3000/api/v1/")) == "https://forge.internal:3000/api/v1"
