"""What decided how a build went, read out of its record and its log. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from buildfarm.api.page.sentences import source_in_words
from buildfarm.buildpacks.unclaimed import LOOKED_FOR
from buildfarm.events import LogLine
from buildfarm.model import Build, BuildRequest, BuildResult, UsedBuildpack
from buildfarm.telemetry.units import size

LINES_MAX = 20_000  # buildpacks say what they decided before they run anything

_FILES = ".buildpacks, project.toml, scalingo.json or app.json"
_DECIDED = re.compile(
    r"-----> (Cache|Installing with|Building with|Fetching|Using|Precompiling assets:|Starts with|Starting with"
    r"|Serving) (.+?)(?: \(([^()]*)\))?"
)
_BECAUSE = re.compile(r" {7}(\w[\w .+-]{0,30}: .+)")
_NAMES = {"Cache": "cache", "Starts with": "start", "Starting with": "start", "Serving": "start"}


@dataclass(frozen=True)
class Reason:
    """One decision of a build: what it is about, what was decided, and why if the farm knows."""

    what: str
    decided: str
    because: str = ""

    @property
    def sentence(self) -> str:
        """The decision, and the reason in brackets."""
        return f"{self.decided} ({self.because})" if self.because else self.decided


def reasons_of(build: Build, lines: Iterable[LogLine]) -> list[Reason]:
    """The decisions in their order; ``lines`` are the build's log, of which the first ones are read."""
    found = [Reason("source", source_in_words(build.request.source)), *_reuse(build)]
    used = build.result.buildpacks if build.result else ()
    if isinstance(build.request, BuildRequest):
        found += [_buildpack(build.request, item, len(used)) for item in used]
    if build.result_of is not None:
        return found
    found += _from_log(islice(lines, LINES_MAX))
    return [*found, *(_layers(build.result) if build.result else ())]


def _reuse(build: Build) -> Iterator[Reason]:
    if build.result_of:
        yield Reason("image", f"of build {build.result_of}", "it had the same input, so nothing was built")
    elif build.result and getattr(build.request, "clean", False):
        yield Reason(
            "image", "built", "the request asked for a clean build, without the app's cache and earlier results"
        )
    elif build.result and not getattr(build.request, "cached_result", True):
        yield Reason("image", "built", "the request asked for it, even if an equal build exists")
    elif build.result:
        yield Reason("image", "built", "no earlier build of the app with the same input could be used")


def _buildpack(request: BuildRequest, used: UsedBuildpack, count: int) -> Reason:
    name = f"{used.name} {used.version}".strip()
    origin = "the builder's" if used.source == used.name else used.source
    report = "".join(f"; {key}: {value}" for key, value in used.report.items())
    return Reason("buildpack", f"{name}, {origin}, {used.digest[:19]}", f"{_chosen(request, used, count)}{report}")


def _chosen(request: BuildRequest, used: UsedBuildpack, count: int) -> str:
    if request.buildpacks:
        return "named by the request"
    if "BUILDPACK_URL" in request.env:
        return "named by the config var BUILDPACK_URL"
    if request.buildpack_order:
        order = ", ".join(request.buildpack_order)
        return f"named by the app's {_FILES}, or else the first that takes the app in this order: {order}"
    if count > 1 or used.source != used.name:
        return f"named by the app's {_FILES}"
    files = " or ".join(LOOKED_FOR.get(used.name, ()))
    return f"detected{f' by {files}' if files else ''}, unless the app's {_FILES} names it"


def _from_log(lines: Iterable[LogLine]) -> list[Reason]:
    """What the buildpacks and the node say that they decided, with the reasons that follow in the log."""
    found: list[Reason] = []
    follows = False  # the line before was a decision, or a reason for one
    for line in lines:
        decided, reason = _DECIDED.fullmatch(line.text), _BECAUSE.fullmatch(line.text)
        if decided:
            bare = decided[1] in ("Cache", "Installing with")
            text = decided[2] if bare else f"{decided[1]} {decided[2]}"
            found.append(Reason(_NAMES.get(decided[1], "tools"), text, decided[3] or ""))
        elif reason and follows:
            found[-1] = replace(found[-1], because="; ".join(filter(None, [found[-1].because, reason[1]])))
        follows = bool(decided or (reason and follows))
    return found


def _layers(result: BuildResult) -> Iterator[Reason]:
    reused = sum(layer.reused for layer in result.layers)
    sent = f"{len(result.layers) - reused} of {len(result.layers)} sent, {size(result.uploaded_bytes)}"
    had = {0: "none of them", len(result.layers): "all of them"}.get(reused, "the others")
    yield Reason("layers", sent, f"the registry had {had}")
