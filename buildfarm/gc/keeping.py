"""What users decide about keeping: limits of tenants, policies of retention, and images in use. Part of `Farm`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from buildfarm import LazyModule
from buildfarm.errors import RequestError
from buildfarm.fields import NAME_PATTERN
from buildfarm.model import Build, BuildRequest, Request
from buildfarm.queue.view import Limits
from buildfarm.settings import Settings
from buildfarm.store import LIMIT_MAX, Admission, Database, Pages, Records
from buildfarm.store.archive import History

if TYPE_CHECKING:
    from buildfarm.config_vars import variable_rules
    from buildfarm.config_vars.build_variables import BuildVariable, VariableView
    from buildfarm.gc import retention as rules
    from buildfarm.gc import room as rooms
    from buildfarm.gc.retention import InUse, Retention, Running
    from buildfarm.gc.room import Room
    from buildfarm.node import Node
    from buildfarm.sources.credentials import CredentialView, NewCredential
    from buildfarm.sources.credentials import matching as credential_matching
    from buildfarm.sources.credentials import rules as credential_rules
    from buildfarm.sources.credentials import submodules as credential_submodules
    from buildfarm.sources.pushes.hook import HookView, NewHook
    from buildfarm.store import nodes as known_nodes
    from buildfarm.store.keeping import credentials as credentials_kept
    from buildfarm.store.keeping import policies as policies_kept
    from buildfarm.store.keeping import push_hooks, push_inbox
    from buildfarm.store.keeping import running as running_images
    from buildfarm.store.keeping import sizes as sizes_kept
    from buildfarm.store.keeping import usage as bytes_used
    from buildfarm.store.keeping import variables as variables_kept
else:  # most calls of the farm decide nothing about keeping
    rules = LazyModule("buildfarm.gc.retention")
    rooms = LazyModule("buildfarm.gc.room")
    policies_kept = LazyModule("buildfarm.store.keeping.policies")
    push_hooks = LazyModule("buildfarm.store.keeping.push_hooks")
    push_inbox = LazyModule("buildfarm.store.keeping.push_inbox")
    running_images = LazyModule("buildfarm.store.keeping.running")
    sizes_kept = LazyModule("buildfarm.store.keeping.sizes")
    known_nodes = LazyModule("buildfarm.store.nodes")
    bytes_used = LazyModule("buildfarm.store.keeping.usage")
    variables_kept = LazyModule("buildfarm.store.keeping.variables")
    variable_rules = LazyModule("buildfarm.config_vars.variable_rules")
    credentials_kept = LazyModule("buildfarm.store.keeping.credentials")
    credential_matching = LazyModule("buildfarm.sources.credentials.matching")
    credential_submodules = LazyModule("buildfarm.sources.credentials.submodules")
    credential_rules = LazyModule("buildfarm.sources.credentials.rules")

IMAGES_MAX = 800  # of one report: a request's body has 64 KiB
LEASE_DAYS_MAX = 90
BYTES_MAX = 2**50
_PAGE = 500


@dataclass(frozen=True)
class Keeping(ABC):
    """These methods of the farm; all raise StoreError if Redis cannot be reached."""

    settings: Settings
    database: Database
    admission: Admission
    records: Records

    @property
    @abstractmethod
    def history(self) -> History:
        """All builds, those in the archive too."""

    @cached_property
    def room(self) -> Room:
        """Refuses what has no room in the registry."""
        return rooms.Room(self.admission)

    @property
    def build_variables(self) -> variables_kept.VariableStore:
        """The variables that count for all builds of the farm, a tenant or an app."""
        return variables_kept.VariableStore(self.database, self.records.seal)

    def variables(self, tenant: str | None = None) -> list[VariableView]:
        """The build variables of the farm, and of a tenant and its apps; without their values."""
        return self.build_variables.views(tenant)

    def set_variables(
        self, changes: Mapping[str, BuildVariable | None], *, tenant: str | None = None, app: str | None = None
    ) -> list[VariableView]:
        """Sets build variables of the farm, a tenant or an app; None removes one. Raises RequestError.

        They count for every attempt that begins from now on.
        """
        if app is not None and tenant is None:
            raise RequestError("An app is named with its tenant.", advice="Name it as TENANT/APP.")
        _check_owner(tenant, app, "See docs/company-network.md.")
        variable_rules.check_variables(changes)
        self.build_variables.change(tenant, app, changes)
        return self.variables(tenant)

    @property
    def fetch_credentials(self) -> credentials_kept.CredentialStore:
        """What private repositories and buildpacks are fetched with."""
        return credentials_kept.CredentialStore(self.database, self.records.seal)

    def credentials(self, tenant: str) -> list[CredentialView]:
        """The credentials of a tenant and its apps; without their values."""
        return self.fetch_credentials.views(tenant)

    def set_credential(
        self, name: str, new: NewCredential | None, *, tenant: str, app: str | None = None
    ) -> list[CredentialView]:
        """Sets a credential of a tenant or an app, or replaces it; None removes it. Raises RequestError.

        It counts for every attempt that begins from now on.
        """
        _check_owner(tenant, app, "See docs/private-repositories.md.")
        self.fetch_credentials.change(tenant, app, name, credential_rules.checked(name, new) if new else None)
        return self.credentials(tenant)

    def _credentials_for(self, request: Request) -> list[CredentialView]:
        """The credentials that count for a build. Raises RequestError if it needs one that is not there."""
        if not isinstance(request, BuildRequest):
            return []
        views = self.credentials(request.tenant)
        found = [one for one in views if one.app in (None, request.app)]
        addresses = [getattr(request.source, "url", ""), *(name.partition("#")[0] for name in request.buildpacks)]
        if url := credential_matching.lacking(found, addresses):
            raise RequestError(
                f"{url} needs a credential, and {request.tenant}/{request.app} has none for it.",
                advice=credential_matching.advice_for(url, f"{request.tenant}/{request.app}"),
            )
        return found

    def _fetches_more(self, request: Request) -> bool:
        """Whether the build fetches submodules or Git LFS files, which its request does not say."""
        addresses = credential_submodules.addresses_of(request)
        if not addresses:
            return False
        views = [one for one in self.credentials(request.tenant) if one.app in (None, request.app)]
        return credential_submodules.fetches_more(views, addresses)

    @property
    def push_hooks(self) -> push_hooks.HookStore:
        """The push hooks of all tenants, for what receives pushes."""
        return push_hooks.HookStore(self.database, self.records.seal)

    def hooks(self, tenant: str | None = None) -> list[HookView]:
        """The push hooks of a tenant, or of all; without their secrets."""
        return self.push_hooks.views(tenant)

    def make_hook(self, new: NewHook) -> HookView:
        """Makes a push hook and its secret, which is shown now alone. Raises RequestError."""
        if new.tenant is None:
            raise RequestError("A push hook is of a tenant's app.", advice="Name it as TENANT/APP.")
        page = self.settings.url or f"http://{self.settings.api_host}:{self.settings.api_port}"
        return self.push_hooks.make(new, new.tenant, new.page or page)

    def remove_hook(self, hook_id: str) -> HookView:
        """Removes a push hook; its previews end. Raises NotFoundError."""
        hook = self.push_hooks.view(hook_id)
        self.push_hooks.remove(hook_id)
        push_inbox.PushInbox(self.database).end_previews_of(hook_id)
        return hook

    @property
    def sizes(self) -> sizes_kept.SizeRules:
        """The sizes of builds: which ones tenants may use, and which ones apps have chosen."""
        return sizes_kept.SizeRules(self.database, self.settings, known_nodes.Nodes(self.database).all)

    def app_size(self, tenant: str, app: str) -> str:
        """The size of the app's builds that ask for none."""
        return self.sizes.of_app(tenant, app)

    def set_app_size(self, tenant: str, app: str, size: str) -> str:
        """Gives the app's builds from the next submit on this size. Raises RequestError and NotFoundError."""
        _check_owner(tenant, app, "See docs/sizes.md.")
        self.sizes.choose(tenant, app, size)
        return self.app_size(tenant, app)

    def nodes(self) -> list[Node]:
        """The build nodes of the last day; those that went silent are marked as gone."""
        return known_nodes.Nodes(self.database).all()

    def drain(self, node_id: str) -> None:
        """Asks a node to take no more builds, to end those it has, and to leave. Raises NotFoundError."""
        known_nodes.Nodes(self.database).drain(node_id)

    def limits(self, tenant: str, app: str | None = None) -> Limits:
        """What a tenant may have running and waiting, and this app of it."""
        return self.admission.limits(tenant, app).model_copy(update={"sizes": self.sizes.allowed(tenant)})

    def limits_set(self) -> dict[str, int]:
        """The limits that were set, as "tenant:running", "tenant:waiting" and "tenant/app:running"."""
        return self.admission.limits_set()

    def set_limits(
        self, tenant: str, app: str | None = None, *, sizes: Sequence[str] | None = (), **values: int | None
    ) -> Limits:
        """Sets ``running``, and of a tenant ``waiting``, ``bytes`` and ``sizes``; None: as the settings. RequestError.

        Without ``sizes`` they stay as they are.
        """
        _check_owner(tenant, app, "See docs/queue.md.")
        allowed = ("running",) if app else ("running", "waiting", "bytes", "sizes")
        given = {*values, *(("sizes",) if sizes is None or sizes else ())}
        if unknown := given - set(allowed):
            raise RequestError(
                f"{'An app' if app else 'A tenant'} has no limit named {', '.join(sorted(unknown))}.",
                advice=f"Its limits are: {', '.join(allowed)}.",
            )
        for name, value in values.items():
            most = BYTES_MAX if name == "bytes" else LIMIT_MAX
            if value is not None and not 1 <= value <= most:
                raise RequestError(f"The limit {name} must be from 1 to {most:,}, not {value}.")
        if "sizes" in given:
            self.sizes.allow(tenant, None if sizes is None else tuple(sizes))
        if values:
            self.admission.set_limits(tenant, app, values)
        return self.limits(tenant, app)

    def usage(self, tenant: str) -> dict[str, int]:
        """The tenant's bytes in the registry: ``sources``, ``caches``, ``apps`` and ``archive``."""
        return bytes_used.Usage(self.database).of(tenant)

    def retention(self, tenant: str, app: str | None = None) -> Retention:
        """What of a tenant, or of one of its apps, stays how long."""
        return rules.effective(self.settings, policies_kept.Policies(self.database).all(), tenant, app)

    def retention_set(self) -> dict[str, float]:
        """The values that were set, as "tenant:images" and "tenant/app:image_days"."""
        return policies_kept.Policies(self.database).all()

    def set_retention(self, tenant: str, app: str | None = None, **values: float | None) -> Retention:
        """Sets fields of a policy; None goes back to the tenant's or the settings'.

        Raises RequestError, also for a policy that would delete running images.
        """
        _check_owner(tenant, app, "See docs/operating.md.")
        rules.check_values(values, app)
        policies = policies_kept.Policies(self.database)
        now = policies.all()
        owner = f"{tenant}/{app}" if app else tenant
        then = {**now, **{f"{owner}:{name}": value for name, value in values.items() if value is not None}}
        for name, value in values.items():
            if value is None:
                then.pop(f"{owner}:{name}", None)
        self._refuse_deletion(tenant, app, now, then)
        policies.set(tenant, app, values)
        return self.retention(tenant, app)

    def images_in_use(self) -> list[InUse]:
        """The images that are reported as running, by reporter."""
        return [
            rules.InUse(reporter=one.reporter, images=tuple(sorted(one.images)), until=one.until)
            for one in running_images.ImagesInUse(self.database).all()
        ]

    def report_in_use(self, images: Collection[str], *, days: float = 3, reporter: str = "orchestrator") -> InUse:
        """Replaces a reporter's running images, by digest or reference; they stay for so many days. RequestError."""
        digests = {rules.digest_of(image) for image in images}
        if len(digests) > IMAGES_MAX:
            raise RequestError(
                f"A report has at most {IMAGES_MAX} images, not {len(digests)}.",
                advice="Send several, each with a name of its reporter, such as the host's.",
            )
        if not 0 < days <= LEASE_DAYS_MAX:
            raise RequestError(f"A report counts for more than 0 and at most {LEASE_DAYS_MAX} days, not {days:g}.")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", reporter):
            raise RequestError(
                f"{reporter[:80]!r} is not a valid name of a reporter.",
                advice="Use 1 to 64 letters, digits, dots, dashes and low lines.",
            )
        until = running_images.ImagesInUse(self.database).report(reporter, digests, days * rules.DAY)
        if until is None:
            raise RequestError("There are too many reporters.", advice="Give the reports fewer names.")
        return rules.InUse(reporter=reporter, images=tuple(sorted(digests)), until=until)

    def _refuse_deletion(self, tenant: str, app: str | None, now: dict[str, float], then: dict[str, float]) -> None:
        in_use = running_images.ImagesInUse(self.database).digests()
        if not in_use:
            return
        for name, running in self._running(tenant, app, in_use).items():
            before, after = (rules.effective(self.settings, found, tenant, name) for found in (now, then))
            if rules.lowers(before, after) and (found := rules.would_delete(running, after)):
                raise rules.refuse(f"{tenant}/{name}", found)

    def _builds(self, tenant: str, app: str | None) -> Iterator[Build]:
        """Builds whose records still count, an app's newest first."""
        now = self.database.now()
        for name in (app,) if app else self._apps(tenant):
            since = now - self.retention(tenant, name).record_days * rules.DAY
            after: str | None = ""
            while after is not None:
                found, after = self.history.page(_PAGE, tenant=tenant, app=name, after=after)
                yield from found
                if found and found[-1].submitted_at < since:
                    break

    def _apps(self, tenant: str) -> set[str]:
        """The tenant's apps that have builds, in Redis or in the archive."""
        places = (place.partition("/") for place in self.history.catalog.places())
        found = {app for owner, _, app in places if owner == tenant}
        after: str | None = ""
        while after is not None:
            builds, after = Pages(self.database).page(_PAGE, tenant=tenant, after=after)
            found |= {build.request.app for build in builds}
        return found

    def _running(self, tenant: str, app: str | None, in_use: set[str]) -> dict[str, list[Running]]:
        """The running images of the tenant's apps, as far as records name them."""
        now = self.database.now()
        images: dict[str, dict[str, float]] = {}
        for build in self._builds(tenant, app):
            if build.result is not None and build.finished_at is not None:
                images.setdefault(build.request.app, {}).setdefault(str(build.result.digest), build.finished_at)
        return {
            name: [
                rules.Running(digest=digest, newer=newer, days=(now - made_at) / rules.DAY)
                for newer, (digest, made_at) in enumerate(found.items())
                if digest in in_use and digest != self.records.tag_target(f"apps/{tenant}/{name}")
            ]
            for name, found in images.items()
        }


def _check_owner(tenant: str | None, app: str | None, advice: str) -> None:
    for what, name in (("tenant", tenant), ("app", app)):
        if name is not None and not re.fullmatch(NAME_PATTERN, name):
            raise RequestError(f"{name[:80]!r} is not a valid {what}.", advice=advice)
