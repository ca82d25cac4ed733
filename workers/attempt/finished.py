"""What a pipeline hands over once an image is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from buildfarm.model import BuildResult, Phase


@dataclass(frozen=True)
class Finished:
    """The result, and whether an equal request gives the same image: everything the app's files name is pinned."""

    result: BuildResult
    pinned: bool

    @classmethod
    def of(cls, result: BuildResult, phase_seconds: Mapping[Phase, float], *, pinned: bool = True) -> Self:
        """With the seconds of all phases, publish among them."""
        return cls(result.model_copy(update={"phase_seconds": dict(phase_seconds)}), pinned)
