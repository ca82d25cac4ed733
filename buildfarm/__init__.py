"""The build farm's library: submit builds, follow them, and read what came of them."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class LazyModule(ModuleType):
    """A module that is imported when one of its names is first read.

    It stands for modules that take long to import or need an extra, and that many commands do without. Nothing else
    here imports late.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """Look ``__version__`` up when it is read: that takes 20 ms."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        metadata = LazyModule("importlib.metadata")
        try:
            return metadata.version("buildfarm")
        except metadata.PackageNotFoundError:  # a checkout that was never installed
            return "0"
