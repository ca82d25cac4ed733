"""A ref means exactly one commit: to `pin` on the caller's machine, and to resolve-git and fetch-git in a sandbox."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from buildfarm.buildpacks.pin import pin
from buildfarm.errors import RequestError
from testkit.git_server import git_server

BIN = Path(__file__).parents[3] / "images/builder/root/usr/lib/buildfarm"

# Ref to the text of the file `which` in the commit that it means.
REFS = {
    "main": "main",  # zoe/main sorts after it, and ends with its name
    "zoe/main": "zoe",
    "HEAD": "main",
    "refs/heads/main": "main",
    "v1": "tag v1",  # annotated; beta/v1 is another
    "beta/v1": "tag beta",
    "refs/tags/v1": "tag v1",
    "light": "tag light",
    "both": "branch both",  # a tag has this name too
    "refs/tags/both": "tag both",
    "refs/pull/7/head": "pull",
    "x@y": "at",
    "+plus": "plus",
    "issue#12": "number sign",
    "été": "letters",
    "refs/heads/-dash": "dash",
    "heads/main": "a branch named heads/main",
}
ABSENT = ["ain", "oe/main", "refs/main", "pull/7/head", "+main", "refs/heads/v1", "tags/v1"]
WAYS = ["pin", "resolve-git", "fetch-git", "fetch-git from files"]
FETCHED = ["main", "v1", "both", "refs/tags/both", "refs/pull/7/head", "+plus", "issue#12", "refs/heads/-dash"]
FROM_FILES = ["main", "HEAD", "v1", "zoe/main"]
CASES = [*((way, ref) for way in WAYS[:2] for ref in REFS), *((WAYS[2], ref) for ref in FETCHED),
         *((WAYS[3], ref) for ref in FROM_FILES)]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A repository with names that end alike, by git's server and as plain files."""
    folder = tmp_path_factory.mktemp("served")
    with git_server(folder) as smart, git_server(folder, smart=False) as files:
        repository = smart.repository("x.git")
        full = {name: f"refs/{'tags' if text.startswith('tag ') else 'heads'}/{name}" for name, text in REFS.items()}
        texts = {full[name] if not name.startswith("refs/") else name: text for name, text in REFS.items()}
        del texts["refs/heads/HEAD"]
        texts["refs/remotes/fork/refs/heads/main"] = "BAD"
        repository.commits({name: {"which": text} for name, text in texts.items()})
        for tag in ("v1", "beta/v1"):
            repository.git("tag", "-f", "-a", "-m", "annotated", tag, f"refs/tags/{tag}")
        repository.git("update-server-info")
        yield repository, f"{smart.url}/x.git", f"{files.url}/x.git"


def run(*command: str, into: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "INTO": str(into or ""), "LANG": "de_DE.UTF-8"}
    return subprocess.run([str(BIN / command[0]), *command[1:]], env=environment, capture_output=True, text=True,
                          check=False)  # fmt: skip


def which(served, way: str, ref: str, tmp_path: Path) -> str:
    """The file `which` of the commit that was found; empty if none was."""
    repository, smart, files = served
    if way.startswith("fetch-git"):
        done = run("fetch-git", files if way.endswith("files") else smart, ref, into=tmp_path)
        assert (done.returncode == 0) == (tmp_path / "which").exists(), done.stderr
        return (tmp_path / "which").read_text() if done.returncode == 0 else ""
    if way == "pin":
        try:
            commit = pin(f"{smart}#{ref}", None).ref
        except RequestError:
            return ""
    else:
        done = run("resolve-git", smart, ref)
        assert done.returncode == 0, done.stderr
        commit = done.stdout.strip()
    return repository.git("show", f"{commit}:which") if commit else ""


@pytest.mark.parametrize(("way", "ref"), CASES)
@pytest.mark.kind("refs")
def test_a_ref_means_the_branch_or_tag_of_exactly_this_name(served, way, ref, tmp_path, record_property):
    found = which(served, way, ref, tmp_path)
    record_property("seen", f"{way}: {ref} is {found}")
    assert found == REFS[ref]


@pytest.mark.parametrize(("way", "ref"), [*(("pin", ref) for ref in ABSENT), *((way, "+main") for way in WAYS[1:])])
@pytest.mark.kind("refs")
def test_the_tail_of_a_name_means_nothing(served, way, ref, tmp_path, record_property):
    assert which(served, way, ref, tmp_path) == ""
    record_property("seen", f"{way}: there is no {ref}")


@pytest.mark.parametrize("way", WAYS)
def test_a_commit_id_means_that_commit(served, way, tmp_path):
    commit = served[0].git("rev-parse", "v1^{commit}")
    assert which(served, way, commit, tmp_path) == "tag v1"


def test_what_is_missing_is_named(served, tmp_path):
    done = run("fetch-git", served[1], "absent", into=tmp_path)
    assert (done.returncode, done.stderr) == (1, "There is no branch, tag or commit 'absent' in the repository.\n")
    for ref in ("0" * 40, "main"):
        done = run("fetch-git", f"{served[1]}-absent", ref, into=tmp_path / ref)
        assert done.returncode == 1
        assert "not found" in done.stderr
    with pytest.raises(RequestError, match="no branch or tag 'absent'") as raised:
        pin(f"{served[1]}#absent", None)
    assert "40 hexadecimal digits" in raised.value.advice
