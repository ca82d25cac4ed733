"""A head start: layers of an app's first deploy are made while the rest of its tree is still being looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
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

    ``make`` makes and sends the layer of a folder. It calls its second argument often, and ends where that raises.
    """

    def __init__(self, folders: Iterable[str], make: Callable[[str, Check], LayerDigests]) -> None:
        self._make = make
        self._dropped = {folder: threading.Event() for folder in folders}
        self._thread = ThreadPoolExecutor(1, "head-start")
        self._begun: dict[str, Future[LayerDigests]] = {
            folder: self._thread.submit(self._run, folder) for folder in self._dropped
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for folder in list(self._begun):
            self.drop(folder)
        self._thread.shutdown()

    def take(self, folder: str) -> LayerDigests | None:
        """The folder's layer once it is made, or None where it was not begun or was dropped. Raises what it met."""
        begun = self._begun.pop(folder, None)
        return None if begun is None else begun.result()

    def drop(self, folder: str) -> None:
        """The layer is not wanted; what was sent of it is cancelled."""
        if self._begun.pop(folder, None) is not None:
            self._dropped[folder].set()

    def _run(self, folder: str) -> LayerDigests:
        def check() -> None:
            if self._dropped[folder].is_set():
                raise NotWanted(f"The layer of {folder} is known.")

        check()
        return self._make(folder, check)
