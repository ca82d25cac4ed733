"""The phase compile: the chosen buildpacks make the app, and say how it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from buildfarm.errors import AppError, CompileError
from buildfarm.model import Layer, ReportValue, UsedBuildpack
from buildfarm.oci.digest import Digest
from workers.buildpacks import classic, cnb
from workers.buildpacks.appfiles import read_file
from workers.buildpacks.choice import Chosen
from workers.buildpacks.cnb import CnbBuild, CnbLayer
from workers.buildpacks.previous import PreviousImage
from workers.buildpacks.procfile import dockerfile_hint, merge_types
from workers.buildpacks.profile import Profile
from workers.buildpacks.steps import FOLDER, Steps
from workers.export.launch_layers import LaunchLayer, LaunchLayers
from workers.sandbox.workspace import Workspace

NO_PROCESS = (
    "Nothing says how to start this app, so its image cannot start: "
    "add a Procfile with the line `web: COMMAND`, whose command serves on $PORT."
)

Reports = Mapping[str, Mapping[str, ReportValue]]

# In the image of Cloud Native Buildpacks (platform.md, "Launch Environment"); in its PATH the base's comes behind
_CNB_VARIABLES = {"CNB_LAYERS_DIR": "/layers", "CNB_APP_DIR": "/app"}
_CNB_PATH = "/cnb/process:/cnb/lifecycle"
_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Built:
    """An app that only needs to be exported."""

    used: tuple[UsedBuildpack, ...]
    process_types: Mapping[str, str] = field(default_factory=dict)  # type to shell command
    config_vars: Mapping[str, str] = field(default_factory=dict)  # become the image's environment
    cnb: CnbBuild | None = None  # where Cloud Native Buildpacks made it
    hint: str = ""  # on its start, where nothing that is followed names one

    @property
    def warning(self) -> str:
        """What is wrong with it though it was built; empty if nothing is."""
        return "" if self.process_types else NO_PROCESS + self.hint

    def variables_on(self, base: Iterable[str]) -> Mapping[str, str]:
        """What the image sets on a base with these variables, each NAME=VALUE."""
        if self.cnb is None:
            return self.config_vars
        path = dict(line.partition("=")[::2] for line in base).get("PATH") or _USUAL_PATH
        return {**self.config_vars, "PATH": f"{_CNB_PATH}:{path}"}


def build(
    chosen: Chosen,
    workspace: Workspace,
    steps: Steps,
    profile: Profile,
    previous: PreviousImage,
) -> Built:
    """Runs them. Raises CompileError, TooLargeError, and what the sandbox raises."""
    if chosen.group is not None:
        made = cnb.build(chosen.group, previous, workspace, steps)
        return Built(
            used=_used_members(chosen),
            process_types={process.type: process.line for process in made.processes},
            config_vars=_CNB_VARIABLES,
            cnb=made,
        )
    try:
        with_tools = steps.with_tools(chosen.tools) if chosen.tools else steps
        released = classic.compile_app(chosen.classic, workspace, with_tools)
        types = merge_types(
            dict(released.process_types), read_file(workspace.app, "Procfile"), whole=profile.procfile_as_whole
        )
    except AppError as error:
        error.reports = classic.report(chosen.classic, workspace, steps)
        raise
    return Built(
        used=_used(chosen, classic.report(chosen.classic, workspace, steps)),
        process_types=types,
        config_vars=released.config_vars,
        hint="" if types else _hint(workspace),
    )


def _hint(workspace: Workspace) -> str:
    with suppress(CompileError):  # a Dockerfile that cannot be read does not matter: nothing needs it
        return dockerfile_hint(read_file(workspace.app, "Dockerfile"))
    return ""


def _used(chosen: Chosen, reports: Reports) -> tuple[UsedBuildpack, ...]:
    sources = {item.name: item.source for item in chosen.fetched}
    return tuple(
        UsedBuildpack(
            name=item.name.partition("-")[2] if item.name in sources and item.name != sources[item.name] else item.name,
            kind="classic",
            source=sources.get(item.name, item.name),
            digest=item.digest,
            report=dict(reports.get(item.name, {})),
        )
        for item in chosen.classic
    )


def _used_members(chosen: Chosen) -> tuple[UsedBuildpack, ...]:
    """Several may have come in one buildpackage, and then have its digest."""
    used = []
    for member in (chosen.group or cnb.NOBODY).members:
        for item in chosen.fetched:
            if Path(member.folder).is_relative_to(f"{FOLDER}/{item.name}") and item.digest is not None:
                digest: Digest = item.digest
                used.append(
                    UsedBuildpack(name=member.id, kind="cnb", source=item.source, digest=digest, version=member.version)
                )
    return tuple(used)


def launch_layers(built: Built, workspace: Workspace, previous: PreviousImage) -> LaunchLayers | None:
    """What the exporter adds to the image; nothing where classic buildpacks made the app."""
    made = built.cnb
    if made is None:
        return None
    return LaunchLayers(
        root=workspace.layers,
        layers=tuple(
            LaunchLayer(layer.path, origin, _reused(layer, origin, previous))
            for layer in made.launch_layers
            if (origin := f"{layer.buildpack}:{layer.name}")
        ),
        process_types=tuple(built.process_types),
    )


def _reused(layer: CnbLayer, origin: str, previous: PreviousImage) -> Layer | None:
    if not layer.reused:
        return None
    found = previous.layers.get((layer.buildpack, layer.name))
    if found is None:
        raise CompileError(f"The layer {origin} is reused, and the app's previous image has no layer of that name.")
    return found.model_copy(update={"origin": origin})
