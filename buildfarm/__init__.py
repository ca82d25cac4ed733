"""The build farm's library: submit builds, follow them, and read what came of them."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class LazyModule(ModuleType):
    """A module that is imported when one of its names is first read.

    It stands for modules that take long to import or need an extra, and that many commands do without. Together with
    `lazy_names` it is the only way in which anything here imports late.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__`` for names that it takes from these of its modules when they are first read."""

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(LazyModule(f"{package}.{modules[name]}"), name)

    return find


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
