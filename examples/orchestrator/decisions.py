"""What to do with an app's containers. Pure: the modules beside it do it."""

from collections.abc import Sequence
from dataclasses import dataclass

RETRY_SECONDS = 600.0  # an image that failed its check is tried again after this time


@dataclass(frozen=True)
class Container:
    """A container of an app, as the engine and the labels on it describe it."""

    id: str
    app: str  # tenant/app
    image: str  # digest
    address: str  # host:port; empty: it does not run
    started_at: float  # seconds since the epoch
    ended_at: float = 0.0


def find_wanted(containers: Sequence[Container], image: str) -> Container | None:
    """The newest container of the image that the app is to run, whether it runs or not."""
    return max((one for one in containers if one.image == image), key=lambda one: one.started_at, default=None)


def find_previous(containers: Sequence[Container], wanted: Container) -> Container | None:
    """The container that goes on serving if the wanted one is not healthy."""
    running = [one for one in containers if one.address and one.id != wanted.id]
    return max(running, key=lambda one: one.started_at, default=None)


def must_start(wanted: Container | None, containers: Sequence[Container], now: float) -> bool:
    """Whether the wanted image is to be started: not if it has just failed and another one serves the app."""
    if wanted is None or wanted.address:
        return wanted is None
    return now - wanted.ended_at > RETRY_SECONDS or find_previous(containers, wanted) is None
