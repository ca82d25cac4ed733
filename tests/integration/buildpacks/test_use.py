"""`buildfarm buildpacks use`: a vendor's repositories, here of a local git server, become the farm's order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.access import Audit
from buildfarm.buildpacks.vendors import read_vendors
from testkit.buildpacks import SHEBANG, succeeded
from testkit.builds import gateway_of, write_files
from testkit.git_server import Repository, git_server
from testkit.serving import serving

TAKES = {"nodejs": "package.json", "python": "requirements.txt", "php": "composer.json"}


@pytest.fixture(scope="module")
def mirror(built, tmp_path_factory):
    """What each vendor has, each taking apps by one file, with two releases and a newer branch."""
    with git_server(tmp_path_factory.mktemp("mirror"), gateway_of(built.farm.settings.sandbox_network)) as server:
        for vendor in read_vendors().values():
            for url in vendor.urls:
                path = url.removeprefix("https://github.com/")
                file = next((file for name, file in TAKES.items() if name in path), "absent")
                refs = {ref: buildpack(f"{path} {ref}", file) for ref in ("tags/v9", "tags/v10", "heads/main")}
                server.repository(path).commits({f"refs/{ref}": files for ref, files in refs.items()})
        yield server


def buildpack(text, file):
    return {
        "bin/detect": f"{SHEBANG}[ -f $1/{file} ] && echo Vendor",
        "bin/compile": f"{SHEBANG}echo 'COMPILED BY {text}'",
        "bin/release": f"{SHEBANG}echo 'default_process_types: {{web: true}}'",
    }


def run(built, *arguments, code=0, **variables):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]),
                   "BUILDFARM_NAMESPACE": built.farm.settings.namespace, **variables}  # fmt: skip
    command = [sys.executable, "-m", "buildfarm", "buildpacks", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")


@pytest.fixture(autouse=True)
def default_order(built):
    yield
    built.farm.order_buildpacks([])


def test_a_vendors_buildpacks_build_apps_at_the_commits_of_the_moment(built, mirror, app):
    shown = run(built, "use", "heroku", "--mirror", mirror.url).splitlines()
    assert [line.split()[0] for line in shown] == list(built.farm.buildpacks())
    assert {line.split()[1] for line in shown} == {"v10"}
    first = built(app({"package.json": "{}"}), "vendor", cached_result=False)
    used = succeeded(built, first).buildpacks[0]
    assert used.source == built.farm.buildpacks()[1]
    assert "COMPILED BY heroku/heroku-buildpack-nodejs.git tags/v10" in built.log(first)
    Repository(mirror.folder / "heroku/heroku-buildpack-nodejs.git").commit(
        "refs/tags/v11", buildpack("NEWER", "package.json")
    )
    mirror.asked.clear()
    second = built(app({"package.json": "{}", "x": "1"}), "vendor", cached_result=False)
    assert succeeded(built, second).buildpacks[0] == used
    assert mirror.asked == []  # the node has those that it asked before
    run(built, "use", "heroku", "--mirror", mirror.url)
    third = built(app({"package.json": "{}", "x": "2"}), "vendor", cached_result=False)
    assert "COMPILED BY NEWER" in built.log(third)


def test_an_order_that_cannot_be_resolved_changes_nothing(built, mirror):
    run(built, "use", "scalingo", "--mirror", mirror.url)
    order = built.farm.buildpacks()
    assert len(order) == len(read_vendors()["scalingo"].urls)
    told = run(built, "use", "nodejs", f"{mirror.url}/heroku/heroku-buildpack-go.git#v8", code=2)
    assert "has no branch or tag 'v8'" in told
    assert "cannot be read" in run(built, "use", "heroku", "--mirror", f"{mirror.url}/absent", code=2)
    assert built.farm.buildpacks() == order
    assert run(built, "use", "bundled") == "The builder's default order.\n"
    assert built.farm.buildpacks() == ()


def test_names_addresses_and_folders_are_taken_too(built, mirror, tmp_path):
    folder = write_files(tmp_path / "own", buildpack("OWN", "own.txt"))
    address = f"{mirror.url}/Scalingo/go-buildpack.git"
    order = json.loads(run(built, "use", "static", f"{address}#v*", f"{folder}/", "--json"))
    commit = Repository(mirror.folder / "Scalingo/go-buildpack.git").git("rev-parse", "v10")
    assert order[:2] == ["static", f"{address}#{commit}"]
    assert order[2].startswith("oci:buildpacks/own@sha256:")
    assert built.farm.buildpacks() == tuple(order)
    assert run(built, "use", "--reset", "--json") == "[]\n"


def test_over_http_the_api_stores_the_order_and_notes_who_set_it(built, mirror, tmp_path):
    with serving(built.farm) as api:
        token = api.token(None, "read", "admin")
        over_http = {"BUILDFARM_URL": api.url, "BUILDFARM_TOKEN": token}
        run(built, "use", "scalingo", "--mirror", mirror.url, **over_http)
        order = built.farm.buildpacks()
        assert [entry.rpartition("/")[2].partition(".")[0] for entry in order][:2] == [
            "clojure-buildpack",
            "go-buildpack",
        ]
        newest = Audit(built.farm.database).newest(1)[0]
        assert (newest.verb, newest.object.split(), newest.result) == ("buildpacks.order", list(order), "done")
        folder = write_files(tmp_path / "own", buildpack("OWN", "own.txt"))
        assert "only from the farm's own machines" in run(built, "use", f"{folder}/", code=2, **over_http)
        assert "only the farm's own machines" in run(built, "use", "oci:buildpacks/x:v1", code=2, **over_http)
        with api.as_(None, "read", "admin") as operator:
            answer = operator.put("/v1/buildpacks", json={"buildpacks": [f"{mirror.url}/x.git#main"]})
            assert (answer.status_code, "can change: name its commit" in answer.text) == (422, True)
        for tenant, scopes in (("shop", ("read", "submit")), (None, ("read",))):
            with api.as_(tenant, *scopes) as other:
                assert other.put("/v1/buildpacks", json={"buildpacks": []}).status_code == 403
        assert built.farm.buildpacks() == order
