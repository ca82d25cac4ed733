"""Programs the farm needs from the distribution: found, or installed from its packages."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from buildfarm.errors import SetupError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INSTALL_SECONDS = 900
LOCK = Path("/run/buildfarm-packages.lock")  # apt refuses to run twice at a time
TAIL_LINES = 15

_ADVICE = "Run it by hand until it succeeds, then run `buildfarm up` again."


def find_program(name: str) -> str | None:
    """Also looks where an ordinary user's PATH does not: `dockerd` and `iptables` are in /usr/sbin."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)


def missing_packages(programs: Mapping[str, str]) -> list[str]:
    """Of program → package, the packages whose program is not there."""
    return sorted({package for program, package in programs.items() if find_program(program) is None})


def ensure_packages(programs: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Installs the packages of the programs that are missing; a machine that has them all is not touched."""
    packages = missing_packages(programs)
    if not packages:
        return
    if obstacle := install_obstacle(packages):
        raise obstacle
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if packages := missing_packages(programs):  # another process may have installed them meanwhile
            _install(packages, say)


def _install(packages: Sequence[str], say: Callable[[str], None]) -> None:
    say(f"packages: installing {' '.join(packages)}")
    run_command(["apt-get", "-q", "update"], INSTALL_SECONDS)
    run_command(["apt-get", "-qy", "install", "--no-install-recommends", *packages], INSTALL_SECONDS)


def install_obstacle(packages: Sequence[str]) -> SetupError | None:
    """Why these packages cannot be installed from here; None if they can."""
    wanted = " ".join(packages)
    if find_program("apt-get") is None:
        return SetupError(f"{wanted} is missing and this is neither Debian nor Ubuntu.", advice="Install it by hand.")
    if os.geteuid() != 0:
        return SetupError(
            f"{wanted} is missing and only root can install it.",
            advice=f"Run `sudo apt-get install --no-install-recommends {wanted}`, then `buildfarm up` again.",
        )
    return None


def run_command(command: Sequence[str], seconds: float) -> None:
    """Runs to the end, or raises SetupError with the last lines of what it wrote."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": f"{os.environ['PATH']}:{SYSTEM_PATH}"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"`{' '.join(command)}` did not end within {seconds:.0f} s.", advice=_ADVICE) from error
    if done.returncode != 0:
        raise SetupError(
            f"`{' '.join(command)}` ended with {done.returncode}:\n{last_lines(done.stdout)}", advice=_ADVICE
        )


def last_lines(text: str, lines: int = TAIL_LINES) -> str:
    """The end of a log, where the reason of a failure stands."""
    return "\n".join(text.strip().splitlines()[-lines:])
