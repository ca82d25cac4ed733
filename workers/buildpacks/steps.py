"""A build's sandbox together with where its output goes: what every step with buildpacks needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from workers.sandbox.container import Ended, Sandbox

BIN = "/usr/lib/buildfarm"
FOLDER = "/tmp/buildpacks"


@dataclass(frozen=True)
class Steps:
    """Runs the builder's programs in one sandbox."""

    sandbox: Sandbox
    log: Callable[[bytes], None]
    check: Callable[[], None]
    vars_in_environment: bool = False
    release_apart: bool = False  # platform 1: release runs as a separate step

    def run(self, program: str, *arguments: str, stdin: Iterable[bytes] = (), capture: bool = False) -> Ended:
        """A program of the farm's own, by its name. Raises what the sandbox raises."""
        command = [f"{BIN}/{program}", *arguments]
        return self.sandbox.run(command, log=self.log, check=self.check, stdin=stdin, capture=capture)

    def run_buildpack(self, program: str, *arguments: str, capture: bool = False) -> Ended:
        """One that runs a buildpack: with the config vars in its environment where the stack promises that."""
        if self.vars_in_environment:
            return self.run("with-vars", f"{BIN}/{program}", *arguments, capture=capture)
        return self.run(program, *arguments, capture=capture)

    def run_into(self, name: str, program: str, *arguments: str) -> Ended:
        """One that fetches, into the folder of the buildpack of this name."""
        into = f"{FOLDER}/{name}"
        made = self.sandbox.run(["mkdir", "-p", into], log=self.log, check=self.check)
        if made.code != 0:
            return made
        command = ["env", f"INTO={into}", f"{BIN}/{program}", *arguments]
        return self.sandbox.run(command, log=self.log, check=self.check)

    def give(self, name: str, take: Callable[[bytes], None]) -> Ended:
        """The buildpack of this name as a tar archive, piece by piece."""
        return self.sandbox.run([f"{BIN}/give", name], log=take, check=self.check)

    def say(self, sentence: str) -> None:
        """A line of the farm's own in the build's log."""
        self.log(f"-----> {sentence}\n".encode())
