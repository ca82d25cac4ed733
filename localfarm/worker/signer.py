"""The local farm's signer, and its key, which no other process of the farm receives."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from buildfarm.errors import BuildfarmError, SetupError
from buildfarm.oci.signatures.signer import new_key
from buildfarm.releases.signing.adopted import Adopted
from buildfarm.releases.signing.public_keys import SigningKeys
from buildfarm.settings import Settings, read_settings
from buildfarm.store import Database, open_database
from localfarm import process
from localfarm.packages import last_lines
from localfarm.state import NAMESPACE, SECRETS, write_file
from localfarm.waiting import wait_until

PID_FILE = "signer.pid"
LOG_FILE = "signer.log"
KEY_FILE = "signing.key"
READY_SECONDS = 30
STOP_SECONDS = 15
WAIT_SECONDS = 30  # for what is handed over when the farm goes down; a request takes less than a second


def is_wanted() -> bool:
    """Whether `up` is to run one: BUILDFARM_SIGNING=0 turns it off, and only the default namespace has one."""
    return os.environ.get("BUILDFARM_SIGNING") != "0" and read_settings().namespace == NAMESPACE


def key_file(directory: Path) -> Path:
    """The private key, made at the first call; only this user can read it."""
    path = directory / SECRETS / KEY_FILE
    if not path.exists():
        write_file(path, new_key().decode(), mode=0o600)
    return path


def running_signer(directory: Path) -> process.Process | None:
    """The signer's process, if it runs."""
    return process.running(directory / PID_FILE)


def start_signer(directory: Path, settings: Settings) -> None:
    """Start it, and return when it takes requests. Raises SetupError with its last log lines if it does not."""
    log, key = directory / LOG_FILE, key_file(directory)
    before = _reported_at(settings)
    given = os.environ.get("BUILDFARM_PROVENANCE", "laptop")  # it claims no more than a machine of one person can
    variables = {"BUILDFARM_SIGNING_KEYS": f"file:{key}", "BUILDFARM_PROVENANCE": given}
    started = process.start(directory, ["-m", "signer"], directory / PID_FILE, log, variables)
    if not wait_until(lambda: not started.alive or _reported_at(settings) > before, READY_SECONDS) or not started.alive:
        process.stop(directory / PID_FILE, STOP_SECONDS)
        raise SetupError(
            f"The signer did not start:\n{last_lines(log.read_text(errors='replace'))}",
            advice="Correct what its log names, or turn it off: BUILDFARM_SIGNING=0 buildfarm up",
        )


def stop_signer(directory: Path) -> bool:
    """End it; False if none runs."""
    return process.stop(directory / PID_FILE, STOP_SECONDS)


def wait_for_requests(directory: Path, settings: Settings, say: Callable[[str], None]) -> None:
    """Return when the signer that runs has done all requests, or after a while; the rest waits for the next `up`."""
    if running_signer(directory) is None or not waiting(settings):
        return
    say("signer: ending what waits for it")
    if not wait_until(lambda: not waiting(settings), WAIT_SECONDS):
        say(f"signer: {waiting(settings)} requests are left; the next `buildfarm up` goes on with them")


def waiting(settings: Settings) -> int:
    """How many requests wait for a signer; 0 if Redis cannot be reached."""
    return _asked(settings, lambda database: database.client.zcard(database.key("signing")))


def take_over_again(settings: Settings) -> None:
    """The signer that starts next takes over the tags' images as the first one did: signing was off."""
    _asked(settings, lambda database: Adopted(database).end())


def _asked(settings: Settings, ask: Callable[[Database], Any]) -> int:
    database = open_database(settings)
    try:
        with database.failures():
            return int(ask(database) or 0)
    except BuildfarmError:
        return 0
    finally:
        database.close()


def _reported_at(settings: Settings) -> float:
    """When a signer of this farm reported its keys last, which is the last step of its start."""
    database = open_database(settings)
    try:
        return SigningKeys(database).reported_at()
    except BuildfarmError:
        return 0.0
    finally:
        database.close()
