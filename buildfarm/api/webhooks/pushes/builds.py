"""Acts on what was pushed, one change of a hook after another: submits builds, keeps and ends previews."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from pydantic import ValidationError

from buildfarm.access import Audit, AuditEntry, Rates
from buildfarm.access.webhooks import Delivery, Webhooks
from buildfarm.api.webhooks.pushes.previews import claim
from buildfarm.api.webhooks.pushes.statuses import Reports
from buildfarm.errors import (
    AppError,
    NotFoundError,
    QueueFullError,
    RegistryError,
    RequestError,
    StoreFullError,
    UnconfirmedError,
)
from buildfarm.farm import Farm
from buildfarm.model import BuildRequest
from buildfarm.sources.address import GitSource
from buildfarm.sources.pushes.choose import Wanted
from buildfarm.sources.pushes.event import Kind
from buildfarm.sources.pushes.hook import Hook
from buildfarm.sources.pushes.state import State, absorb, settled
from buildfarm.store.keeping.push_inbox import PushInbox, name_of
from buildfarm.telemetry import logger

_TURN_SECONDS = 15.0  # less than the minute after which a turn counts as lost
_SAVED_EACH = 20
_AGAIN_SECONDS = 60.0
_TRIED_SECONDS = 3600.0  # a build for which the farm has no room


@dataclass(frozen=True)
class PushedBuilds:
    """Any number of processes can do so side by side: each tenant has one turn at a time."""

    farm: Farm
    webhooks: Webhooks
    rates: Rates
    reports: Reports

    def deliver(self, delivery: Delivery) -> str:
        """A hook's turn. Raises StoreError, and then the turn comes again within a minute."""
        if not self.webhooks.begin(delivery):
            return ""
        hook_id, inbox = delivery.build_id, PushInbox(self.farm.database)
        seconds, takes_more = self._turn(hook_id, inbox)
        self.webhooks.end_turn(delivery, seconds, name_of(hook_id) if takes_more else "")
        return "done" if seconds is None else "again"

    def _turn(self, hook_id: str, inbox: PushInbox) -> tuple[float | None, bool]:
        """Returns in how many seconds the next turn is due, None if nothing waits; and whether it can take more."""
        try:
            hook = self.farm.push_hooks.get(hook_id).hook
        except NotFoundError:
            self.farm.push_hooks.remove(hook_id)
            return None, False
        version, state = inbox.state(hook_id)
        now = self.farm.database.now()
        number, changes = inbox.read(hook_id, state.room)
        for wanted in changes:
            state = absorb(state, wanted, hook.branch, now)
        state = settled(state, now)
        version = inbox.save(hook_id, version, state, number)
        if not version:
            return 1.0, False  # another process has this turn
        seconds = self._act(hook, inbox, version, state, now)
        return seconds, seconds is None or state.room > 0

    def _act(self, hook: Hook, inbox: PushInbox, version: int, state: State, now: float) -> float | None:
        ends, done, seconds = time.monotonic() + _TURN_SECONDS, 0, 0.0
        for wanted in state.ready:
            seconds = self._wait(hook, wanted) if time.monotonic() < ends else 0.1
            if seconds:
                break
            seconds = self._one(hook, wanted, inbox)
            if seconds:
                break
            done += 1
            # What is acted on twice after a crash leads to the same build.
            if done % _SAVED_EACH == 0:
                rest = state.model_copy(update={"ready": state.ready[done:]})
                version = inbox.save(hook.id, version, rest)
                if not version:
                    return 1.0
        if done % _SAVED_EACH:
            inbox.save(hook.id, version, state.model_copy(update={"ready": state.ready[done:]}))
        if seconds:
            return seconds
        due_at = state.line.due_at()
        return max(0.1, due_at - now) if due_at else None

    def _wait(self, hook: Hook, wanted: Wanted) -> float:
        if wanted.kind is Kind.CLOSED:
            return 0.0
        return self.rates.take("builds", hook.tenant, self.farm.settings.api_builds_per_minute, 60)

    def _one(self, hook: Hook, wanted: Wanted, inbox: PushInbox) -> float:
        """Acts on a change. Returns in how many seconds again, if the farm has no room for it now; else 0."""
        app = hook.preview(wanted.number) if wanted.number else hook.app
        if wanted.kind is Kind.CLOSED:
            inbox.keep_preview(hook.id, hook.tenant, app, 0)
            return 0.0
        build_id = hashlib.sha256(f"{hook.id} {wanted.key}".encode()).hexdigest()[:16]
        if hook.has_token:
            inbox.note_status(build_id, hook=hook.id, name=wanted.name, commit=wanted.commit, app=app)
        try:
            refusal = claim(self.farm, hook, app) if wanted.number else ""
            refusal = refusal or self._submit(hook, wanted, app, build_id)
        except (QueueFullError, StoreFullError, RegistryError) as error:
            if self.farm.database.now() - wanted.came < _TRIED_SECONDS:
                logger(tenant=hook.tenant).warning("push_waits", hook=hook.id, commit=wanted.commit, reason=str(error))
                return max(_AGAIN_SECONDS, getattr(error, "retry_after_seconds", 0.0))
            refusal = error.message
        result = "done"
        if refusal:
            result = "denied"
            if hook.has_token:
                inbox.note_status(build_id, refusal=refusal)
            self.farm.push_hooks.note(hook.id, f"refused: {wanted.commit[:12]}: {refusal}")
            logger(tenant=hook.tenant).warning("push_not_built", hook=hook.id, commit=wanted.commit, reason=refusal)
        if hook.has_token:
            self.reports.plan(hook.tenant, build_id, ended=bool(refusal))
        entry = AuditEntry(
            who=f"hook {hook.id}", token="", tenant=hook.tenant, verb="build.submit", object=build_id, result=result,
            address="push",
        )  # fmt: skip
        Audit(self.farm.database).add(entry)
        return 0.0

    def _submit(self, hook: Hook, wanted: Wanted, app: str, build_id: str) -> str:
        """Submits as every client does; returns why the build is refused, empty if it is accepted."""
        try:
            request = BuildRequest(
                tenant=hook.tenant,
                app=app,
                source=GitSource(url=hook.repository, ref=wanted.ref),
                env={"PROJECT_DIR": hook.project_dir} if hook.project_dir else {},
                run_policy=hook.run_policy,
            )
        except ValidationError as error:
            return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        try:
            self.farm.submit(request, build_id=build_id)
        except QueueFullError:
            raise
        except UnconfirmedError:
            return ""  # it is accepted
        except (RequestError, AppError) as error:
            return error.message
        return ""
