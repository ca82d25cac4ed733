"""Keeps the values of secret config vars and build variables out of images."""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.errors import CompileError
from buildfarm.model import BuildRequest
from workers.attempt.mask import Mask
from workers.buildpacks.build import Built


def refuse_secrets(built: Built, request: BuildRequest, others: Mapping[str, str]) -> Mapping[str, str]:
    """Return the secret config vars and the secret ``others``, which no file of the image may contain either.

    Process types, variables and labels are in the image and in the record. Raises CompileError if a secret is in one.
    """
    secrets = {**others, **{name: request.env[name] for name in request.secrets}}
    mask = Mask(secrets.values())
    named = [*built.process_types.items(), *built.config_vars.items()]
    if built.cnb is not None:
        named += [
            *built.cnb.labels.items(),
            *((f"The layer {item.name}", str(item.metadata)) for item in built.cnb.layers),
        ]
    for name, value in named:
        if mask.finds(value):
            raise CompileError(
                f"{name} contains the value of a secret, which anyone with the image could read.",
                advice="Let the process read it from its environment when it starts.",
            )
    return secrets
