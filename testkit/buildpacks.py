"""What a build of an app came to, and what its image prints."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from buildfarm.model import Build, BuildResult, Fault, State
from testkit.builds import Builds

SHEBANG = "#!/bin/bash\n"


def succeeded(built: Builds, build: Build) -> BuildResult:
    """The result of a build that must have one."""
    assert build.state is State.SUCCEEDED, f"{build.failure}\n{built.log(build)}"
    assert build.result is not None
    return build.result


def failed(build: Build, code: str, *told: str) -> None:
    """Asserts that it failed by the app's fault, with this code and these words."""
    assert build.state is State.FAILED
    assert build.failure is not None
    assert (build.failure.code, build.failure.fault) == (code, Fault.APP)
    words = f"{build.failure.message} {build.failure.advice} {' '.join(build.failure.log_tail)}"
    for word in told:
        assert word in words


def run_image(
    built: Builds, build: Build, *command: str, entrypoint: str | None = None, env: Iterable[str] = ()
) -> str:
    """What a command in the image prints, without an end of line."""
    image = built.farm.image(build)
    options = [word for pair in env for word in ("--env", pair)] + (["--entrypoint", entrypoint] if entrypoint else [])
    # What pulling says would stand beside what the app says.
    subprocess.run(["docker", "pull", "--quiet", image], check=True, capture_output=True)
    done = subprocess.run(
        ["docker", "run", "--rm", "--network=none", *options, image, *command],
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout + done.stderr).rstrip("\n")
