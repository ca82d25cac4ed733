"""The archive: ended builds leave Redis for packs in the registry, and are read from there (decision 027)."""

from buildfarm.store.archive.catalog import Catalog
from buildfarm.store.archive.history import LOG_WAIT_SECONDS, History
from buildfarm.store.archive.shelf import ARCHIVE

__all__ = ["ARCHIVE", "LOG_WAIT_SECONDS", "Catalog", "History"]
