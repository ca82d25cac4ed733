"""SLSA provenance of images: its names, and what a statement says; no I/O. docs/provenance.md explains each field.

Sources: slsa.dev/spec/v1.2/build-provenance; github.com/in-toto/attestation, spec/v1/resource_descriptor.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from buildfarm.oci.signatures.dsse import Statement

PROVENANCE = "https://slsa.dev/provenance/v1"
_ROOT = "https://buildfarm.invalid/provenance"  # of names alone: nothing is there


class BuildType(StrEnum):
    """How an image came to be, and so what the external parameters of its provenance are."""

    BUILD = f"{_ROOT}/build/v1"  # an app's source was built
    IMAGE = f"{_ROOT}/image/v1"  # one of the farm's own images was made by a recipe
    COMPOSE = f"{_ROOT}/compose/v1"  # an app's release was put on another base


class Builder(StrEnum):
    """Who made an image. Each stands for one SLSA build level."""

    CACHED = f"{_ROOT}/builders/cached/v1"  # L2: began with what the app's last build left
    CLEAN = f"{_ROOT}/builders/clean/v1"  # L3: nothing of an earlier build
    COMPOSE = f"{_ROOT}/builders/compose/v1"  # L3: the signer composed it; its release is another statement's matter
    LAPTOP = f"{_ROOT}/builders/laptop/v1"  # L1: a farm on one person's machine

    @property
    def level(self) -> int:
        """The SLSA build level that it claims."""
        return {Builder.CACHED: 2, Builder.LAPTOP: 1}.get(self, 3)


@dataclass(frozen=True)
class Provenance:
    """What a statement says. Raises nothing for one that others wrote: what is not there is empty."""

    predicate: Mapping[str, Any]

    @property
    def definition(self) -> Mapping[str, Any]:
        """What was to be built: the same definition twice is the same build."""
        return _object(self.predicate, "buildDefinition")

    @property
    def build_type(self) -> str:
        """A `BuildType`, or another one's URI."""
        return str(self.definition.get("buildType", ""))

    @property
    def builder(self) -> str:
        """A `Builder`, or another one's URI."""
        return str(_object(_object(self.predicate, "runDetails"), "builder").get("id", ""))

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The run's id and times."""
        return _object(_object(self.predicate, "runDetails"), "metadata")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the one who asked for it chose."""
        return _object(self.definition, "externalParameters")

    @property
    def dependencies(self) -> list[Mapping[str, Any]]:
        """What was fetched for it, as resource descriptors."""
        found = self.definition.get("resolvedDependencies")
        return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def repeats(known: Statement, new: Statement) -> bool:
    """Return whether ``new`` says nothing that ``known`` does not: the same, or one more run of the same definition."""
    if known == new:
        return True
    if not PROVENANCE == known.predicate_type == new.predicate_type:
        return False
    one, other = Provenance(known.predicate), Provenance(new.predicate)
    same = (one.builder, one.definition) == (other.builder, other.definition)
    return same and (known.subject, known.name) == (new.subject, new.name)


def replaced(known: Mapping[str, Statement], new: Statement) -> list[str]:
    """Return which of the statements give way to a new one about their image: of each builder's, the first stays.

    An app that is built again and again to the same image would have ever more of them. ``known`` are in their order.
    """
    if new.predicate_type != PROVENANCE:
        return []
    builder = Provenance(new.predicate).builder
    same = [
        name
        for name, one in known.items()
        if (one.predicate_type, one.subject) == (PROVENANCE, new.subject)
        and Provenance(one.predicate).builder == builder
    ]
    return same[1:]


def _object(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}
