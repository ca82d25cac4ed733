"""The archive: ended builds leave Redis for packs in the registry, and are read from there (decision 027)."""

from buildfarm.store.archive.history import LOG_WAIT_SECONDS, History

__all__ = ["LOG_WAIT_SECONDS", "History"]
