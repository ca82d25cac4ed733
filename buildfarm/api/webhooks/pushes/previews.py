"""Ends previews: the apps of pull requests that were closed, or that nobody has pushed to for long."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.access import Audit, AuditEntry
from buildfarm.errors import RegistryError, TooLateError
from buildfarm.farm import Farm
from buildfarm.model import Build, State
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.store import Tags
from buildfarm.store.keeping.push_inbox import PushInbox
from buildfarm.store.keeping.running import ImagesInUse
from buildfarm.telemetry import logger

_AT_ONCE = 5
_PAGE = 100


@dataclass(frozen=True)
class Previews:
    """Every method raises StoreError if Redis cannot be reached."""

    farm: Farm

    def end_due(self) -> None:
        """Ends those that are due; one that cannot end now, such as one whose image runs, is tried again later."""
        inbox = PushInbox(self.farm.database)
        for name, score in inbox.previews_due(_AT_ONCE):
            hook_id, _, place = name.partition(" ")
            tenant, _, app = place.partition("/")
            try:
                ended = self._end(tenant, app)
            except RegistryError as error:
                logger(tenant=tenant).warning("preview_not_ended", app=app, reason=error.message)
                continue
            if ended:
                inbox.preview_ended(name, score)
                entry = AuditEntry(
                    who=f"hook {hook_id}", token="", tenant=tenant, verb="preview.end", object=place, result="done",
                    address="push",
                )  # fmt: skip
                Audit(self.farm.database).add(entry)
                logger(tenant=tenant).info("preview_ended", app=app)

    def _end(self, tenant: str, app: str) -> bool:
        """Cancels its builds, removes its tag and its images. Returns whether nothing is left to be done."""
        builds = self._builds(tenant, app)
        cancelled = [self._cancelled(build) for build in builds if not build.state.final]
        target = f"apps/{tenant}/{app}"
        images = {str(build.result.digest) for build in builds if build.result} | {self.farm.records.tag_target(target)}
        running = images & ImagesInUse(self.farm.database).digests()
        if running:
            return False
        Tags(self.farm.database).point(target, "", "")
        for image in images - {""}:
            try:
                self.farm.quick_registry.delete_manifest(target, Digest(image))
            except NotInRegistryError:
                continue
        return all(cancelled)

    def _builds(self, tenant: str, app: str) -> list[Build]:
        found: list[Build] = []
        after: str | None = ""
        while after is not None:
            page, after = self.farm.page(_PAGE, tenant=tenant, app=app, after=after)
            found += page
        return found

    def _cancelled(self, build: Build) -> bool:
        """Whether the build has ended: a running one takes seconds, and may be past the point of no return."""
        try:
            return self.farm.cancel(build.id) is not State.RUNNING
        except TooLateError:
            return False
