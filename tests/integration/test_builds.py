"""Builds from source to running image, on a real node; and everything that can be wrong with a source."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import shutil
import subprocess
import tarfile
import threading

import pytest

from buildfarm.errors import TooLargeError
from buildfarm.model import BuildRequest, Fault, Phase, State
from buildfarm.oci.manifest import ImageConfig, Manifest
from buildfarm.sources.address import ArchiveSource, ArtifactSource, GitSource
from testkit.builds import EXAMPLES, gateway_of, wait_for, write_files
from testkit.registry.validate import validate


@pytest.fixture(autouse=True)
def nothing_left_behind(built):
    """After every build, however it ended, the node is as it was before."""
    yield
    wait_for(lambda: not built.node.left_behind(), 60, built.node.left_behind)


SOUND = set()


def config_of(built, build):
    media_type, content, _ = built.farm.registry.get_manifest(build.result.repository, build.result.digest)
    manifest = Manifest.parse(content, media_type)
    return ImageConfig.parse(built.farm.registry.read_blob(build.result.repository, manifest.config.digest)).runtime


def run_image(built, build, *command):
    """What a command in the image prints."""
    image = built.farm.image(build)
    done = subprocess.run(
        ["docker", "run", "--rm", "--network=none", image, *command], capture_output=True, text=True, check=False
    )
    return done.stdout


def succeeded(built, build):
    assert build.state is State.SUCCEEDED, f"{build.failure}\n{built.log(build)}"
    result = build.result
    # The builder is read once a run, by the first build; it is the same below every other image.
    builder = [layer for layer in result.layers if layer.origin == "builder"]
    own = len(result.layers) - len(builder)
    validate(built.farm.registry, result.repository, result.digest, app_layers=own, owners=(0, 1000), sound=SOUND)
    SOUND.update((layer.digest, layer.diff_id) for layer in builder)
    return result


def failed(build, code, told):
    assert build.state is State.FAILED
    assert (build.failure.code, build.failure.fault) == (code, Fault(code.partition(".")[0]))
    assert told in build.failure.message + " " + build.failure.advice
    assert build.finished_at is not None


def test_a_python_app_is_built_twice_the_same_and_sent_once(built):
    cold = built(EXAMPLES / "python", "python")
    cached = built(EXAMPLES / "python", "python", cached_result=False)
    first, second = succeeded(built, cold), succeeded(built, cached)
    assert "Restored from the cache" not in built.log(cold)
    assert "Restored from the cache" in built.log(cached)
    assert first.uploaded_bytes > 1_000_000
    assert (second.digest, second.uploaded_bytes) == (first.digest, 0)
    assert first.process_types["web"] == "gunicorn --bind 0.0.0.0:$PORT --access-logfile - app:app"
    assert set(first.phase_seconds) == set(Phase) - {Phase.SMOKE}


def test_a_change_of_code_moves_only_code(built, tmp_path):
    shutil.copytree(EXAMPLES / "python", tmp_path / "app")
    first = succeeded(built, built(tmp_path / "app", "redeploy"))
    (tmp_path / "app/app.py").write_text((tmp_path / "app/app.py").read_text() + "# a comment\n")
    second = succeeded(built, built(tmp_path / "app", "redeploy"))
    moved = [layer.origin for layer in second.layers if not layer.reused]
    assert moved == ["source"]
    assert 0 < second.uploaded_bytes < 2000
    assert [layer.digest for layer in first.layers[:-1]] == [layer.digest for layer in second.layers[:-1]]


def test_pythons_compiled_files_stay_valid_in_the_image(built):
    build = built(EXAMPLES / "python", "python")
    script = (
        "import flask, importlib.util, pathlib; path = importlib.util.cache_from_source(flask.__file__);"
        "print(pathlib.Path(path).read_bytes()[4])"
    )
    # PEP 552: 1 is hash-based and not checked against the source
    assert run_image(built, build, "python", "-c", script).strip() == "1"


def test_a_node_app_runs_its_build_script_and_drops_what_only_that_needs(built):
    build = built(EXAMPLES / "node", "node")
    assert succeeded(built, build).process_types["web"] == "node server.js"
    listed = run_image(built, build, "bash", "-c", "ls dist; ls node_modules | grep -c clean-css")
    assert listed.split() == ["style.css", "0"]


def test_the_image_says_what_it_is(built):
    build = built(EXAMPLES / "static", "static")
    result = succeeded(built, build)
    config = config_of(built, build)
    assert (config["Entrypoint"], config["Cmd"], config["User"]) == (["/start"], ["web"], "1000:1000")
    assert config["Labels"]["org.opencontainers.image.base.digest"] == built.farm.settings.builder.partition("@")[2]
    assert json.loads(config["Labels"]["io.buildfarm.process-types"]) == result.process_types
    media_type, _, tagged = built.farm.registry.get_manifest(result.repository, result.tag)
    assert (media_type, tagged) == ("application/vnd.docker.distribution.manifest.v2+json", result.digest)
    assert [layer.origin for layer in result.layers if layer.origin != "builder"] == ["made", "source"]
    assert all(layer.reused for layer in result.layers if layer.origin == "builder")


def test_config_vars_reach_the_buildpacks_and_not_the_image(built, tmp_path):
    scripts = {"build": "node -e \"fs.writeFileSync('seen', process.env.SECRET + process.env.STACK)\""}
    write_files(tmp_path, {"package.json": json.dumps({"scripts": scripts}), "Procfile": "web: cat seen"})
    build = built(tmp_path, "vars", env={"SECRET": "a b\n'c'"})
    succeeded(built, build)
    assert run_image(built, build) == "a b\n'c'trixie"
    assert not any("SECRET" in variable for variable in config_of(built, build)["Env"])


def test_processes_start_by_their_type_and_other_words_are_commands(built, tmp_path):
    procfile = 'web: echo web $PORT\nworker: echo worker "$@"; true\n'
    write_files(tmp_path, {"Procfile": procfile, ".profile.d/a.sh": "export GREETING=hello"})
    build = built(tmp_path, "types")
    succeeded(built, build)
    assert run_image(built, build).strip() == "web 8080"
    assert run_image(built, build, "worker", "one two").strip() == "worker one two"
    assert run_image(built, build, "bash", "-c", "echo $GREETING; pwd; id -u").split() == ["hello", "/app", "1000"]
    assert run_image(built, build, "nonsense") == ""


def test_a_tree_of_odd_files_arrives_as_it_was(built, tmp_path):
    write_files(tmp_path, {"Procfile": "web: true", "a b/ü\n.txt": "x", "run.sh": "#!/bin/sh\necho ran"})
    (tmp_path / "run.sh").chmod(0o4755)
    (tmp_path / "link").symlink_to("a b")
    (tmp_path / "dangling").symlink_to("/nowhere")
    build = built(tmp_path, "odd")
    succeeded(built, build)
    assert run_image(built, build, "./run.sh").strip() == "ran"
    listed = run_image(built, build, "bash", "-c", "stat -c '%a %U' run.sh; readlink link dangling; cat link/*; id -un")
    assert listed.split() == ["755", "app", "a", "b", "/nowhere", "xapp"]


def test_a_git_repository_at_a_ref(built, tmp_path, served):
    folder = write_files(tmp_path / "work", {"index.html": "one"})
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder)]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one"], ["tag", "v1"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    (folder / "index.html").write_text("two")
    subprocess.run([*git, "commit", "-qam", "two"], check=True, capture_output=True)
    bare = served.directory / "app.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(folder), str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "update-server-info"], check=True)
    url = f"{served.url}/app.git"
    for ref, content in (("v1", "one"), ("main", "two"), ("HEAD", "two")):
        build = built.request(source=GitSource(url=url, ref=ref), app="git")
        succeeded(built, build)
        assert run_image(built, build, "bash", "-c", "cat index.html; ls -A | grep -c git") == f"{content}0\n"
        commit = subprocess.run([*git, "rev-parse", ref], check=True, capture_output=True, text=True).stdout.strip()
        labels = config_of(built, build)["Labels"]
        assert labels["org.opencontainers.image.revision"] == commit
    failed(built.request(source=GitSource(url=url, ref="absent"), app="git"), "app.source", "could not be cloned")
    absent = GitSource(url=f"{served.url}/absent.git")
    failed(built.request(source=absent, app="git"), "app.source", "could not be cloned")


def test_an_archive_with_its_digest(built, tmp_path, served):
    write_files(tmp_path / "top", {"index.html": "hi"})
    archive = served.directory / "app.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "top", arcname="top-1.0")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    url = f"{served.url}/app.tar.gz"
    build = built.request(source=ArchiveSource(url=url, sha256=sha256), app="archive")
    succeeded(built, build)
    assert run_image(built, build, "cat", "index.html") == "hi"
    for folder, entries in (("flat", ["index.html"]), ("dotted", ["."])):
        flat = served.directory / f"{folder}.tar"
        subprocess.run(["tar", "-C", str(tmp_path / "top"), "-cf", str(flat), *entries], check=True)
        digest = hashlib.sha256(flat.read_bytes()).hexdigest()
        build = built.request(source=ArchiveSource(url=f"{served.url}/{folder}.tar", sha256=digest), app="archive")
        succeeded(built, build)
        assert run_image(built, build, "cat", "index.html") == "hi"
    other = built.request(source=ArchiveSource(url=url, sha256="0" * 64), app="archive")
    failed(other, "app.source", "could not be fetched")
    assert any(sha256 in line for line in other.failure.log_tail)
    absent = ArchiveSource(url=f"{served.url}/absent", sha256=sha256)
    failed(built.request(source=absent, app="archive"), "app.source", "could not be fetched")
    no_archive = served.directory / "text"
    no_archive.write_text("no archive")
    text = ArchiveSource(url=f"{served.url}/text", sha256=hashlib.sha256(b"no archive").hexdigest())
    failed(built.request(source=text, app="archive"), "app.source", "could not be fetched")


def test_an_app_that_no_buildpack_takes(built, tmp_path):
    write_files(tmp_path, {"README": "nothing"})
    build = built(tmp_path, "nothing")
    failed(build, "app.detect", "No buildpack detects this app.")
    assert build.failure.phase is Phase.DETECT
    assert "There is README at the source's top." in build.failure.advice
    told = [line.text for line in built.farm.logs(build.id)][-2:]
    assert told[0] == " !     No buildpack detects this app."
    assert "There is README at the source's top." in told[1]


def test_a_buildpack_that_is_asked_for_is_used_or_refused(built, tmp_path):
    write_files(tmp_path, {"index.html": "", "Procfile": "web: true"})
    assert succeeded(built, built(tmp_path, "asked", buildpacks=["procfile"])).buildpacks[0].name == "procfile"
    assert succeeded(built, built(tmp_path, "asked", buildpacks=["static", "procfile"])).process_types["web"] == "true"
    asked = built(tmp_path, "asked", buildpacks=["python"])
    failed(asked, "app.detect", "'python' refuses this app")
    assert "looks for requirements.txt or pyproject.toml. There is " in asked.failure.advice
    failed(built(tmp_path, "asked", buildpacks=["unheard-of"]), "app.detect", "no buildpack named 'unheard-of'")


def test_a_compile_that_fails_shows_its_last_lines(built, tmp_path):
    write_files(tmp_path, {"requirements.txt": "a-package-that-nobody-made==1.0\n"})
    build = built(tmp_path, "broken")
    failed(build, "app.compile", "python failed with exit code 1")
    assert any("a-package-that-nobody-made" in line for line in build.failure.log_tail)
    assert not built.farm.registry.has_manifest(build.request.repository, "latest")


def test_a_package_json_that_is_none(built, tmp_path):
    write_files(tmp_path, {"package.json": "{"})
    build = built(tmp_path, "broken")
    failed(build, "app.compile", "nodejs failed")
    assert any("not valid JSON" in line for line in build.failure.log_tail)


def test_a_procfile_with_garbage_names_its_line(built, tmp_path):
    write_files(tmp_path, {"Procfile": "web: true\n<html>\n"})
    failed(built(tmp_path, "garbage"), "app.compile", "Procfile, line 2")


def test_a_source_that_is_not_in_the_registry(built):
    source = ArtifactSource(repository="sources/test", digest="sha256:" + "0" * 64)
    failed(built.request(source=source), "app.source", "is not in the registry")


def test_a_source_over_the_limit_is_not_sent(built, tmp_path):
    write_files(tmp_path, {"index.html": ""})
    with (tmp_path / "big").open("wb") as file:
        file.truncate(built.farm.settings.source_bytes + 1)
    with pytest.raises(TooLargeError, match="The source is larger than"):
        built.farm.pack(tmp_path, built.tenant)


def test_a_running_build_is_cancelled(built, tmp_path):
    write_files(tmp_path, {"package.json": json.dumps({"scripts": {"build": "sleep 300"}})})
    source, _ = built.farm.pack(tmp_path, built.tenant)
    build = built.farm.submit(BuildRequest(tenant=built.tenant, app="slow", source=source))
    wait_for(lambda: "sleep 300" in built.log(build), 60)
    assert built.farm.cancel(build.id) is State.RUNNING
    assert built.ended(build.id).state is State.CANCELLED


class Served:
    """A folder of this machine over HTTP, where sandboxes reach it."""

    def __init__(self, directory, address):
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
        handler.log_message = lambda *arguments: None
        self.directory = directory
        self.server = http.server.ThreadingHTTPServer((address, 0), handler)
        self.url = f"http://{address}:{self.server.server_address[1]}"


@pytest.fixture
def served(built, tmp_path):
    """On the sandboxes' own bridge, so that nobody else can ask it."""
    gateway = gateway_of(built.farm.settings.sandbox_network)
    directory = tmp_path / "served"
    directory.mkdir()
    served = Served(directory, gateway)
    thread = threading.Thread(target=served.server.serve_forever)
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()
