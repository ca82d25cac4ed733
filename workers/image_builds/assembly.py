"""The compile phase of an image build: turns a recipe into a file tree in a sandbox of the imager image."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from buildfarm.errors import RecipeError, SourceError, TooLargeError
from buildfarm.recipes.plan import SlimPlan
from workers.build_folder import BuildFolder, NotPlainError
from workers.image_builds.last_line import LastLine
from workers.sandbox.container import Ended, Sandbox
from workers.sandbox.workspace import Workspace

UNPACK_LIMITS = ("10000000", "1000")  # bytes and entries of a recipe that comes without a farm

_BIN = "/usr/lib/buildfarm"
_ARCHIVE = 3
_REPORT_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True)
class Assembled:
    """What the recipe made: the image's files, and the packages they come from as name=version."""

    tree: BuildFolder
    packages: tuple[str, ...]
    compiled: bool  # from sources, where the recipe asks for it and they could be had


def unpack_recipe(pieces: Iterable[bytes], sandbox: Sandbox) -> None:
    """Fills /app with a recipe's folder, a tar archive with one folder at its top. Raises SourceError."""
    ended = sandbox.run([f"{_BIN}/unpack", "1", *UNPACK_LIMITS], stdin=pieces)
    if ended.code != 0:
        raise SourceError("The recipe could not be unpacked.")


def assemble(plan: SlimPlan, sandbox: Sandbox, workspace: Workspace) -> Assembled:
    """Makes the tree. Raises RecipeError, SourceError for an archive, TooLargeError, and what the sandbox raises."""
    tail = LastLine(sandbox.log)
    command = ["python3", f"{_BIN}/slim"]
    ended = sandbox.bound(tail.take, sandbox.check).run(command, stdin=[plan.model_dump_json().encode()])
    if ended.code != 0:
        raise _failure(plan, ended, tail.last, full=workspace.full)
    sandbox.kill()
    try:
        report = workspace.cache.read("report.json", _REPORT_BYTES_MAX)
        tree = workspace.cache.folder("tree")
    except NotPlainError as error:
        raise RecipeError(f"The report or the tree of the recipe {plan.name} {error}.") from error
    if report is None:
        raise RecipeError(f"The recipe {plan.name} left no report of what it made.")
    try:
        told = json.loads(report)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"The recipe {plan.name} left a report that is not JSON.") from error
    return Assembled(tree, tuple(told["packages"]), told["made"] == "compiled")


def _failure(plan: SlimPlan, ended: Ended, said: str, *, full: bool) -> RecipeError | SourceError | TooLargeError:
    what = f"{plan.name} {plan.version}"
    if full:
        return TooLargeError(f"{what} filled its workspace.", advice="Raise BUILDFARM_WORKSPACE_BYTES.")
    if ended.code == _ARCHIVE:
        return SourceError(f"{what}: {said}", advice="MIRROR= names another address, or a file.")
    return RecipeError(f"{what} could not be made: {said or f'it ended with {ended.code}'}")
