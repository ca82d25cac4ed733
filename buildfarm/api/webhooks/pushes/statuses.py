"""Commit statuses: what becomes of a pushed commit's build is reported to its forge, each state once and in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpcore

from buildfarm.access.webhooks import Delivery, Webhooks
from buildfarm.api.metrics import ApiMetrics
from buildfarm.api.webhooks.outbound import Networks, PrivateAddressError, post
from buildfarm.errors import NotFoundError
from buildfarm.events import Event
from buildfarm.farm import Farm
from buildfarm.model import Build, Fault, State
from buildfarm.sources.pushes.statuses import CommitStatus, Status, StatusRequest, status_request
from buildfarm.store.keeping.push_inbox import PushInbox
from buildfarm.telemetry import logger

_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Reports:
    """Any number of processes can do so side by side: each tenant has one report out at a time."""

    farm: Farm
    webhooks: Webhooks
    metrics: ApiMetrics
    allowed: Networks
    again_seconds: tuple[float, ...]

    def plan(self, tenant: str, build_id: str, *, ended: bool) -> None:
        """Report that the build waits, or how it ended."""
        part = "ended" if ended else "pending"
        self.webhooks.plan(Delivery(f"status.{tenant}", f"{build_id}.{part}"), 0)

    def follow(self, event: Event) -> None:
        """A build's change of state; the end of one that a push began is reported."""
        if event.state == "refused" or not State(event.state).final:
            return
        if PushInbox(self.farm.database).status(event.build):
            self.plan(event.tenant, event.build, ended=True)

    def deliver(self, delivery: Delivery) -> str:
        """One try: delivered, retried, given_up, refused; empty if there is nothing to do. Raises StoreError."""
        tries = self.webhooks.begin(delivery)
        if not tries:
            return ""
        build_id, _, part = delivery.build_id.partition(".")
        inbox = PushInbox(self.farm.database)
        noted = inbox.status(build_id)
        asked = self._request(build_id, noted, part) if noted else None
        if asked is None:
            self.webhooks.done(delivery)
            return "done"
        result, why, reason = self._try(asked, tries)
        self.metrics.webhooks.labels(result).inc()
        if result == "delivered":
            logger(build=build_id).info("commit_status_set", part=part)
        else:
            logger(build=build_id).warning("commit_status_failed", result=result, reason=reason, url=asked.url)
            self.farm.push_hooks.note(noted["hook"], f"commit status not set: {asked.url}: {why}")
        if result == "retried":
            self.webhooks.again(delivery, self.again_seconds[tries - 1])
            return result
        self.webhooks.done(delivery)
        if part == "ended":
            inbox.forget_status(build_id)
        else:
            inbox.note_status(build_id, reported=part)
        return result

    def _request(self, build_id: str, noted: Mapping[str, str], part: str) -> StatusRequest | None:
        """What to send; None if it is out of date, or hook or build are gone."""
        try:
            known = self.farm.push_hooks.get(noted["hook"])
            build = None if "refusal" in noted else self.farm.get(build_id)
        except NotFoundError:
            return None
        if part == "pending" and ("reported" in noted or build is None or build.state.final):
            return None  # its end is reported by itself
        status, text = (Status.ERROR, noted["refusal"]) if build is None else told(build)
        link = f"{known.hook.page}/{f'builds/{build_id}' if build else ''}"
        about = CommitStatus(noted["name"], noted["commit"], noted["app"], status, text, link)
        return status_request(known.hook, known.token, about)

    def _try(self, asked: StatusRequest, tries: int) -> tuple[str, str, str]:
        """What becomes of it, and why: for its tenant, who is not to learn about networks here, and for operators."""
        try:
            status = post(asked.url, asked.headers, asked.body, self.allowed)
        except PrivateAddressError as error:
            return "refused", "this is not a public address", error.message
        except (httpcore.UnsupportedProtocol, ValueError) as error:
            return "refused", "this is not an address", f"{type(error).__name__}: {error}"[:200]
        except (OSError, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            why, reason, lasts = "no answer", f"{type(error).__name__}: {error}"[:200], False
        else:
            if 200 <= status < 300:
                return "delivered", "", ""
            why, lasts = f"status {status}", 300 <= status < 500 and status not in _AGAIN
            reason = why
        if lasts:
            return "refused", f"{why}: check the status token and the API's address", reason
        return ("retried" if tries <= len(self.again_seconds) else "given_up"), why, reason


def told(build: Build) -> tuple[Status, str]:
    """A build's state as a commit's, and a sentence for people."""
    if build.state is State.SUCCEEDED:
        return Status.SUCCESS, "The image is built."
    if build.state is State.FAILED and build.failure is not None:
        is_apps = build.failure.fault is Fault.APP
        return (Status.FAILURE if is_apps else Status.ERROR), build.failure.message
    if build.state is State.SUPERSEDED:
        return Status.STOPPED, "A newer build took its place."
    if build.state is State.CANCELLED:
        return Status.STOPPED, "The build was cancelled."
    return Status.PENDING, "The build is waiting or running."
