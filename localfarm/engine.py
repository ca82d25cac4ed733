"""The Docker engine of this machine: found, or installed and started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from buildfarm.errors import SetupError
from localfarm.packages import ensure_packages, find_program, last_lines, run_command
from localfarm.state import DEFAULT_DOCKER_URL
from localfarm.waiting import wait_until

CALL_SECONDS = 60
START_SECONDS = 60
PROGRAMS = {"dockerd": "docker.io", "iptables": "iptables"}
SYSTEMD = Path("/run/systemd/system")


def find_engine(url: str, directory: Path, say: Callable[[str], None]) -> docker.DockerClient:
    """The engine at ``url``; one that should be at the usual place is started, and installed when it is absent."""
    client = connect(url)
    if client is not None:
        return client
    if obstacle := start_obstacle(url):
        raise obstacle
    ensure_packages(PROGRAMS, say)
    return _start(directory, say)


def connect(url: str) -> docker.DockerClient | None:
    """A client of the engine at ``url``; None if it cannot be reached."""
    try:
        client = docker.DockerClient(base_url=url, timeout=CALL_SECONDS)
        client.ping()
    except (DockerException, RequestException):
        return None
    return client


def wanted_url() -> str:
    """The address of the engine that this process's environment names."""
    return os.environ.get("BUILDFARM_DOCKER_URL") or os.environ.get("DOCKER_HOST") or DEFAULT_DOCKER_URL


def start_obstacle(url: str) -> SetupError | None:
    """Why the engine that does not answer at ``url`` cannot be started from here; None if it can."""
    if url != DEFAULT_DOCKER_URL:
        return SetupError(
            f"The Docker engine at {url} cannot be reached.",
            advice="Start it, or unset DOCKER_HOST and BUILDFARM_DOCKER_URL to use this machine's own.",
        )
    if os.geteuid() == 0:
        return None
    socket = Path(DEFAULT_DOCKER_URL.removeprefix("unix://"))
    if socket.exists() and not os.access(socket, os.R_OK | os.W_OK):
        return SetupError(
            f"You are not allowed to use the Docker engine at {socket}.",
            advice="Run `sudo usermod -aG docker $USER`, log in again, then run `buildfarm up`.",
        )
    return SetupError(
        "No Docker engine is running, and only root can start one.",
        advice="Start Docker, or name a running engine in DOCKER_HOST, or run `buildfarm up` as root.",
    )


def _start(directory: Path, say: Callable[[str], None]) -> docker.DockerClient:
    say("engine: starting")
    log = directory / "dockerd.log"
    _launch(log)
    if not wait_until(lambda: connect(DEFAULT_DOCKER_URL) is not None, START_SECONDS):
        written = last_lines(log.read_text(errors="replace")) if log.exists() else "(see the system's journal)"
        raise SetupError(
            f"The Docker engine did not start within {START_SECONDS} s:\n{written}",
            advice="Start it by hand, then run `buildfarm up` again.",
        )
    client = connect(DEFAULT_DOCKER_URL)
    if client is None:
        raise SetupError("The Docker engine started and stopped again.", advice=f"Its log is {log}.")
    return client


def _launch(log: Path) -> None:
    if SYSTEMD.is_dir():
        # Where systemd rules, a second dockerd beside its own would fight over the same data.
        run_command(["systemctl", "start", "docker"], START_SECONDS)
        return
    command = [find_program("dockerd") or "dockerd", "--live-restore", "--log-level", "warn"]
    with log.open("wb") as output:
        # A separate session: the engine outlives the terminal that asked for it.
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
