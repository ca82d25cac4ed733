"""Which version of the farm this is."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("buildfarm")
except PackageNotFoundError:  # run from a checkout that was never installed
    VERSION = "0"
