"""Moves tags to the image that the record names, after a dead node, a lost write or an outage left them elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.errors import RegistryError
from buildfarm.model import place_of
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.registry import Registry
from buildfarm.releases.signing.app_tags import AppTags
from buildfarm.settings import Settings
from buildfarm.store import Records, Tags
from buildfarm.telemetry import Logger

TAGS_SECONDS = 2.0

_BATCH = 20
_SILENCE_SECONDS = 5.0  # no build waits for a tag: a registry that hangs is tried again a minute later


@dataclass(frozen=True)
class TagRepair:
    """One look over the tags that may be elsewhere; nodes share them out among themselves."""

    records: Records
    registry: Registry
    logger: Logger
    signing: bool = False

    @property
    def tags(self) -> Tags:
        """Where they are marked."""
        return Tags(self.records.database)

    def repair(self) -> None:
        """Raises StoreError."""
        for unsettled in self.tags.due(_BATCH):
            try:
                self._settle(unsettled.target)
            except RegistryError as error:
                self.logger.warning("tag_not_checked", target=unsettled.target, reason=error.message)
            else:
                self.tags.settled(unsettled)

    def _settle(self, target: str) -> None:
        wanted = self.records.tag_target(target)
        repository, tag = place_of(target)
        if not wanted or self._digest(repository, tag) == wanted:
            return
        if not self._digest(repository, wanted):
            self.logger.warning("tag_without_image", target=target, digest=wanted)
            return
        moved = AppTags(self.registry, self.records, self.signing).move(target)
        self.logger.warning("tag_moved" if moved else "signature_asked_for", target=target, digest=wanted)

    def _digest(self, repository: str, reference: str) -> str:
        try:
            return str(self.registry.get_manifest(repository, reference)[2])
        except NotInRegistryError:
            return ""


def open_registry(settings: Settings) -> Registry:
    """A client that gives up soon, so that a node that stops does not wait for it."""
    return Registry(settings.registry_url, timeout_seconds=_SILENCE_SECONDS, attempts=1, ca=settings.registry_ca)
