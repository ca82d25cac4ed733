"""What the node does with the answers of a fetching sandbox, and which credentials count for what it keeps."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from buildfarm.config_vars.build_variables import NO_VARIABLES
from buildfarm.errors import SourceError, TooLargeError
from buildfarm.sources.credentials import Credential, Kind
from workers.fetch.private import PrivateFetch
from workers.sandbox.container import Ended

URL = "ssh://git@h.org/a/b.git"
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
OURS = Credential(name="ours", tenant="shop", app=None, kind=Kind.SSH_KEY, address="h.org/a", value="canary-19c4")
OTHER = Credential(name="other", tenant="shop", app=None, kind=Kind.SSH_KEY, address="h.org/x", value="canary-77e0")


class Pool:
    """Its sandboxes answer with the same text."""

    def __init__(self, answer, *, cut=False):
        self.jobs = []
        self.ended = Ended(0, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), cut)

    @contextmanager
    def take(self, *_, **__):
        sandbox = SimpleNamespace(run=self.run, kill=lambda: None)
        sandbox.with_variables = lambda _: sandbox
        yield None, sandbox

    def run(self, _, *, stdin, **__):
        self.jobs.append(json.loads(b"".join(stdin)))
        return self.ended


def private(*credentials, answer=None, cut=False, learn=lambda *_: True):
    pool = Pool(
        {"commit": "c0ffee", "host_keys": [KEY], "submodules": [], "lfs_bytes": 0} if answer is None else answer,
        cut=cut,
    )
    return PrivateFetch(
        pool, "image", "shop/web", credentials, NO_VARIABLES, learn, lambda _: None, lambda: None, 2**20, 1000
    )  # fmt: skip


def test_what_a_node_keeps_is_found_again_after_the_upgrade_to_git_lfs():
    parts = [["ours", None, "h.org/a", "canary-19c4", False]]
    assert private(OURS).stamp(URL) == hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def test_what_a_node_keeps_is_of_one_credential_and_of_its_submodules():
    with_submodules = replace(OURS, submodules=True)
    assert private(OURS).stamp(URL) == private(OURS, OTHER).stamp(URL)  # OTHER has no part in it
    stamps = {
        private(OURS).stamp(URL),
        private(replace(OURS, value="canary-other")).stamp(URL),
        private(with_submodules).stamp(URL),
        private(with_submodules, OTHER).stamp(URL),  # submodules can come by any
        private(with_submodules, replace(OTHER, value="canary-new")).stamp(URL),
        private(replace(OURS, lfs=True)).stamp(URL),
    }
    assert len(stamps) == 6


@pytest.mark.parametrize(
    ("more", "asked", "used", "repeatable"),
    [
        (False, [URL], [], True),
        (True, [URL], [], False),
        (True, ["https://h.org/public.git"], ["python"], True),
        (False, ["", "git@h.org:a/pack.git#abc"], ["ssh://git@h.org/a/pack.git#abc"], True),
        (True, ["", "git@h.org:a/pack.git#abc"], ["ssh://git@h.org/a/pack.git#abc"], False),
        (False, [""], ["ssh://git@h.org/a/pack.git#abc"], False),  # an app's file names it, no request
    ],
)
@pytest.mark.parametrize("field", ["submodules", "lfs"])
def test_a_result_counts_for_equal_requests_if_these_show_all_that_is_fetched(field, more, asked, used, repeatable):
    assert private(replace(OURS, **{field: more})).repeatable(asked, used) is repeatable


def test_git_lfs_files_are_fetched_with_the_credential_that_asks_for_them():
    url = "https://h.org/a/b.git"
    for credential, asked in ((OURS, False), (replace(OURS, lfs=True), True)):
        fetch = private(credential)
        fetch.pin(URL, "main")
        assert [(job["lfs"], job["lfs_bytes"]) for job in fetch.pool.jobs] == [(asked, 1000)]
    fetch = private(
        Credential(name="open", tenant="shop", app=None, kind=Kind.PUBLIC, address="h.org", value="", lfs=True)
    )
    fetch.pin(url, "main")
    (job,) = fetch.pool.jobs
    assert (job["kind"], job["value"], job["address"], job["lfs"]) == ("", "", "", True)


def test_submodules_get_what_is_left_of_the_limit():
    """Each answer here says that the repository's own Git LFS files have 400 bytes."""
    ours = replace(OURS, lfs=True, submodules=True)
    submodule = {"path": "lib", "url": "../lib.git", "commit": "c"}
    fetch = private(ours, answer={"commit": "c", "host_keys": [KEY], "submodules": [], "lfs_bytes": 400})
    answer = {"submodules": [submodule, {**submodule, "path": "lib2"}], "lfs_bytes": 400}
    with fetch.pool.take() as (_, sandbox):
        fetch._fetch_submodules(sandbox, URL, answer)
    assert [job["lfs_bytes"] for job in fetch.pool.jobs] == [600, 200]


@pytest.mark.parametrize("about", ["a.bin\n-----> forged", "\ud800", "x" * 10_000])
def test_a_name_in_a_refusal_is_one_line(about):
    with pytest.raises(SourceError, match=r"does not have the content of") as error:
        private(OURS, answer={"failure": "lfs-missing", "about": about}).pin(URL, "main")
    assert len(error.value.message) < 1000
    assert error.value.message.isprintable()
    assert error.value.message.encode()


def test_a_credential_that_cannot_be_decrypted_fails_only_what_needs_it():
    lost = replace(OURS, value="")
    fetch = private(lost, OTHER)
    assert fetch.pin("ssh://git@h.org/x/y.git", "main") == "c0ffee"
    with pytest.raises(SourceError, match=r"the credential ours: .* cannot be decrypted.* credentials set ours"):
        fetch.pin(URL, "main")
    assert [job["value"] for job in fetch.pool.jobs] == [OTHER.value]
    assert lost.hidden == []


@pytest.mark.parametrize("key", ["", "ssh-ed25519 !!!", "nonsense", f"{KEY[:20]}"])
def test_what_is_not_a_key_of_a_host_is_not_learned(key):
    learned = []
    fetch = private(OURS, answer={"commit": "c", "host_keys": [key]}, learn=lambda *call: learned.append(call))
    with pytest.raises(SourceError, match="could not be fetched with the credential ours"):
        fetch.pin(URL, "main")
    assert learned == []


def test_a_credential_that_changed_during_the_fetch_is_named_so():
    with pytest.raises(SourceError, match=r"was changed or removed.*Build again"):
        private(OURS, learn=lambda *_: False).pin(URL, "main")


def test_an_answer_that_was_cut_has_too_many_submodules():
    with pytest.raises(TooLargeError, match="too many submodules"):
        private(OURS, answer=b'{"commit": "c', cut=True).pin(URL, "main")
