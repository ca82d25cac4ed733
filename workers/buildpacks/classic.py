"""Classic buildpacks: detect, compile, release and report, run in the sandbox (Heroku, "Buildpack API")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildfarm.errors import CompileError, DetectError, TooLargeError
from buildfarm.model import ReportValue
from buildfarm.oci.digest import Digest
from workers.buildpacks.procfile import CONTROL
from workers.buildpacks.release import Release, parse_release, parse_report
from workers.buildpacks.steps import FOLDER, Steps
from workers.sandbox.output import CAPTURE_BYTES_MAX
from workers.sandbox.workspace import Workspace

NONE_TAKES = 100
_SIGNAL = 128  # so much is in the exit code beside the signal that ended a program

_COMPILED = b"compiled\n"

_ROW = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})\t(sha256:[0-9a-f]{64})\t(.+)")


@dataclass(frozen=True)
class Detected:
    """A buildpack that takes the app; ``display`` is what its detect printed."""

    name: str
    digest: Digest
    display: str


def detect(names: Sequence[str], steps: Steps, *, every: bool) -> tuple[Detected, ...]:
    """The first that takes the app, or none; with ``every``, all of them must. Raises DetectError."""
    ended = steps.ask_buildpack("detect", *(["--all"] if every else []), *names)
    if ended.code == NONE_TAKES:
        return ()
    if ended.code > _SIGNAL:
        raise DetectError(
            f"Detection was ended by signal {ended.code - _SIGNAL}.", advice="The log's last lines say more."
        )
    if ended.code != 0:
        raise DetectError(_wrong(ended.stdout), advice="The log's last lines say more.")
    rows = [_ROW.fullmatch(line) for line in ended.stdout.decode(errors="replace").splitlines()]
    found = [Detected(row[1], Digest(row[2]), row[3].strip()[:100]) for row in rows if row]
    # Whatever runs in the sandbox can write to this output.
    if not found or len(found) != len(rows):
        raise DetectError("Detection printed something other than names of buildpacks.")
    return tuple(found)


def _wrong(told: bytes) -> str:
    """What the step reports: an unknown name, a refusal, or a broken contract."""
    lines = [line for line in told.decode(errors="replace").splitlines() if line.startswith("!\t")]
    sentence = CONTROL.sub("?", lines[-1][2:302]) if lines else ""
    return sentence or "A requested buildpack cannot be used."


def compile_app(detected: Sequence[Detected], workspace: Workspace, steps: Steps) -> Release:
    """Runs each buildpack's compile in turn, with what the earlier ones export; the defaults that the last one prints.

    Raises CompileError, and TooLargeError if it failed with its workspace full.
    """
    names = [buildpack.name for buildpack in detected]
    for count, buildpack in enumerate(detected[:-1], start=1):
        steps.say(f"{buildpack.display} app")
        ended = steps.run_buildpack("compile", *names[:count])
        if ended.code != 0:
            raise compile_error(f"The buildpack {buildpack.name}", ended.code, workspace)
    last = detected[-1]
    steps.say(f"{last.display} app")
    if steps.release_apart:
        ended = steps.run_buildpack("compile", *names)
        compiled, defaults = ended.code == 0, b""
        if compiled:
            ended = steps.run_buildpack("release", last.name, capture=True)
            defaults = ended.stdout
    else:
        ended = steps.run_buildpack("compile", "--release", *names, capture=True)
        compiled, defaults = ended.stdout.startswith(_COMPILED), ended.stdout.removeprefix(_COMPILED)
    if not compiled:
        raise compile_error(f"The buildpack {last.name}", ended.code, workspace)
    if ended.code != 0:
        raise CompileError(
            f"bin/release of the buildpack {last.name} failed with exit code {ended.code}.",
            advice="The log's last lines say why.",
        )
    if ended.cut:
        raise CompileError(
            f"bin/release of the buildpack {last.name} prints more than {CAPTURE_BYTES_MAX:,} bytes.",
            advice="Let it print only default process types and config vars.",
        )
    return parse_release(defaults, last.name)


def compile_error(who: str, code: int, workspace: Workspace) -> CompileError | TooLargeError:
    """Why a compile failed, as far as its end shows."""
    if workspace.full:
        return TooLargeError(
            "The build filled its workspace.", advice="Let it write less: app, cache and /tmp share one limit."
        )
    return CompileError(f"{who} failed with exit code {code}.", advice="The log's last lines say why.")


def report(detected: Sequence[Detected], workspace: Workspace, steps: Steps) -> dict[str, Mapping[str, ReportValue]]:
    """What each buildpack's bin/report says, after success and failure alike; those that say nothing are left out."""
    reports: dict[str, Mapping[str, ReportValue]] = {}
    for buildpack in detected:
        if not _may_report(buildpack.name, workspace):
            continue
        found = parse_report(steps.run_buildpack("report", buildpack.name, capture=True).stdout)
        if found:
            reports[buildpack.name] = found
    return reports


def _may_report(name: str, workspace: Workspace) -> bool:
    """False if there is no bin/report for certain: most have none, and a step that finds that out takes 60 ms."""
    return workspace.tmp.may_have(f"{Path(FOLDER).relative_to('/tmp')}/{name}/bin/report")
