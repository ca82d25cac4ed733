"""A build's sandbox as every step with buildpacks needs it: the builder's programs, and what they are promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from buildfarm.model import Build
from workers.attempt.signals import Log
from workers.sandbox.container import Ended, Sandbox

BIN = "/usr/lib/buildfarm"
FOLDER = "/tmp/buildpacks"


def folder_name(number: int, name: str) -> str:
    """The folder of the build's ``number``-th buildpack below FOLDER, if it is not one of the builder's own."""
    return f"{number}-{name}"


@dataclass(frozen=True)
class Steps:
    """Runs the builder's programs in one sandbox."""

    sandbox: Sandbox
    vars_in_environment: bool = False
    release_apart: bool = False  # platform 1: release runs as a separate step

    def run(self, program: str, *arguments: str, stdin: Iterable[bytes] = (), capture: bool = False) -> Ended:
        """A program of the farm's own, by its name. Raises what the sandbox raises."""
        return self.sandbox.run([f"{BIN}/{program}", *arguments], stdin=stdin, capture=capture)

    def ask(self, program: str, *arguments: str) -> Ended:
        """One that answers on its standard output, and leaves nothing that runs: it is a part of the next step."""
        return self.sandbox.run_part([f"{BIN}/{program}", *arguments], capture=True)

    def run_buildpack(self, program: str, *arguments: str, capture: bool = False) -> Ended:
        """One that runs a buildpack: with the config vars in its environment where the stack promises that."""
        return self.run(*self._with_vars(program), *arguments, capture=capture)

    def ask_buildpack(self, program: str, *arguments: str) -> Ended:
        """The same of one that answers. What a buildpack leaves running has none of its streams."""
        return self.ask(*self._with_vars(program), *arguments)

    def _with_vars(self, program: str) -> tuple[str, ...]:
        return ("with-vars", f"{BIN}/{program}") if self.vars_in_environment else (program,)

    def run_into(self, name: str, program: str, *arguments: str) -> Ended:
        """One that fetches, into the folder of the buildpack of this name."""
        into = f"{FOLDER}/{name}"
        made = self.sandbox.run(["mkdir", "-p", into])
        if made.code != 0:
            return made
        command = ["env", f"INTO={into}", f"{BIN}/{program}", *arguments]
        return self.sandbox.run(command)

    def give(self, name: str, take: Log) -> Ended:
        """The buildpack of this name as a tar archive, piece by piece."""
        return self.sandbox.bound(take, self.sandbox.check).run([f"{BIN}/give", name])

    def with_tools(self, folders: Iterable[str]) -> Steps:
        """The same steps with these of the node's build tools (`usr/lib/buildfarm/tools` in the builder)."""
        return replace(self, sandbox=self.sandbox.with_variables({"BUILDFARM_TOOLS": " ".join(folders)}))

    def say(self, sentence: str) -> None:
        """A line of the farm's own in the build's log."""
        self.sandbox.log(f"-----> {sentence}\n".encode())


def environment(build: Build, stack: str) -> Mapping[str, str]:
    """What the classic contract promises to buildpacks besides their arguments."""
    return {
        "HOME": "/app",
        "APP_DIR": "/app",
        "APP": build.request.app,
        "STACK": stack,
        "REQUEST_ID": build.id,
        "CURL_CONNECT_TIMEOUT": "30",
        "CURL_TIMEOUT": "180",
        # Older buildpacks count into it; nothing reads what they count.
        "BUILDPACK_LOG_FILE": "/dev/null",
    }
