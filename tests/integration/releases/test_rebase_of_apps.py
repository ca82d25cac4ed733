"""Real apps are moved to another base without a build, answer as before, and stand on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from buildfarm.oci.manifest import ImageConfig
from buildfarm.releases.base import Base
from buildfarm.releases.compose import compose
from buildfarm.releases.models import Rebase
from buildfarm.releases.shelf import read_release
from testkit.buildpacks import SHEBANG, succeeded
from testkit.builds import EXAMPLES, wait_for, write_files
from testkit.registry.builder import push_patched
from testkit.registry.reading import read_builder
from testkit.registry.validate import validate
from testkit.serving import serving
from workers.export.app_files import APP_USER

PATCHED = "/opt/patched/bin"
FILES = {"etc/patched": "yes\n", f"{PATCHED[1:]}/which-base": "#!/bin/sh\necho patched\n"}
CREATED = "2999-01-01T00:00:00Z"  # newer than any builder


@pytest.fixture(scope="module")
def patched(built):
    """The farm's builder with two more files and another PATH, variable and label."""
    builder = read_builder(built.farm)
    runtime = json.loads(builder.config)["config"]
    variables = dict(line.split("=", 1) for line in runtime["Env"])
    variables |= {"PATH": f"{PATCHED}:{variables['PATH']}", "OF_THE_BASE": "new"}
    env = [f"{name}={value}" for name, value in variables.items()]
    labels = {**runtime["Labels"], "org.example.patch": "1"}
    return push_patched(built.farm.registry, builder, FILES, CREATED, Env=env, Labels=labels)


@pytest.fixture(scope="module")
def of_another_stack(built):
    """The farm's builder with a label that keeps apps off it."""
    builder = read_builder(built.farm)
    labels = {**json.loads(builder.config)["config"]["Labels"], "io.buildpacks.stack.id": "another"}
    return push_patched(built.farm.registry, builder, {"etc/another": ""}, CREATED, Labels=labels)


def image_of(farm, repository, digest):
    manifest, _ = farm.registry.read_manifest(repository, digest)
    return manifest, ImageConfig.parse(farm.registry.read_blob(repository, manifest.config.digest))


def base_of(farm, reference):
    repository, _, digest = reference.partition("@")
    manifest, found = farm.registry.read_manifest(repository, digest)
    return Base(repository, found, manifest, farm.registry.read_blob(repository, manifest.config.digest))


@contextmanager
def running(farm, repository, digest):
    image = f"{farm.registry.host}/{repository}@{digest}"
    command = [
        "docker",
        "run",
        "--detach",
        "--quiet",
        "--init",
        "--publish",
        "127.0.0.1::8080",
        "--env",
        "PORT=8080",
        image,
    ]
    container = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield container
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", container], check=True, capture_output=True)
        subprocess.run(["docker", "image", "rm", image], check=False, capture_output=True)


def inside(container, *command):
    return subprocess.run(
        ["docker", "exec", container, *command], check=True, capture_output=True, text=True
    ).stdout.strip()


def answer(container):
    port = subprocess.run(["docker", "port", container, "8080/tcp"], check=True, capture_output=True, text=True).stdout
    found = []

    def asked():
        try:
            with urllib.request.urlopen(f"http://{port.split()[0]}/", timeout=5) as response:
                found.append(response.read())
        except OSError:
            return False
        return True

    wait_for(asked, 60)
    return found[0]


