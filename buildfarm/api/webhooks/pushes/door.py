"""The door for deliveries of push hooks: their signature is the only credential, and nothing slow happens here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildfarm.access import Rates
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.problems import RefusedError
from buildfarm.api.webhooks.pushes.bodies import SMALL_BYTES
from buildfarm.errors import NotFoundError
from buildfarm.farm import Farm
from buildfarm.fields import Frozen
from buildfarm.sources.pushes.choose import Wanted, choose, is_of
from buildfarm.sources.pushes.event import Payload
from buildfarm.sources.pushes.formats import parse
from buildfarm.sources.pushes.hook import Hook
from buildfarm.sources.pushes.reading import UnreadableError
from buildfarm.sources.pushes.signatures import ForgedError, verify
from buildfarm.store.keeping.push_hooks import OpenHook
from buildfarm.store.keeping.push_inbox import PushInbox
from buildfarm.telemetry import logger

BODY_BYTES_MAX = 5 * 1024 * 1024
CALLS_PER_MINUTE = 1200
CHANGES_MAX = 100
LARGE_PER_MINUTE = 120
_TENANT_TIMES = 5


class Received(Frozen):
    """What becomes of a delivery."""

    result: str  # new: it is acted on now; seen: it was there before; ignored
    detail: str = ""


@dataclass(frozen=True)
class Door:
    """One of an API process. Every method raises StoreError if Redis cannot be reached."""

    farm: Farm
    rates: Rates
    metrics: ApiMetrics
    calls_per_minute: int = CALLS_PER_MINUTE  # of one hook; and of one address with a wrong signature or to no hook

    def admit(self, hook_id: str, address: str) -> OpenHook:
        """The hook, before anything of the body is read. Raises RefusedError."""
        try:
            known = self.farm.push_hooks.get(hook_id)
        except NotFoundError:
            # A forge sends all of its deliveries from a few addresses: these count only for hooks that do not exist.
            self._limit("pushes", address)
            raise RefusedError(
                404, "request.not_found", f"There is no push hook {hook_id}.",
                advice="Remove this webhook in the forge's settings, or make a hook: buildfarm hooks make.",
            ) from None  # fmt: skip
        return known

    def _limit(self, what: str, whose: str, calls: int = 0) -> None:
        calls = calls or self.calls_per_minute
        if wait := self.rates.take(what, whose, calls, 60):
            raise RefusedError(
                429, "request.rate", f"There is a limit of {calls:,} such deliveries a minute.",
                advice="Deliver it again later.", retry_seconds=wait,
            )  # fmt: skip

    def _limit_genuine(self, hook: Hook, size: int) -> None:
        """What only the forge, or a tenant that signs itself, can use up."""
        self._limit("hook", hook.id)
        self._limit("hooks", hook.tenant, _TENANT_TIMES * self.calls_per_minute)
        if size > SMALL_BYTES:  # these take a process's time to read
            self._limit("large-pushes", hook.tenant, LARGE_PER_MINUTE)

    def take(self, known: OpenHook, headers: Mapping[str, str], body: bytes, address: str) -> Received:
        """Checks the signature, then reads the body. Raises RefusedError, which names the repository and no secret."""
        hook = known.hook
        try:
            identity = verify(hook.provider, known.secret, headers, body, self.farm.database.now())
            self._limit_genuine(hook, len(body))
            payload = parse(hook.provider, body)
        except (ForgedError, UnreadableError) as error:
            if isinstance(error, ForgedError):  # these leave the hook's own limit as it is
                self._limit("pushes", address)
            status = 401 if isinstance(error, ForgedError) else 400
            raise self.refused(known, status, error.code, error.message, error.advice) from error
        if not payload.events:
            return self._told(known, Received(result="ignored", detail="It is not about a branch or a pull request."))
        if not is_of(hook, payload):
            detail = f"It is about the repository {payload.name[:200]}."
            raise self.refused(known, 422, "request.invalid", detail, "Make a hook for each repository.")
        return self._told(known, self._accepted(known, payload, identity))

    def refused(self, known: OpenHook, status: int, code: str, message: str, advice: str) -> RefusedError:
        """An error that names the hook and its repository, and that a list of hooks shows."""
        hook = known.hook
        sentence = f"Push hook {hook.id} for {hook.repository} refuses this delivery. {message}"
        self.farm.push_hooks.note(hook.id, f"refused: {message}")
        self.metrics.pushes.labels("refused").inc()
        logger(tenant=hook.tenant).warning("push_refused", hook=hook.id, reason=message)
        return RefusedError(status, code, sentence, advice=advice)

    def _accepted(self, known: OpenHook, payload: Payload, identity: str) -> Received:
        chosen = [
            choose(known.hook, event, payload, f"{identity} {number}") for number, event in enumerate(payload.events)
        ]
        wanted = [one for one in chosen if isinstance(one, Wanted)]
        ignored = [one for one in chosen if isinstance(one, str)]
        if not wanted:
            return Received(result="ignored", detail=f"{'; '.join(ignored)}.")
        if len(wanted) > CHANGES_MAX:
            detail = f"It changes {len(wanted):,} branches; at most {CHANGES_MAX} count."
            raise self.refused(known, 413, "request.too_large", detail, "Push or delete fewer branches at once.")
        result = PushInbox(self.farm.database).accept(known.hook.id, known.hook.tenant, identity, wanted)
        if result == "full":
            raise RefusedError(
                429, "request.rate", f"Too many pushes of {known.hook.repository} wait already.",
                advice="Deliver it again later.", retry_seconds=60,
            )  # fmt: skip
        skipped = [f"not built: {one.skip}." for one in wanted if one.skip]
        return Received(result=result, detail=" ".join(skipped))

    def _told(self, known: OpenHook, received: Received) -> Received:
        self.farm.push_hooks.note(known.hook.id, f"{received.result}: {received.detail}".removesuffix(": "))
        self.metrics.pushes.labels(received.result).inc()
        return received
