"""Whether an image has a component, in its own layers or in its base."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.releases.facts.check import NoFactsError
from buildfarm.releases.facts.components.cyclonedx import unread_of
from buildfarm.releases.facts.components.expression import Expression
from buildfarm.releases.facts.components.image import ImageReader, Part
from buildfarm.releases.facts.components.versions import VersionTextError

_LISTED_MAX = 3


@dataclass(frozen=True)
class Found:
    """What is known of an image; texts are for people."""

    base: str  # repository@digest; empty if it is not known
    own: str  # what its own layers have of the component; empty: nothing
    of_base: str  # likewise, its base
    unclear: frozenset[str]  # files of its own layers whose components are not known or cannot be compared, with why

    @property
    def unread(self) -> str:
        """These files; empty if there are none."""
        return _listed(sorted(self.unclear))


def find(reader: ImageReader, name: str, image: str, expression: str) -> Found:
    """Looks for a component in an image of tenant/app.

    Raises NoFactsError if nodes are still to read its layers, NotFoundError, RegistryError and StoreError.
    """
    own, base = reader.read(f"apps/{name}", image)
    if own.pending:
        error = NoFactsError(f"It is not known whether {name} has {expression}: its files have not been read yet.")
        error.why, error.pending = "its files have not been read yet", True
        raise error
    wanted = Expression.parse(expression)
    found, unclear = _matches(own, wanted)
    return Found(
        base=base.reference if base else "",
        own=_listed(found),
        of_base=_listed(_matches(base, wanted)[0]) if base else "",
        unclear=frozenset([*unclear, *unread_of([own])]),
    )


def _matches(part: Part, wanted: Expression) -> tuple[list[str], list[str]]:
    """What it has of the component, and what cannot be compared: a tenant can write any text as a version."""
    found, unclear = list[str](), list[str]()
    for path, components in sorted(part.components.files.items()):
        for one in components:
            text = f"{one.kind}/{one.name} {one.version} (/{path})"
            try:
                found += [text] if wanted.matches(one) else []
            except VersionTextError:
                unclear.append(f"the version of {text} cannot be compared")
    return found, unclear


def _listed(found: list[str]) -> str:
    more = f" and {len(found) - _LISTED_MAX} more" if len(found) > _LISTED_MAX else ""
    return ", ".join(found[:_LISTED_MAX]) + more
