"""Keeps the values of secret config vars out of images."""

from __future__ import annotations

from collections.abc import Mapping

from buildfarm.errors import CompileError
from buildfarm.model import BuildRequest
from workers.attempt.mask import Mask
from workers.buildpacks.build import Built


def refuse_secrets(built: Built, request: BuildRequest) -> Mapping[str, str]:
    """Return the secret config vars, which no file of the image may contain either; the exporter searches these.

    Process types, variables and labels are in the image and in the record. Raises CompileError if a secret is in one.
    """
    secrets = {name: request.env[name] for name in request.secrets}
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
                f"{name} contains the value of a secret config var, which anyone with the image could read.",
                advice="Let the process read it from its environment when it starts.",
            )
    return secrets
