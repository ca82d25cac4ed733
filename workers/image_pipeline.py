"""One image build from its recipe to its image: the phases in their order, as `pipeline` has them for apps."""

from __future__ import annotations

from collections.abc import Callable

from buildfarm.errors import RecipeError
from buildfarm.model import Build, BuildResult, ImageRequest
from workers.exporter import Exported
from workers.pipeline import Tools
from workers.progress import Progress


def run(
    build: Build,
    request: ImageRequest,
    tools: Tools,
    progress: Progress,
    *,
    publish: Callable[[Exported], None],
    accept: Callable[[BuildResult], None],
) -> None:
    """Builds the image that the recipe describes. Raises AppError, FarmError and Interruption."""
    raise RecipeError(f"This node builds no images yet, {request.image} neither.")