def test_an_app_answers_as_before_on_another_base(built, patched, record_property):
    farm, tenant = built.farm, built.tenant
    result = succeeded(built, built(EXAMPLES / "python", "moved"))
    before_manifest, before_config = image_of(farm, result.repository, result.digest)
    planned = farm.rebase(tenant, "moved", base=patched, dry_run=True)
    assert (planned.moved, planned.previous, planned.base) == (False, result.digest, patched)
    assert not farm.registry.has_manifest(result.repository, planned.image)
    started = time.monotonic()
    moved = farm.rebase(tenant, "moved", base=patched)
    record_property("seen", f"moved in {time.monotonic() - started:.3f} s")
    assert isinstance(moved, Rebase)
    assert moved.image == planned.image
    assert farm.registry.get_manifest(result.repository, "latest")[2] == moved.image
    assert farm.records.tag_target(result.repository) == moved.image
    manifest, config = image_of(farm, result.repository, moved.image)
    own = [layer for layer in result.layers if layer.origin != "builder"]
    assert [one.digest for one in manifest.layers[-len(own) :]] == [layer.digest for layer in own]
    sound = {(layer.digest, layer.diff_id) for layer in result.layers if layer.origin == "builder"}
    validate(farm.registry, result.repository, moved.image, app_layers=len(own), owners=(0, APP_USER), sound=sound)
    with running(farm, result.repository, result.digest) as old, running(farm, result.repository, moved.image) as new:
        assert answer(new) == answer(old)
        assert inside(new, "which-base") == "patched"
        assert inside(new, "sh", "-c", "echo $OF_THE_BASE") == "new"
        assert inside(new, "sh", "-c", "cat /app/app.py") == inside(old, "sh", "-c", "cat /app/app.py")
    assert config.runtime["Labels"]["org.example.patch"] == "1"
    assert config.runtime["Entrypoint"] == before_config.runtime["Entrypoint"]
    # What was stored makes the published image again.
    release = read_release(farm.registry, result.repository, before_manifest)
    made = compose(release, base_of(farm, farm.builder()))
    assert (made.digest, made.config) == (
        result.digest, farm.registry.read_blob(result.repository, before_manifest.config.digest),
    )  # fmt: skip
    shown = farm.app_image(tenant, "moved")
    assert (shown.image, shown.base, shown.is_current) == (moved.image, patched, False)
    assert [one.previous for one in shown.rebases] == [result.digest]
    assert not farm.rebase(tenant, "moved", base=patched).moved
    # The farm's own builder has no date, so it is not known to be older.
    assert farm.rebase(tenant, "moved").image == result.digest


def test_the_next_build_of_a_moved_app_reuses_its_layers_and_stands_on_the_builder(built, patched):
    farm = built.farm
    first = succeeded(built, built(EXAMPLES / "static", "again"))
    farm.rebase(built.tenant, "again", base=patched)
    second = succeeded(built, built(EXAMPLES / "static", "again", cached_result=False))
    assert second.digest == first.digest
    assert all(layer.reused for layer in second.layers)
    assert farm.app_image(built.tenant, "again").image == first.digest


CNB = """
layers=$1
mkdir -p $layers/tool/bin
printf '#!/bin/bash\\necho "tool"\\n' >$layers/tool/bin/tool; chmod +x $layers/tool/bin/tool
printf '[types]\\nlaunch = true\\n' >$layers/tool.toml
cat >$layers/launch.toml <<TOML
[[processes]]
type = "web"
command = ["sh", "-c", "tool; which-base; echo $PATH"]
default = true
TOML
"""


def test_an_app_of_cloud_native_buildpacks_moves_with_what_its_labels_say(built, patched, tmp_path):
    farm = built.farm
    toml = 'api = "0.10"\n[buildpack]\nid = "probe/moved"\nversion = "1.2.3"\n'
    folder = tmp_path / "buildpack"
    write_files(folder, {"bin/detect": SHEBANG + "exit 0\n", "bin/build": SHEBANG + CNB, "buildpack.toml": toml})
    write_files(tmp_path / "app", {"index": "1"})
    buildpack = str(farm.pack_buildpack(folder))
    result = succeeded(built, built(tmp_path / "app", "cnb", buildpacks=(buildpack,)))
    moved = farm.rebase(built.tenant, "cnb", base=patched)
    _, before = image_of(farm, result.repository, result.digest)
    manifest, after = image_of(farm, result.repository, moved.image)
    base = base_of(farm, patched)
    name = f"{farm.registry.host}/{base.repository}:stable"
    labels = {before: json.loads(one.runtime["Labels"]["io.buildpacks.lifecycle.metadata"]) for before, one in
              ((True, before), (False, after))}  # fmt: skip
    assert labels[False].pop("runImage") == {
        "topLayer": base.config.diff_ids[-1], "reference": f"{farm.registry.host}/{patched}", "image": name,
    }  # fmt: skip
    assert labels[True].pop("runImage")["reference"] == f"{farm.registry.host}/{farm.builder()}"
    assert labels[True] == labels[False]
    for told in (manifest.annotations, after.runtime["Labels"]):
        assert told["org.opencontainers.image.base.name"] == name
        assert told["org.opencontainers.image.base.digest"] == base.digest
    assert after.runtime["Labels"]["io.buildpacks.stack.id"] == before.runtime["Labels"]["io.buildpacks.stack.id"]
    environment = dict(line.split("=", 1) for line in after.runtime["Env"])
    assert environment["PATH"].startswith(f"/cnb/process:/cnb/lifecycle:{PATCHED}:")
    image = f"{farm.registry.host}/{result.repository}@{moved.image}"
    subprocess.run(["docker", "pull", "--quiet", image], check=True, capture_output=True)
    told = subprocess.run(
        ["docker", "run", "--rm", "--network=none", image], check=True, capture_output=True, text=True
    )
    assert told.stdout.splitlines()[:2] == ["tool", "patched"]


