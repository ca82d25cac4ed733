"""Where buildpacks come from: a git repository, an archive, the registry; each pinned, kept on the node, and named."""

from __future__ import annotations

import functools
import hashlib
import http.server
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from buildfarm.errors import RequestError
from testkit.buildpacks import SHEBANG, failed, succeeded
from testkit.builds import Builds, build_node, gateway_of, write_files


@pytest.fixture(scope="module")
def served(built, tmp_path_factory):
    """A folder over HTTP on the sandboxes' own bridge, with a git repository of two commits and an archive."""
    address = gateway_of(built.farm.settings.sandbox_network)
    folder = tmp_path_factory.mktemp("served")
    handler = functools.partial(_Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer((address, 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    work = write_files(folder / "work", {"bin/detect": SHEBANG + "echo Served", "bin/compile": SHEBANG + "echo ONE"})
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(work)]
    for command in (["init", "-qb", "main"], ["add", "."], ["commit", "-qm", "one"], ["tag", "-a", "v1", "-m", "one"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    (work / "bin/compile").write_text(SHEBANG + "echo TWO")
    subprocess.run([*git, "commit", "-qam", "two"], check=True, capture_output=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(folder / "served.git")], check=True)
    subprocess.run(["git", "-C", str(folder / "served.git"), "update-server-info"], check=True)
    with tarfile.open(folder / "packed.tar.gz", "w:gz") as archive:
        archive.add(work, "packed-1.0", filter=lambda item: None if ".git" in item.name else item)
    _Handler.asked.clear()
    yield f"http://{address}:{server.server_address[1]}", folder
    server.shutdown()
    thread.join()
    server.server_close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - one for all of them

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *arguments):
        pass


def test_a_git_repository_is_pinned_kept_and_named_with_its_digest(built, served, app):
    url = f"{served[0]}/served.git"
    builds = {ref: built(app(), "git", buildpacks=[f"{url}#{ref}"], cached_result=False) for ref in ("v1", "main")}
    used = {ref: succeeded(built, build).buildpacks[0] for ref, build in builds.items()}
    commit = subprocess.run(
        ["git", "-C", str(served[1] / "work"), "rev-parse", "v1^{commit}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert used["v1"].source == f"{url}#{commit}"
    assert used["v1"].digest != used["main"].digest
    assert "ONE" in built.log(builds["v1"])
    assert "TWO" in built.log(builds["main"])
    _Handler.asked.clear()
    again = built(app(), "git", buildpacks=[used["v1"].source], cached_result=False)
    assert succeeded(built, again).buildpacks[0] == used["v1"]
    assert _Handler.asked == []  # the node had it


@pytest.mark.parametrize(("ref", "remembered"), [("v1^{commit}", True), ("main", False)], ids=["commit", "branch"])
def test_an_equal_build_is_answered_with_its_image_only_if_the_apps_files_pin_buildpacks(
    built, served, app, ref, remembered
):
    named = ref
    if remembered:
        ask = ["git", "-C", str(served[1] / "work"), "rev-parse", ref]
        named = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    folder, name = app({".buildpacks": f"{served[0]}/served.git#{named}\n"}), f"memo-{len(named)}"
    first = built(folder, name)
    assert succeeded(built, first).buildpacks[0].source.startswith(f"{served[0]}/served.git#")
    assert built(folder, name).result_of == (first.id if remembered else None)


def test_an_archive_is_taken_with_its_digest_or_as_it_is(built, served, app):
    url = f"{served[0]}/packed.tar.gz"
    sha256 = hashlib.sha256((served[1] / "packed.tar.gz").read_bytes()).hexdigest()
    named = built(app(), "archive", buildpacks=[f"{url}#sha256={sha256}"])
    plain = built(app(), "archive", buildpacks=[url])
    assert succeeded(built, named).buildpacks[0].digest == succeeded(built, plain).buildpacks[0].digest
    wrong = built(app(), "archive", buildpacks=[f"{url}#sha256={'0' * 64}"])
    failed(wrong, "app.detect", "could not be fetched", f"has the SHA-256 {sha256}")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/served.git#absent", "has no branch or tag 'absent'"),
        (f"/served.git#{'0' * 40}", "could not be fetched"),
        ("/nothing.git", "cannot be reached"),
        ("/nothing.tgz", "could not be fetched"),
    ],
)
def test_what_is_not_there_is_named(built, served, app, path, told):
    failed(built(app(), "absent", buildpacks=[served[0] + path]), "app.detect", told, served[0])


def test_one_that_the_registry_has_not(built, app):
    absent = f"oci:buildpacks/absent@sha256:{'0' * 64}"
    failed(built(app(), "absent", buildpacks=[absent]), "app.detect", "is not in the farm's registry")


def test_whoever_names_a_branch_gets_what_it_is_now(built, served):
    pinned = built.farm.pin(f"{served[0]}/served.git#v1")
    assert pinned.pinned and str(pinned).startswith(f"{served[0]}/served.git#")
    archive = built.farm.pin(f"{served[0]}/packed.tar.gz")
    assert archive.sha256 == hashlib.sha256((served[1] / "packed.tar.gz").read_bytes()).hexdigest()
    for wrong in ("/served.git#absent", "/nothing.git", "/nothing.tgz"):
        with pytest.raises(RequestError):
            built.farm.pin(served[0] + wrong)


def test_the_farms_order_is_managed_from_the_command_line(built, served, tmp_path):
    environment_namespace = built.farm.settings.namespace
    folder = write_files(tmp_path / "own", {"bin/detect": SHEBANG + "echo Own", "bin/compile": SHEBANG})

    def run(*arguments, code=0):
        command = [sys.executable, "-m", "buildfarm", "buildpacks", *arguments]
        environment = {**_environment(), "BUILDFARM_NAMESPACE": environment_namespace}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return (done.stdout + done.stderr).splitlines()

    try:
        assert run("list") == ["The builder's default order. `buildfarm buildpacks add` starts an order of the farm."]
        assert run("add", "static", f"{served[0]}/served.git#v1")[0] == "static"
        added = run("add", f"{folder}/", "--at", "1")
        assert added[0].startswith("oci:buildpacks/own@sha256:")
        assert added[1:] == ["static", str(built.farm.pin(f"{served[0]}/served.git#v1"))]
        assert "is already in the order" in run("add", "static", code=2)[0]
        assert "does not name a buildpack" in run("add", "no/such", code=2)[0]
        assert run("remove", f"{served[0]}/served.git") == [added[0], "static"]
        assert "There is no python" in run("remove", "python", code=2)[0]
        run("remove", "oci:buildpacks/own")
        run("remove", "static")
        assert built.farm.buildpacks() == ()
    finally:
        built.farm.order_buildpacks([])


def test_herokus_profile_differs_where_the_two_differ(farm, pack_for, tmp_path):
    """Config vars in ENV_DIR alone, .slugignore before detect, and a Procfile type by type."""
    with build_node(farm, BUILDFARM_PROFILE="heroku") as node:
        builds = pack_for(farm, node)
        lines = 'echo "SEES=$(cd $1; ls | paste -sd,) VARIABLE=${GREETING-unset} FILE=$(cat $3/GREETING)"'
        probe = builds.pack(lines, "echo 'default_process_types: {web: default, worker: default}'")
        files = {".slugignore": "*.psd\n", "a.psd": "", "Procfile": "web: mine\n"}
        build = builds(write_files(tmp_path, files), "heroku", buildpacks=[probe], env={"GREETING": "hi"})
        assert succeeded(builds, build).process_types == {"web": "mine", "worker": "default"}
        assert "SEES=Procfile VARIABLE=unset FILE=hi" in builds.log(build)


@pytest.fixture
def pack_for(tmp_path_factory):
    class Packing(Builds):
        def pack(self, compile_lines, release_lines):
            folder = tmp_path_factory.mktemp("buildpack") / "differing"
            programs = {"detect": "echo Differing", "compile": compile_lines, "release": release_lines}
            write_files(folder, {f"bin/{name}": f"{SHEBANG}{body}\n" for name, body in programs.items()})
            return str(self.farm.pack_buildpack(folder))

    return Packing


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
