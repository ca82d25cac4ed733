"""A buildpack's git repository: fetched as far as it takes to see that it is a buildpack."""

from __future__ import annotations

import subprocess
import tempfile

from buildfarm.buildpacks.address import GitBuildpack
from buildfarm.buildpacks.pin import git_environment
from buildfarm.errors import RequestError

_FETCH_SECONDS = 120


def check_files(buildpack: GitBuildpack) -> None:
    """Fetch the commit's list of files. Raises RequestError if they are not a buildpack's."""
    files = _files(buildpack)
    classic = {"bin/detect", "bin/compile"} <= files
    cnb = {"buildpack.toml", "bin/detect", "bin/build"} <= files
    if not (classic or cnb):
        raise RequestError(
            f"{buildpack.url} is not a buildpack at {buildpack.ref[:12]}: "
            "it has neither bin/detect and bin/compile, nor buildpack.toml, bin/detect and bin/build.",
            advice="Programs that are compiled first come as a buildpackage: put it into the farm's registry.",
        )


def _files(buildpack: GitBuildpack) -> set[str]:
    """Its files' names. Only they are fetched, if the server can leave out the content."""
    try:
        return _listed(buildpack, "--depth=1", "--filter=blob:none", "--no-tags", "--", buildpack.url, buildpack.ref)
    except RequestError:
        # Some servers know no shallow fetch, or give no single commit.
        return _listed(buildpack, "--tags", "--", buildpack.url, "+refs/heads/*:refs/heads/*")


def _listed(buildpack: GitBuildpack, *fetched: str) -> set[str]:
    with tempfile.TemporaryDirectory(prefix="buildfarm-vendor-") as folder:
        _git(folder, "init", "--quiet", "--bare", "--template=")
        done = _git(folder, "fetch", "--quiet", *fetched)
        if done.returncode != 0:
            raise RequestError(f"{buildpack.url} cannot be fetched: {(done.stderr.strip().splitlines() or ['?'])[-1]}.")
        listed = _git(folder, "ls-tree", "-r", "--name-only", "-z", buildpack.ref)
        if listed.returncode != 0:
            raise RequestError(f"{buildpack.url} has no commit {buildpack.ref}.")
        return set(listed.stdout.split("\0"))


def _git(folder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-c", "core.hooksPath=/dev/null", "-C", folder, *arguments]
    try:
        return subprocess.run(
            command, env=git_environment(), capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RequestError(f"`git {arguments[0]}` did not end within {_FETCH_SECONDS} s.") from error
    except OSError as error:
        raise RequestError(f"git cannot be run: {error.strerror}.", advice="Install git on this machine.") from error
