"""Branches and tags of sources and buildpacks on a farm: exactly the named one, and no old image for a new commit."""

from __future__ import annotations

import re

import pytest

from buildfarm.sources.address import GitSource
from testkit.buildpacks import SHEBANG, failed, succeeded
from testkit.builds import gateway_of, write_files
from testkit.git_server import git_server

REFS = ["main", "v1", "refs/heads/main", "fix#12", "+next", "a@b"]


def buildpack(text):
    return {"bin/detect": f"{SHEBANG}echo Served", "bin/compile": f"{SHEBANG}echo {text} | tee $1/mark"}


@pytest.fixture(scope="module")
def served(built, tmp_path_factory):
    with git_server(tmp_path_factory.mktemp("served"), gateway_of(built.farm.settings.sandbox_network)) as server:
        yield server


@pytest.fixture(scope="module")
def repository(served):
    """A buildpack whose branches and tags have a namesake each, which is another buildpack."""
    made = served.repository("bp.git")
    for name in REFS:
        full = f"refs/tags/{name}" if name == "v1" else f"refs/heads/{name.removeprefix('refs/heads/')}"
        made.commit(full, buildpack(f"GOOD {name}"))
        made.commit(full.replace("heads/", "heads/zoe/").replace("tags/", "tags/beta/"), buildpack("BAD"))
    made.commit("refs/heads/main", buildpack("GOOD main"))
    return made


@pytest.mark.parametrize("place", ["request", "file"])
@pytest.mark.parametrize("ref", REFS)
@pytest.mark.kind("refs")
def test_a_buildpack_comes_from_the_branch_or_tag_of_this_name(  # noqa: PLR0917
    built, served, repository, tmp_path, place, ref, record_property
):
    address = f"{served.url}/bp.git#{ref}"
    files = {"x": "1", **({".buildpacks": f"{address}\n"} if place == "file" else {})}
    named = [str(built.farm.pin(address))] if place == "request" else []
    build = built(write_files(tmp_path, files), "refs", buildpacks=named, cached_result=False)
    log = built.log(build)
    record_property("seen", f"{place}: {ref} is {' '.join(re.findall('(?:GOOD|BAD).*', log))}")
    full = ref if ref.startswith("refs/") or ref == "v1" else f"refs/heads/{ref}"
    assert succeeded(built, build).buildpacks[0].source == f"{served.url}/bp.git#{repository.git('rev-parse', full)}"
    assert "GOOD" in log and "BAD" not in log


@pytest.mark.parametrize("ref", ["main", "v1", "fix#12", "+next", "a;$(id)"])
@pytest.mark.kind("refs")
def test_a_source_is_the_commit_of_the_branch_or_tag_of_this_name(built, served, ref, record_property):
    made = served.repository(f"app-{len(ref)}.git")
    full = f"refs/tags/{ref}" if ref == "v1" else f"refs/heads/{ref}"
    commit = made.commit(full, {"index.html": "right"})
    made.commit(full.replace("heads/", "heads/zoe/").replace("tags/", "tags/beta/"), {"index.html": "wrong"})
    source = GitSource(url=f"{served.url}/app-{len(ref)}.git#{ref}")
    build = built.request(app="source", source=source, buildpacks=("static",), cached_result=False)
    succeeded(built, build)
    assert f"Commit {commit}" in built.log(build)
    record_property("seen", f"{ref} is the commit {commit[:7]}")


@pytest.mark.kind("refs")
def test_a_ref_that_is_only_a_names_end_fails_the_build(built, served, repository, tmp_path, record_property):
    build = built(write_files(tmp_path, {".buildpacks": f"{served.url}/bp.git#ext\n"}), "end")
    failed(build, "app.detect", "has no branch or tag 'ext'")
    record_property("seen", "ext is not +next")


@pytest.mark.parametrize("file", [".buildpacks", "project.toml", "app.json"])
@pytest.mark.kind("refs")
def test_a_build_is_repeated_while_the_apps_files_name_a_branch(built, served, tmp_path, file, record_property):
    name = f"moving-{file.strip('.').partition('.')[0]}"
    made = served.repository(f"{name}.git")
    address = f"{served.url}/{name}.git#main"
    text = {
        ".buildpacks": f"{address}\n",
        "project.toml": f'[[io.buildpacks.group]]\nuri = "{address}"\n',
        "app.json": f'{{"buildpacks": [{{"url": "{address}"}}]}}',
    }[file]
    folder = write_files(tmp_path, {file: text})
    made.commit("refs/heads/main", buildpack("one"))
    first = built(folder, name)
    made.commit("refs/heads/main", buildpack("two"))
    second = built(folder, name)
    assert succeeded(built, first).digest != succeeded(built, second).digest
    assert second.result_of is None
    assert "two" in built.log(second)
    record_property("seen", f"{file}: the second build has the branch's new commit")
