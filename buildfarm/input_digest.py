"""The whole input of a build as one digest: equal inputs give the same image."""

from __future__ import annotations

import json
import re

from buildfarm.buildpacks.address import parse_buildpack
from buildfarm.config_vars.build_variables import NO_VARIABLES, BuildVariables
from buildfarm.model import STABLE, BuildRequest, Request
from buildfarm.seal import Seal
from buildfarm.settings import Settings
from buildfarm.sources.address import ArtifactSource, GitSource, Source

# Settings that decide what an image's bytes are; limits only decide whether there is one.
_SETTINGS = ("compression", "layer_min_bytes", "max_app_layers", "media_types", "profile")
_FIELDS = ("tenant", "app", "source", "env", "buildpacks", "buildpack_order")
# 2: earlier memos ignored branches of buildpacks that the app's own files name; 3: what project.toml excludes;
# 4: earlier images have no release; 5: a buildpack could set labels by which the signer knows an image.
_VERSION = 5
_COMMIT = re.compile(r"[0-9a-f]{40}")


def input_digest(
    request: Request,
    builder: str,
    settings: Settings,
    channel: str = STABLE,
    variables: BuildVariables = NO_VARIABLES,
) -> str:
    """A keyed digest of all that decides what the image is: also the build variables and the settings that matter.

    Empty where two builds of the same request may differ: an image build takes what its distribution has today, and a
    branch moves, also one that a buildpack comes from. Buildpacks that the app's own files name are not known here: see
    `workers.pipeline.run`. ``builder`` is the digest of the builder image, with the farm's own
    buildpacks in it, and ``channel`` the app's, by which its image names the builder.
    """
    if not isinstance(request, BuildRequest) or not builder or not _is_pinned(request.source):
        return ""
    buildpacks = (*request.buildpacks, *request.buildpack_order)
    if "BUILDPACK_URL" in request.env or not all(parse_buildpack(name).pinned for name in buildpacks):
        return ""
    content = {
        # An image in which something is found that is now a secret must not be taken for an equal one.
        **({"secrets": sorted(request.secrets)} if request.secrets else {}),
        **({"channel": channel} if channel != STABLE else {}),
        **({"variables": variables.beside(request.env).content()} if variables else {}),
        "version": _VERSION,
        "request": request.model_dump(mode="json", include=set(_FIELDS)),
        "builder": builder,
        "settings": settings.model_dump(mode="json", include=set(_SETTINGS)),
    }
    return Seal(settings.farm_key.get_secret_value()).digest(json.dumps(content, sort_keys=True).encode())


def _is_pinned(source: Source) -> bool:
    if isinstance(source, GitSource):
        return _COMMIT.fullmatch(source.ref) is not None
    return isinstance(source, ArtifactSource) or bool(source.sha256)