def test_an_app_is_moved_on_the_command_line(built, patched, of_another_stack):
    succeeded(built, built(EXAMPLES / "static", "line"))
    app, namespace = f"{built.tenant}/line", built.farm.settings.namespace

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "buildfarm", "apps", *words], capture_output=True, text=True, check=False,
            env={**os.environ, "BUILDFARM_NAMESPACE": namespace},
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    code, told, _ = run("rebase", app, "--to", patched.partition("@")[2], "--dry-run")
    assert (code, told.splitlines()[0]) == (0, f"{app} would move to {patched}.")
    planned = told.splitlines()[1]
    code, told, _ = run("rebase", app, "--to", patched, "--json")
    assert code == 0
    assert (json.loads(told)["image"], json.loads(told)["moved"]) == (planned, True)
    assert run("rebase", app, "--to", patched)[:2] == (0, f"{app} is on {patched} already.\n")
    code, _, told = run("rebase", app, "--to", of_another_stack)
    assert code == 2
    assert told.startswith(
        f"request.not_rebasable: The app {app} cannot be moved to {of_another_stack}: its stack is another"
    )
    code, told, _ = run("show", app)
    assert code == 0
    assert planned in told
    assert f"base     {patched} (builds use another one now)" in told
    assert f"moved from {built.farm.builder()} to {patched}" in told
    assert run("show", "no-slash")[0] == run("show", "a/B")[0] == 2


def test_an_app_is_moved_over_http(built, patched, of_another_stack):
    succeeded(built, built(EXAMPLES / "static", "http"))
    tenant = built.tenant
    with serving(built.farm) as api:
        with api.as_(tenant, "read", "submit") as own:
            shown = own.get(f"/v1/apps/{tenant}/http/image").json()
            assert (shown["is_current"], shown["rebases"]) == (True, [])
            assert own.post(f"/v1/apps/{tenant}/http/rebase", json={}).status_code == 403
        with api.as_("other", "read") as other:
            assert other.get(f"/v1/apps/{tenant}/http/image").status_code == 404
        with api.as_(None, "read", "submit") as operator:
            path = f"/v1/apps/{tenant}/http/rebase"
            planned = operator.post(path, json={"base": patched, "dry_run": True}).json()
            assert (planned["moved"], planned["previous"]) == (False, shown["image"])
            moved = operator.post(path, json={"base": patched}).json()
            assert (moved["moved"], moved["image"]) == (True, planned["image"])
            refused = operator.post(path, json={"base": of_another_stack})
            assert (refused.status_code, refused.json()["code"]) == (422, "request.not_rebasable")
            unknown = operator.post(path, json={"base": f"builder@sha256:{'0' * 64}"})
            assert (unknown.status_code, unknown.json()["code"]) == (422, "request.invalid")
            assert operator.post(f"/v1/apps/{tenant}/absent/rebase", json={}).status_code == 404
            entries = operator.get(f"/v1/apps/{tenant}/http/image").json()["rebases"]
            assert [one["image"] for one in entries] == [moved["image"]]
