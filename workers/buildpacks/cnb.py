"""Cloud Native Buildpacks: the node's side of the lifecycle, which runs in the sandbox (buildpacks/spec).

What the lifecycle prints comes from where untrusted code runs: it is checked here before anything is made of it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from buildfarm.errors import AppError, CompileError, DetectError
from workers.buildpacks.classic import compile_error
from workers.buildpacks.fetcher import FetchedBuildpack
from workers.buildpacks.previous import PreviousImage
from workers.buildpacks.steps import FOLDER, Steps
from workers.sandbox.nested import NestedTooDeepError, parse_json
from workers.sandbox.workspace import Workspace

# platform.md, "Exit Codes"
_NONE_DETECTED = (20, 21)
_BUILD_FAILED = 51

_PREVIOUS = ".previous"  # beside the buildpacks' folders: what the previous image says of its layers

_Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9./-]{0,199}$")]
_LayerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._@+-]{0,127}$")]
_Type = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}$")]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class Member(_Told):
    """A buildpack of the group that takes the app."""

    folder: str = ""
    id: _Id
    version: str
    api: str
    homepage: str = ""


class Group(_Told):
    """What detect found: the buildpacks in their order, and the plan that build needs."""

    members: tuple[Member, ...] = Field(alias="group")
    plan: list[dict[str, Any]]


class Process(_Told):
    """A process type of the image."""

    type: _Type
    command: tuple[str, ...]
    args: tuple[str, ...]
    default: bool
    working_dir: str
    buildpack: _Id

    @property
    def line(self) -> str:
        """As text for a shell."""
        return shlex.join([*self.command, *self.args])


class CnbLayer(_Told):
    """A layer that a buildpack made, as its <layer>.toml says."""

    buildpack: _Id
    name: _LayerName
    launch: bool
    build: bool
    cache: bool
    metadata: dict[str, Any]
    reused: bool  # its files are those of the app's previous image

    @property
    def path(self) -> str:
        """Its folder below /layers."""
        return f"{self.buildpack.replace('/', '_')}/{self.name}"


class CnbBuild(_Told):
    """What the buildpacks made."""

    buildpacks: tuple[Member, ...] = ()
    processes: Annotated[tuple[Process, ...], Field(max_length=50)] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    slices: tuple[tuple[str, ...], ...] = ()
    layers: Annotated[tuple[CnbLayer, ...], Field(max_length=100)] = ()
    stores: dict[str, Any] = Field(default_factory=dict)

    @property
    def launch_layers(self) -> tuple[CnbLayer, ...]:
        """Those of the image, in the order that it has them: the group's, then by name."""
        return tuple(layer for layer in self.layers if layer.launch)


_T = TypeVar("_T", bound=BaseModel)

NOBODY = Group(group=(), plan=[])


@dataclass(frozen=True)
class _Answer:
    code: int
    told: dict[str, Any]

    @property
    def failure(self) -> str:
        return str(self.told.get("failure", ""))[:1000]


def detect(fetched: Sequence[FetchedBuildpack], steps: Steps, *, must: bool) -> Group | None:
    """The group that takes the app; None if none does and it need not. Raises DetectError."""
    asked = {"order": [[list(item.folders) for item in fetched]]}
    answer = _ask("detect", asked, steps, DetectError)
    if answer.code in _NONE_DETECTED:
        if not must:
            return None
        raise DetectError(answer.failure, advice="The log has each buildpack's result.")
    if answer.code != 0:
        raise DetectError(answer.failure or f"The phase detect ended with {answer.code}.")
    return _checked(Group, answer.told, DetectError)


def build(group: Group, previous: PreviousImage, workspace: Workspace, steps: Steps) -> CnbBuild:
    """Runs each buildpack's build. ``previous`` is the app's newest image. Raises CompileError."""
    # Without them a layer that is reused from that image would lose its bill of materials.
    has_sbom = bool(previous.sbom) and steps.run("take", _PREVIOUS, stdin=[previous.sbom]).code == 0
    asked = {
        "group": [member.model_dump() for member in group.members],
        "plan": group.plan,
        "previous": previous.records,
        "sbom": f"{FOLDER}/{_PREVIOUS}/layers/sbom/launch" if has_sbom else "",
    }
    answer = _ask("build", asked, steps, CompileError)
    if answer.code == _BUILD_FAILED or (answer.code != 0 and workspace.full):
        error = compile_error("A buildpack", answer.code, workspace)
        if isinstance(error, CompileError) and answer.failure:
            error = CompileError(answer.failure, advice=error.advice)
        raise error
    if answer.code != 0:
        raise CompileError(answer.failure or f"The phase build ended with {answer.code}.")
    return _checked(CnbBuild, answer.told, CompileError)


def _ask(command: str, asked: Mapping[str, Any], steps: Steps, kind: type[AppError]) -> _Answer:
    ended = steps.run("cnb", command, stdin=[json.dumps(asked).encode()], capture=True)
    try:
        told = parse_json(ended.stdout or b"{}")
    except NestedTooDeepError as error:
        raise kind(f"What the buildpacks output cannot be used: {error}.") from error
    except ValueError as error:
        raise kind(
            "The buildpacks' metadata is larger than 64 KiB.", advice="Shorten the metadata of layers."
        ) from error
    return _Answer(ended.code, told if isinstance(told, dict) else {})


def _checked(kind: type[_T], told: Mapping[str, Any], error_kind: type[AppError]) -> _T:
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise error_kind(f"The buildpacks' {place} cannot be used: {first['msg']}.") from error
