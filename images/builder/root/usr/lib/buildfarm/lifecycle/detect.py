"""The phase detect: the first group of buildpacks that takes the app (buildpack.md, "Phase #1: Detection")."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lifecycle import toml
from lifecycle.descriptor import Descriptor
from lifecycle.failure import (
    BUILD_WRONG,
    DETECT_FAILED,
    NONE_DETECTED,
    NONE_DETECTED_ONE_FAILED,
    LifecycleError,
)
from lifecycle.plan import Entry, Passed, Section, parse_plan, resolve
from lifecycle.program import PLATFORM, base_environment, run
from lifecycle.system import this_system

GROUPS_MAX = 1000
_PASS, _FAIL = 0, 100


@dataclass(frozen=True)
class Member:
    """A buildpack of a group that has its own programs."""

    buildpack: Descriptor
    optional: bool


@dataclass
class Detection:
    """Runs each buildpack's detect at most once, however many groups it is in."""

    available: Sequence[Descriptor]
    _results: dict[Path, tuple[Section, ...] | None] = field(default_factory=dict)
    _errored: bool = False

    def detect(self, order: Sequence[Sequence[Member]]) -> tuple[list[Descriptor], list[Entry[Descriptor]]]:
        """The buildpacks to run, and their plan. Raises LifecycleError."""
        count = 0
        for group in order:
            for members in self._expanded(list(group)):
                count += 1
                if count > GROUPS_MAX:
                    raise LifecycleError(DETECT_FAILED, f"The order has more than {GROUPS_MAX} groups.")
                found = self._try(members)
                if found is not None:
                    return found
        code = NONE_DETECTED_ONE_FAILED if self._errored else NONE_DETECTED
        raise LifecycleError(code, "No group of buildpacks detects this app.")

    def _expanded(self, members: list[Member], depth: int = 0) -> Iterator[list[Member]]:
        """Groups without composite buildpacks, depth first."""
        at = next((at for at, member in enumerate(members) if member.buildpack.order), None)
        if at is None:
            yield members
            return
        if depth > 10:
            raise LifecycleError(DETECT_FAILED, "The order is nested more than 10 deep.")
        composite = members[at]
        for group in composite.buildpack.order:
            inner = [Member(self._named(item.id, item.version, composite.buildpack), item.optional) for item in group]
            yield from self._expanded([*members[:at], *inner, *members[at + 1 :]], depth + 1)
        if composite.optional:
            yield from self._expanded([*members[:at], *members[at + 1 :]], depth + 1)

    def _named(self, name: str, version: str, asked_by: Descriptor) -> Descriptor:
        for buildpack in self.available:
            if buildpack.id == name and version in ("", buildpack.version):
                return buildpack
        raise LifecycleError(
            BUILD_WRONG, f"The order of {asked_by.id} names the buildpack {name} {version}, which is not part of it."
        )

    def _try(self, members: Sequence[Member]) -> tuple[list[Descriptor], list[Entry[Descriptor]]] | None:
        passed = []
        for member in members:
            sections = self._result(member.buildpack)
            if sections is not None:
                passed.append(Passed(member.buildpack, member.optional, sections))
            elif not member.optional:
                return None
        return resolve(passed) if passed else None

    def _result(self, buildpack: Descriptor) -> tuple[Section, ...] | None:
        if buildpack.folder not in self._results:
            self._results[buildpack.folder] = self._run(buildpack)
        return self._results[buildpack.folder]

    def _run(self, buildpack: Descriptor) -> tuple[Section, ...] | None:
        if not buildpack.fits(this_system()):
            _say(f"The buildpack {buildpack.id} is for another system")
            return None
        with tempfile.TemporaryDirectory() as folder:
            plan = Path(folder) / "plan.toml"
            plan.touch()
            own = {"CNB_BUILD_PLAN_PATH": str(plan)}
            code = run(buildpack, "detect", [str(PLATFORM), str(plan)], base_environment(), own)
            if code == _PASS:
                try:
                    where = f"The build plan of the buildpack {buildpack.id}"
                    return parse_plan(toml.read(plan, DETECT_FAILED, where))
                except ValueError as error:
                    raise LifecycleError(DETECT_FAILED, f"{where}: {error}.") from error
        if code != _FAIL:
            self._errored = True
            _say(f"bin/detect of the buildpack {buildpack.id} ended with the error {code}")
        return None


def _say(sentence: str) -> None:
    print(f"       {sentence}", file=sys.stderr, flush=True)
