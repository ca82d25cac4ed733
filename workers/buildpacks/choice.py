"""Which buildpacks build an app: those that are named, in their order; else the first of the farm's that takes it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from buildfarm.buildpacks.address import Buildpack, BundledBuildpack, parse_buildpack
from buildfarm.buildpacks.unclaimed import refused, unclaimed
from buildfarm.errors import DetectError
from buildfarm.model import BuildRequest
from workers.buildpacks import classic, cnb
from workers.buildpacks.classic import Detected
from workers.buildpacks.cnb import Group
from workers.buildpacks.fetcher import BuildpackFetcher, FetchedBuildpack
from workers.buildpacks.manifests import AppManifest
from workers.buildpacks.steps import Steps

URL_VARIABLE = "BUILDPACK_URL"

_TOP = "app/"  # how names of a build's files begin


@dataclass(frozen=True)
class Chosen:
    """What will build the app: classic buildpacks, or a group of Cloud Native ones."""

    classic: tuple[Detected, ...] = ()
    group: Group | None = None
    fetched: tuple[FetchedBuildpack, ...] = field(default=())
    tools: tuple[str, ...] = ()  # folders of the node's build tools that the plans name

    @property
    def names(self) -> tuple[str, ...]:
        """For people."""
        return tuple(item.name for item in self.classic) + tuple(item.id for item in (self.group or cnb.NOBODY).members)


def detect(
    request: BuildRequest,
    manifest: AppManifest,
    fetcher: BuildpackFetcher,
    steps: Steps,
    names: Collection[str] = (),
) -> Chosen:
    """Asks the buildpacks, and has the tools that they need; ``names`` are the source's files below ``app/``.

    Raises DetectError, CompileError for a mistake in a file that one of them reads, and what `BuildpackFetcher.fetch`
    raises.
    """
    chosen = _choose(request, manifest, fetcher, steps, names)
    for item in chosen.classic:
        if item.name in manifest.mistakes:
            raise manifest.mistakes[item.name]
    tools = fetcher.provide_tools([item.name for item in chosen.classic], lambda file: _TOP + file in names, steps)
    return replace(chosen, tools=tools)


def _choose(
    request: BuildRequest,
    manifest: AppManifest,
    fetcher: BuildpackFetcher,
    steps: Steps,
    names: Collection[str],
) -> Chosen:
    wanted = named_buildpacks(request, manifest)
    files = [name.removeprefix(_TOP) for name in names if name.startswith(_TOP)]
    if wanted:
        fetched = fetcher.fetch(wanted, request.tenant, steps)
        try:
            return _all_of(fetched, steps)
        except DetectError as error:
            raise refused(error, [item.name for item in fetched], files) from error
    order = [parse_buildpack(text) for text in request.buildpack_order]
    if not order:
        chosen = _first_of((), steps)
        if chosen is not None:
            return chosen
    for bundle in _bundles(order):
        chosen = _first_of(fetcher.fetch(bundle, request.tenant, steps), steps)
        if chosen is not None:
            return chosen
    raise unclaimed(files, request.buildpack_order)


def named_buildpacks(request: BuildRequest, manifest: AppManifest) -> tuple[Buildpack, ...]:
    """By the request, by its config var, by the app's files: the first that names any. DetectError."""
    if request.buildpacks:
        return tuple(parse_buildpack(text) for text in request.buildpacks)
    if address := request.env.get(URL_VARIABLE):
        try:
            return (parse_buildpack(address),)
        except ValueError as error:
            raise DetectError(f"The config var {URL_VARIABLE}: {error}.") from error
    return manifest.buildpacks


def _bundles(order: Sequence[Buildpack]) -> Iterator[tuple[Buildpack, ...]]:
    """Those of the builder are asked in one step; others are fetched, each only when its turn comes."""
    for bundled, items in groupby(order, lambda item: isinstance(item, BundledBuildpack)):
        if bundled:
            yield tuple(items)
        else:
            yield from ((item,) for item in items)


def _all_of(fetched: tuple[FetchedBuildpack, ...], steps: Steps) -> Chosen:
    if all(item.kind == "classic" for item in fetched):
        detected = classic.detect([item.name for item in fetched], steps, every=True)
        return Chosen(classic=detected, fetched=fetched)
    if any(item.kind == "classic" for item in fetched):
        names = ", ".join(item.name for item in fetched if item.kind == "classic")
        raise DetectError(
            f"Classic and Cloud Native Buildpacks cannot build one app together; {names} is classic.",
            advice="Name buildpacks of one kind.",
        )
    return Chosen(group=cnb.detect(fetched, steps, must=True), fetched=fetched)


def _first_of(fetched: tuple[FetchedBuildpack, ...], steps: Steps) -> Chosen | None:
    if fetched and fetched[0].kind == "cnb":
        group = cnb.detect(fetched, steps, must=False)
        return Chosen(group=group, fetched=fetched) if group is not None else None
    detected = classic.detect([item.name for item in fetched], steps, every=False)
    return Chosen(classic=detected, fetched=fetched) if detected else None
