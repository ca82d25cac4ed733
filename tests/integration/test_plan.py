"""What a build would do, told without building; and what is told of an app that nobody takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from testkit.apps.samples import APPS
from testkit.builds import write_files


@pytest.fixture(scope="session")
def plan(services):
    """``plan(directory, …)`` is the ended `buildfarm plan`."""
    builder = f"{services.registry_url.partition('://')[2]}/{services.builder}"

    def run(directory, *options):
        command = [sys.executable, "-m", "buildfarm", "plan", str(directory), "--builder", builder, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_a_plan_says_buildpack_versions_steps_and_processes_and_why(plan):
    ended = plan(APPS / "go" / "commands")
    assert ended.returncode == 0, ended.stderr
    assert "language   go 1.24.3 (toolchain in go.mod)" in ended.stdout
    assert "step       go build -o bin/web ./cmd/web" in ended.stdout
    assert "process    web: bin/web" in ended.stdout


def test_a_plan_as_json_names_the_problems_of_the_app_and_ends_with_its_fault(plan):
    ended = plan(APPS / "rust" / "fails-library", "--json")
    assert ended.returncode == 1
    assert "Cargo.toml has no program" in json.loads(ended.stdout)["problems"][0]


def test_a_procfile_wins_and_the_apps_own_files_name_buildpacks(plan, tmp_path):
    files = {".buildpacks": "apt\nprocfile\n", "Aptfile": "cowsay\n", "Procfile": "web: cowsay\n", "index.html": ""}
    made = json.loads(plan(write_files(tmp_path, files), "--json").stdout)
    assert [one["buildpack"] for one in made["buildpacks"]] == ["apt", "procfile"]
    assert made["buildpacks"][0]["steps"] == ["unpack below .apt: cowsay"]
    assert made["processes"] == {"web": "cowsay"}


def test_nothing_of_the_source_is_changed(plan, tmp_path):
    script = "#!/bin/bash\necho Probe\n"
    folder = write_files(tmp_path, {"bin/detect": script, "bin/compile": script})
    made = json.loads(plan(folder, "--json").stdout)
    assert made["buildpacks"][0]["display"] == "Probe"
    assert (folder / "bin" / "detect").stat().st_mode & 0o111 == 0


def test_config_vars_reach_the_buildpacks(plan):
    made = json.loads(plan(APPS / "go" / "commands", "--env", "GOVERSION=1.26", "--json").stdout)
    assert made["buildpacks"][0]["language"] == {"name": "go", "version": "1.26", "because": "GOVERSION"}
    refused = plan(APPS / "static" / "plain", "--env", "GREETING")
    assert (refused.returncode, "write it as KEY=VALUE" in refused.stderr) == (2, True)


def test_an_app_that_nobody_takes_is_told_what_was_found_and_who_takes_it(plan, tmp_path):
    ended = plan(write_files(tmp_path, {"mix.exs": ""}))
    assert ended.returncode == 1
    assert "found mix.exs, an Elixir app" in ended.stderr
    assert "Looked for" in ended.stderr


def test_a_buildpack_that_is_no_part_of_the_builder_is_refused(plan, tmp_path):
    write_files(tmp_path, {"index.html": ""})
    ended = plan(tmp_path, "--buildpack", "https://example.org/a.git")
    assert (ended.returncode, "A plan fetches nothing" in ended.stderr) == (2, True)
    ended = plan(tmp_path, "--buildpack", "absent")
    assert (ended.returncode, "no buildpack named 'absent'" in ended.stderr) == (1, True)
    write_files(tmp_path, {".buildpacks": "https://example.org/a.git\n"})
    ended = plan(tmp_path)
    assert (ended.returncode, "which a build fetches and a plan does not" in ended.stderr) == (1, True)


def test_an_engine_that_lacks_the_builder_is_the_farms_matter(plan, tmp_path):
    ended = plan(write_files(tmp_path, {"index.html": ""}), "--builder", "127.0.0.1:1/absent:latest")
    assert (ended.returncode, "The plan cannot be made" in ended.stderr) == (3, True)
