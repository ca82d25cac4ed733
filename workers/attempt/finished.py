"""What a pipeline hands over once an image is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from buildfarm.model import BuildResult, Phase


class Publish(Protocol):
    """Makes a pipeline's image the newest of its target; ``pinned`` is as in `Finished`."""

    def __call__(self, result: BuildResult, *, pinned: bool = True) -> None: ...


@dataclass(frozen=True)
class Finished:
    """The result, and whether an equal request gives the same image: everything the app's files name is pinned."""

    result: BuildResult
    pinned: bool

    @classmethod
    def of(cls, result: BuildResult, phase_seconds: Mapping[Phase, float], *, pinned: bool = True) -> Self:
        """With the seconds of all phases, publish among them."""
        return cls(result.model_copy(update={"phase_seconds": dict(phase_seconds)}), pinned)
