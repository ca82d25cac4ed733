"""The build farm's library: submit builds, follow them, and read what came of them."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("buildfarm")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0"
