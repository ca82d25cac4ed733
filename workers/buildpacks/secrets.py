"""Keeps the values of secret config vars out of images."""

from __future__ import annotations

from collections.abc import Iterable

from buildfarm.errors import CompileError
from workers.attempt.mask import Mask
from workers.buildpacks.build import Built


def refuse_secrets(built: Built, secrets: Iterable[str]) -> None:
    """What is in these is in the image, its labels and the record. Raises CompileError if a secret is in it."""
    mask = Mask(secrets)
    named = [*built.process_types.items(), *built.config_vars.items()]
    if built.cnb is not None:
        named += [
            *built.cnb.labels.items(),
            *((f"The layer {item.name}", str(item.metadata)) for item in built.cnb.layers),
        ]
    for name, value in named:
        if mask.finds(value):
            raise CompileError(
                f"{name} contains the value of a secret config var, which anyone with the image could read.",
                advice="Let the process read it from its environment when it starts.",
            )
