"""The local farm's API and page, on the loopback address."""

from __future__ import annotations

from pathlib import Path

import httpx

from buildfarm.errors import SetupError
from buildfarm.settings import Settings
from localfarm import process
from localfarm.packages import last_lines
from localfarm.waiting import wait_until

PID_FILE = "api.pid"
LOG_FILE = "api.log"
READY_SECONDS = 60
STOP_SECONDS = 15
PORT_ADVICE = "choose another in BUILDFARM_API_PORT."


def running_api(directory: Path) -> process.Process | None:
    """The API's process, if it runs."""
    return process.running(directory / PID_FILE)


def start_api(directory: Path, settings: Settings) -> None:
    """Starts it and returns when it answers. Raises SetupError with its last log lines if it does not."""
    log = directory / LOG_FILE
    started = process.start(directory, ["-m", "buildfarm", "api"], directory / PID_FILE, log)
    if not wait_until(lambda: not started.alive or answers(settings), READY_SECONDS) or not started.alive:
        process.stop(directory / PID_FILE, STOP_SECONDS)
        raise SetupError(
            f"The API did not start:\n{last_lines(log.read_text(errors='replace'))}",
            advice=f"If its port is taken, {PORT_ADVICE}",
        )


def stop_api(directory: Path) -> bool:
    """Ends it; False if none runs."""
    return process.stop(directory / PID_FILE, STOP_SECONDS)


def answers(settings: Settings) -> bool:
    """Whether it does, and reaches Redis and the registry."""
    try:
        return httpx.get(f"{address(settings)}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def takes_pushes(settings: Settings) -> bool:
    """Whether the running one accepts `git push`."""
    path = "/git/tenant/app/info/refs?service=git-receive-pack"
    try:
        return httpx.get(f"{address(settings)}{path}", timeout=5, trust_env=False).status_code == 401
    except httpx.TransportError:
        return False


def address(settings: Settings) -> str:
    """Where it is."""
    return f"http://{settings.api_host}:{settings.api_port}"
