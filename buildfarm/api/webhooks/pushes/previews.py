"""Ends previews: the apps of pull requests that were closed, or that nobody has pushed to for long."""

from __future__ import annotations

from dataclasses import dataclass

from buildfarm.access import Audit, AuditEntry
from buildfarm.errors import BuildfarmError, NotFoundError, TooLateError
from buildfarm.farm import Farm
from buildfarm.model import Build, State
from buildfarm.oci.connection import NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.sources.pushes.hook import Hook
from buildfarm.store import Tags
from buildfarm.store.keeping.push_inbox import PREVIEW_AGAIN_SECONDS, PushInbox
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
                if not inbox.preview_is_due(name, score):
                    continue  # pushed to, or opened again, while the ones before it ended
                is_own = inbox.preview_of(tenant, app) == hook_id
                ended = self._end(hook_id, tenant, app, float(score) - PREVIEW_AGAIN_SECONDS) if is_own else True
            except BuildfarmError as error:
                logger(tenant=tenant).warning("preview_not_ended", app=app, reason=error.message)
                continue
            if ended:
                inbox.preview_ended(name, score)
            if ended and is_own:
                entry = AuditEntry(
                    who=f"hook {hook_id}", token="", tenant=tenant, verb="preview.end", object=place, result="done",
                    address="push",
                )  # fmt: skip
                Audit(self.farm.database).add(entry)
                logger(tenant=tenant).info("preview_ended", app=app)

    def _end(self, hook_id: str, tenant: str, app: str, due_at: float) -> bool:
        """Cancels its builds, removes its tag and its images. Returns whether nothing is left to be done."""
        PushInbox(self.farm.database).mark_preview(hook_id, tenant, app)
        builds = self._builds(tenant, app)
        if any(build.submitted_at > due_at for build in builds):
            return False
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
        except NotFoundError:
            return True


def claim(farm: Farm, hook: Hook, app: str) -> str:
    """Makes an app this hook's preview, until it ends; or returns why it cannot be: it was there before the hook's."""
    inbox = PushInbox(farm.database)
    owner = inbox.preview_of(hook.tenant, app)
    gone = owner if owner and not _exists(farm, owner) else ""
    is_taken = not owner and (farm.page(1, tenant=hook.tenant, app=app)[0] or _is_published(farm, hook.tenant, app))
    if is_taken or not inbox.mark_preview(hook.id, hook.tenant, app, instead_of=gone):
        return f"{hook.tenant}/{app} exists already, and is not a preview of this hook: rename it, or the hook's app."
    inbox.keep_preview(hook.id, hook.tenant, app, farm.database.now() + hook.preview_hours * 3600)
    return ""


def _exists(farm: Farm, hook_id: str) -> bool:
    try:
        farm.push_hooks.get(hook_id)
    except NotFoundError:
        return False
    return True


def _is_published(farm: Farm, tenant: str, app: str) -> bool:
    return farm.records.tag_target(f"apps/{tenant}/{app}") != ""
