"""The local farm's services: a port that is taken, and a farm that is up already."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm.gc.storage import Storage


def cli(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "buildfarm", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )


def test_status_tells_every_part(services):
    done = cli("status", "--json")
    parts = {part["name"]: part["up"] for part in json.loads(done.stdout)}
    assert parts["engine"]
    assert parts["redis"]
    assert parts["registry"]
    assert done.returncode == (0 if all(parts.values()) else 4)


def test_an_engine_that_cannot_be_reached_is_told(services, tmp_path):
    done = cli("up", BUILDFARM_STATE_DIRECTORY=str(tmp_path), BUILDFARM_DOCKER_URL="tcp://127.0.0.1:1")
    assert done.returncode == 3
    assert "The Docker engine at tcp://127.0.0.1:1 cannot be reached." in done.stderr


@pytest.mark.parametrize("role", ["redis", "registry"])
def test_a_port_that_is_taken_is_told_and_nothing_is_changed(services, role):
    def as_it_is():
        ask = ["docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", f"buildfarm-{role}"]
        running = subprocess.run(ask, check=True, capture_output=True, text=True).stdout
        return json.loads(cli("status", "--json").stdout), running

    before = as_it_is()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cli("up", "--no-worker", f"--{role}-port", str(port))
    assert done.returncode == 3
    assert f"Port {port} of 127.0.0.1 is taken" in done.stderr
    assert f"--{role}-port" in done.stderr
    assert as_it_is() == before


def test_the_files_of_the_local_farms_registry_are_found_and_no_others(services):
    command = [sys.executable, "-m", "localfarm", "registry-files"]
    other = {**os.environ, "BUILDFARM_REGISTRY_URL": "http://registry.example.org"}
    found, nothing = (
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env).stdout for env in (None, other)
    )
    assert Storage(Path(found.strip())).exists()
    assert nothing == "\n"
    done = cli("gc", "--dry-run", BUILDFARM_REGISTRY_URL=other["BUILDFARM_REGISTRY_URL"])
    assert done.returncode == 3
    assert "Name the folder" in done.stderr


@pytest.mark.parametrize("command", [["list"], ["show", "nonsense"], ["logs", "nonsense"], ["cancel", "nonsense"]])
def test_every_command_answers_in_json(services, command):
    done = cli(*command, "--json")
    assert done.returncode in (0, 2)
    assert json.loads(done.stdout) is not None
