"""Acts on what was pushed, one change of a hook after another: submits builds, keeps and ends previews."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from pydantic import ValidationError

from buildfarm.access import Audit, AuditEntry, Rates
from buildfarm.access.webhooks import Delivery, Webhooks
from buildfarm.api.webhooks.pushes.statuses import Reports
from buildfarm.errors import (
    AppError,
    NotFoundError,
    RegistryFullError,
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
from buildfarm.store.keeping.push_inbox import PushInbox, lane_of
from buildfarm.telemetry import logger

_TURN_SECONDS = 15.0  # less than the minute after which a turn counts as lost
_SAVED_EACH = 20


@dataclass(frozen=True)
class PushedBuilds:
    """Any number of processes can do so side by side: each hook has one turn at a time."""

    farm: Farm
    webhooks: Webhooks
    rates: Rates
    reports: Reports

    def deliver(self, delivery: Delivery) -> str:
        """A hook's turn. Raises StoreError, and then the turn comes again within a minute."""
        if not self.webhooks.begin(delivery):
            return ""
        hook_id, inbox = delivery.build_id.removeprefix("push."), PushInbox(self.farm.database)
        seconds = self._turn(hook_id, inbox)
        if seconds is None:
            self.webhooks.done(delivery)
        else:
            self.webhooks.again(delivery, seconds)
        if inbox.waits(hook_id):  # it came while this turn was ending
            self.webhooks.plan(Delivery(lane_of(hook_id), lane_of(hook_id)), 0)
        return "done" if seconds is None else "again"

    def _turn(self, hook_id: str, inbox: PushInbox) -> float | None:
        """Returns in how many seconds the next turn is due; None if nothing waits."""
        try:
            hook = self.farm.push_hooks.get(hook_id).hook
        except NotFoundError:
            self.farm.push_hooks.remove(hook_id)
            return None
        version, state, changes = inbox.read(hook_id)
        now = self.farm.database.now()
        for wanted in changes:
            state = absorb(state, wanted, hook.branch, now)
        state = settled(state, now)
        version = inbox.save(hook_id, version, state, len(changes))
        if not version:
            return 1.0  # another process has this turn
        return self._act(hook, inbox, version, state, now)

    def _act(self, hook: Hook, inbox: PushInbox, version: int, state: State, now: float) -> float | None:
        ends, done, seconds = time.monotonic() + _TURN_SECONDS, 0, 0.0
        for wanted in state.ready:
            seconds = self._wait(hook, wanted) if time.monotonic() < ends else 0.1
            if seconds:
                break
            self._one(hook, wanted, inbox)
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

    def _one(self, hook: Hook, wanted: Wanted, inbox: PushInbox) -> None:
        app = hook.preview(wanted.number) if wanted.number else hook.app
        if wanted.kind is Kind.CLOSED:
            inbox.keep_preview(hook.id, hook.tenant, app, 0)
            return
        if wanted.number:
            until = self.farm.database.now() + hook.preview_hours * 3600
            inbox.keep_preview(hook.id, hook.tenant, app, until)
        build_id = hashlib.sha256(f"{hook.id} {wanted.key}".encode()).hexdigest()[:16]
        if hook.has_token:
            inbox.note_status(build_id, hook=hook.id, name=wanted.name, commit=wanted.commit, app=app)
        result, refusal = "done", self._submit(hook, wanted, app, build_id)
        if refusal:
            result = "denied"
            if hook.has_token:
                inbox.note_status(build_id, refusal=refusal)
            self.farm.push_hooks.note(hook.id, f"refused: {wanted.commit[:12]}: {refusal}")
            logger(tenant=hook.tenant).warning("push_not_built", hook=hook.id, commit=wanted.commit, reason=refusal)
        if hook.has_token:
            self.reports.plan(hook.id, build_id, ended=bool(refusal))
        entry = AuditEntry(
            who=f"hook {hook.id}", token="", tenant=hook.tenant, verb="build.submit", object=build_id, result=result,
            address="push",
        )  # fmt: skip
        Audit(self.farm.database).add(entry)

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
        except UnconfirmedError:
            return ""  # it is accepted
        except (RequestError, AppError, StoreFullError, RegistryFullError) as error:
            return error.message
        return ""
