"""Vendors' names become pinned buildpacks: the table, the newest tag, and a git server in a vendor's layout."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.buildpacks.pin import pin
from buildfarm.buildpacks.resolve import resolve
from buildfarm.buildpacks.vendors import newest_tag, read_vendors
from buildfarm.cli import main
from buildfarm.errors import RequestError
from testkit.git_server import git_server

CLASSIC = {"bin/detect": "#!/bin/sh\n", "bin/compile": "#!/bin/sh\n"}
CNB = {"buildpack.toml": "", "bin/detect": "#!/bin/sh\n", "bin/build": "#!/bin/sh\n"}


def test_the_table_names_repositories_and_no_commits() -> None:
    vendors = read_vendors()
    assert {"heroku", "scalingo"} <= set(vendors)
    for vendor in vendors.values():
        assert vendor.about and vendor.source and vendor.note
        assert len(set(vendor.urls)) == len(vendor.urls)
        for address in vendor.addresses:
            assert re.fullmatch(r"https://[a-z.]+/[\w-]+/[\w.-]+\.git#(v\*|HEAD|[\w./-]+)", address)
            assert not re.search(r"#[0-9a-f]{40}$", address)
    assert list(vendors["scalingo"].urls) == sorted(vendors["scalingo"].urls)  # it asks them alphabetically


@pytest.mark.parametrize(
    ("tags", "newest"),
    [
        (["v9", "v10", "v2"], "v10"),
        (["v1.9.0", "v1.10.0", "v1.10.0-rc1"], "v1.10.0"),
        (["v187-scalingo", "v187", "zbuildkits2_test"], "v187"),
        (["1.0", "latest"], ""),
        ([], ""),
    ],
)
def test_the_newest_tag_is_the_highest_release(tags, newest) -> None:
    assert newest_tag(tags, "v*") == newest


@given(st.lists(st.lists(st.integers(0, 2000), min_size=1, max_size=3), min_size=1))
def test_versions_are_compared_as_numbers(versions) -> None:
    tags = ["v" + ".".join(str(part) for part in version) for version in versions]
    assert newest_tag(tags, "v*") == tags[versions.index(max(versions))]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Repositories in the folders that the vendors' have, each with releases and a branch of work in progress."""
    with git_server(tmp_path_factory.mktemp("mirror")) as server:
        for vendor in read_vendors().values():
            for url in vendor.urls:
                repository = server.repository(url.removeprefix("https://github.com/"))
                refs = ("tags/v9", "tags/v10", "tags/v11-beta", "heads/main")
                repository.commits({f"refs/{ref}": {**CLASSIC, "which": f"{url} {ref}"} for ref in refs})
        yield server


def pinned(name):
    return pin(name, None)


@pytest.mark.parametrize(("vendor", "ref"), [("heroku", "refs/tags/v10"), ("scalingo", "refs/heads/main")])
def test_a_vendors_name_is_its_buildpacks_in_its_order_at_their_commits(mirror, vendor, ref) -> None:
    found = resolve([vendor], pinned, f"{mirror.url}/")
    expected = []
    for url in read_vendors()[vendor].urls:
        path = url.removeprefix("https://github.com/")
        git = ["git", "--git-dir", str(mirror.folder / path), "rev-parse", ref]
        commit = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
        expected.append(f"{mirror.url}/{path}#{commit}")
    assert [str(item.buildpack) for item in found] == expected
    assert {item.ref for item in found} == {"v10" if vendor == "heroku" else "HEAD"}


@pytest.mark.parametrize("name", ["oci:buildpacks/x:main#v*", "nodejs#v*"])
def test_only_a_repository_has_releases(name) -> None:
    with pytest.raises(RequestError, match="does not name a buildpack"):
        resolve([name], pinned)


def test_names_of_buildpacks_are_taken_beside_vendors(mirror) -> None:
    repository = mirror.repository("own.git")
    commit = repository.commit("refs/heads/zoe/fix#1", CNB)
    words = ["nodejs", f"{mirror.url}/own.git#zoe/fix#1", "scalingo", f"{mirror.url}/own.git#{commit}"]
    found = resolve(words, pinned, mirror.url)
    assert (str(found[0].buildpack), found[0].ref) == ("nodejs", "")
    assert (str(found[1].buildpack), found[1].ref) == (f"{mirror.url}/own.git#{commit}", "zoe/fix#1")
    assert len(found) == 2 + len(read_vendors()["scalingo"].urls) + 1
    assert (found[-1].buildpack, found[-1].ref) == (found[1].buildpack, "")


@pytest.mark.parametrize(
    ("name", "files", "told"),
    [
        ("absent.git#v1", None, "cannot be read: .*not found"),
        ("some.git#v2", CLASSIC, "has no branch or tag 'v2'"),
        ("some.git#w*", CLASSIC, "has no tag of a release"),
        (f"some.git#{'0' * 40}", CLASSIC, "has no commit 0000"),
        ("readme.git#main", {"README.md": "x"}, "is not a buildpack at [0-9a-f]{12}: it has neither bin/detect"),
        ("half.git#main", {"buildpack.toml": "", "main.go": "x"}, "is not a buildpack"),
        ("ftp://x", None, "does not name a buildpack"),
        ("ext::sh -c x#v*", None, "does not name a buildpack"),
        ("oci:buildpacks/x:v1", None, "is a tag, which only the farm's own machines can resolve"),
    ],
    ids=["unreachable", "no such tag", "no release", "no such commit", "not a buildpack", "source of one", "no address",
         "no address with a pattern", "artifact"],
)  # fmt: skip
def test_what_cannot_be_used_is_named_and_nothing_is_returned(mirror, name, files, told) -> None:
    repository = name.partition("#")[0]
    if files and not (mirror.folder / repository).exists():
        made = mirror.repository(repository)
        made.commit("refs/heads/main", files)
        made.commit("refs/tags/v1", files)
    word = name if ":" in name else f"{mirror.url}/{name}"
    with pytest.raises(RequestError, match=told):
        resolve(["python", word], pinned)


def test_a_server_that_gives_no_single_commits_is_read_whole(tmp_path) -> None:
    with git_server(tmp_path, smart=False) as server:
        commit = server.repository("x.git").commit("refs/heads/main", CLASSIC)
        found = resolve([f"{server.url}/x.git#main"], pinned)
    assert [str(item.buildpack) for item in found] == [f"{server.url}/x.git#{commit}"]


def test_a_mirror_without_a_scheme_is_refused() -> None:
    with pytest.raises(RequestError, match=r"git\.example\.org/.* does not name a buildpack"):
        resolve(["heroku"], pinned, "git.example.org")


def test_the_vendors_are_listed_without_a_farm() -> None:
    shown = CliRunner().invoke(main, ["buildpacks", "use", "--list"], catch_exceptions=False)
    assert "heroku: " in shown.output
    assert "  https://github.com/Scalingo/ruby-buildpack.git#HEAD" in shown.output
    as_json = CliRunner().invoke(main, ["buildpacks", "use", "--list", "--json"], catch_exceptions=False)
    assert set(json.loads(as_json.output)) == set(read_vendors())


@pytest.mark.parametrize("words", [[], ["bundled", "heroku"], ["heroku", "--reset"], ["--list", "--reset"]])
def test_a_contradiction_is_a_usage_error(words) -> None:
    shown = CliRunner().invoke(main, ["buildpacks", "use", *words])
    assert (shown.exit_code, "Usage:" in shown.output) == (2, True)
