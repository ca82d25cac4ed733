"""A head start: layers of an app's first deploy are made while the rest of its tree is still being looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from buildfarm.errors import Interruption
from buildfarm.oci.manifest import LayerDigests

Check = Callable[[], None]


class NotWanted(Interruption):
    """A layer that was begun is known already."""


class HeadStart:
    """Makes layers in a thread of its own, one behind the other; a context manager that leaves no thread behind.

    ``choose`` says of which folders. ``make`` makes and sends the layer of one; it calls its second argument often, and
    ends where that raises.
    """

    def __init__(self, choose: Callable[[], Sequence[str]], make: Callable[[str, Check], LayerDigests]) -> None:
        self._make = make
        self._dropped: set[str] = set()
        self._left = False
        self._thread = ThreadPoolExecutor(1, "head-start")
        self._begun: Future[dict[str, Future[LayerDigests]]] = self._thread.submit(self._begin, choose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left = True
        self._thread.shutdown()

    def take(self, folder: str) -> LayerDigests | None:
        """The folder's layer once it is made, or None where it was not begun or was dropped. Raises what it met."""
        if folder in self._dropped or folder not in self._begun.result():
            return None
        return self._begun.result()[folder].result()

    def drop(self, folder: str) -> None:
        """The layer is not wanted; what was sent of it is cancelled."""
        self._dropped.add(folder)

    def _begin(self, choose: Callable[[], Sequence[str]]) -> dict[str, Future[LayerDigests]]:
        # Behind this one in the same thread, and so one behind the other.
        return {folder: self._thread.submit(self._run, folder) for folder in choose()}

    def _run(self, folder: str) -> LayerDigests:
        def check() -> None:
            if self._left or folder in self._dropped:
                raise NotWanted(f"The layer of {folder} is known.")

        check()
        return self._make(folder, check)
