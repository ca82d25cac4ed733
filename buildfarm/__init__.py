"""The build farm's library: submit builds, follow them, and read what came of them."""

from importlib.metadata import version

__version__ = version("buildfarm")
