"""What every part of the bench needs: the two farms, a one-line change, and a deploy with its times."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.model import Build, Phase, State
from testkit.builds import Builds
from testkit.table import Claims

ROOT = Path(__file__).parents[2]
APP_FOLDERS = ROOT / "bench" / "apps"
BEFORE = "2a4c2bb"  # the commit before redeploys were looked at as a whole


@dataclass(frozen=True)
class App:
    """An app; in every round ``code``, one of its files, gets one more line."""

    name: str
    folder: Path
    code: str = "app.py"
    line: str = "# {}"  # with something in it that no build has seen
    firsts: int = 3  # deploys as an app that is new to the farm; one of a second needs more of them
    dockerfile: str = ""  # without one, BuildKit is not compared


@dataclass(frozen=True)
class Bench:
    """Where the parts measure."""

    folder: Path  # scratch
    ours: Builds
    before: Builds
    code_before: Path
    rounds: int
    claims: Claims

    @property
    def farms(self) -> dict[str, Builds]:
        """This version and the one before."""
        return {"ours": self.ours, "before": self.before}


@dataclass(frozen=True)
class Deploy:
    """One deploy: seconds from packing to the end of the build, and what became of it."""

    seconds: float
    build: Build

    @property
    def own_seconds(self) -> float:
        """All but detect and compile, which are the app's and its buildpack's."""
        assert self.build.result is not None
        spent = self.build.result.phase_seconds
        return self.seconds - sum(spent[name] for name in (Phase.DETECT, Phase.COMPILE))


@dataclass(frozen=True)
class Command:
    """One ``buildfarm build``, process start to exit: seconds in all, until it has submitted, and from the build's end.

    The rest is the farm's. Packing and sending the source come before the submit.
    """

    seconds: float
    before: float
    after: float


@dataclass
class Times:
    """Seconds of one app in one way."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)  # none for BuildKit
    beside: list[float] = field(default_factory=list)  # all but the app's own script, if that prints its time
    command: list[float] = field(default_factory=list)  # with the command line, process start to exit
    command_before: list[float] = field(default_factory=list)  # of these, until the build was submitted
    command_after: list[float] = field(default_factory=list)  # and from its end on

    def add(self, command: Command) -> None:
        """One more run of the command line."""
        self.command.append(command.seconds)
        self.command_before.append(command.before)
        self.command_after.append(command.after)


@dataclass(frozen=True)
class Source:
    """A copy of an app's folder, to be changed and deployed."""

    app: App
    folder: Path

    def change(self) -> None:
        """One line more that no build has seen."""
        file = self.folder / self.app.code
        file.write_text(f"{file.read_text()}{self.app.line.format(uuid.uuid4().hex)}\n")

    def deploy(self, built: Builds, name: str) -> Deploy:
        """Changes and deploys it. Raises AssertionError with the log if the build fails."""
        self.change()
        started = time.monotonic()
        build = built(self.folder, name)
        seconds = time.monotonic() - started
        assert build.state is State.SUCCEEDED, built.log(build)
        return Deploy(seconds, build)


def copy_of(app: App, folder: Path) -> Source:
    """The app's source, copied to ``folder``."""
    shutil.copytree(app.folder, folder)
    return Source(app, folder)


def run_command(built: Builds, folder: Path, name: str, bytecode: Path) -> Command:
    """``buildfarm build`` with what an installed one has: its modules as bytecode, which the first run here writes."""
    environment = {**os.environ, "BUILDFARM_NAMESPACE": built.farm.settings.namespace}
    environment |= {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONDONTWRITEBYTECODE": ""}
    command = [str(Path(sys.executable).parent / "buildfarm"), "build", str(folder), "--app", f"{built.tenant}/{name}"]
    started = time.time()  # by the clock of the records: Redis is on this machine
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    ended = time.time()
    shown = re.findall(r"^build +([0-9a-f]{16})$", done.stdout, re.MULTILINE)  # at its end; a log may have such lines
    build = built.farm.get(shown[-1]) if shown else None
    assert build is not None and build.finished_at is not None, done.stdout
    return Command(ended - started, build.submitted_at - started, ended - build.finished_at)


def code_before(stack: ExitStack) -> Path:
    """The code of the version before, in a folder of its commit until the stack closes."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "before"
    commit = os.environ.get("BEFORE", BEFORE)
    subprocess.run(
        ["git", "worktree", "add", "--detach", str(folder), commit], cwd=ROOT, check=True, capture_output=True
    )
    stack.callback(subprocess.run, ["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT, check=True)
    return folder
