"""The task that a message wakes up: claim, run, report. The only edge that catches everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from celery import Celery

from buildfarm.config_vars.build_variables import BuildVariables
from buildfarm.errors import (
    AppError,
    BuildfarmError,
    Cancelled,
    FarmError,
    InternalError,
    Interruption,
    NodeError,
    NodeStopped,
    OutOfMemoryError,
    StoreError,
    VersionError,
)
from buildfarm.input_digest import input_digest
from buildfarm.model import Build, BuildResult, Failure, Fault, ImageRequest, Phase, Request, State
from buildfarm.oci.retry import UnavailableError
from buildfarm.queue.names import TASK, queue_of, size_of, size_of_queue
from buildfarm.queue.sizes import sizes_of
from buildfarm.recipes.catalogue import TOOLS
from buildfarm.releases.signing.app_tags import AppTags
from buildfarm.releases.signing.requests import SignRequests
from buildfarm.settings import Settings
from buildfarm.sources.credentials import Credential
from buildfarm.sources.credentials.submodules import addresses_of
from buildfarm.store import UNREADABLE, Lease, Leases, Logs, Nodes, Records, Tags, Unclaimed
from buildfarm.store.keeping.credentials import CredentialStore
from buildfarm.store.keeping.sizes import SizeRules
from buildfarm.store.keeping.variables import VariableStore
from buildfarm.telemetry import Logger, logger
from buildfarm.telemetry.metrics import HANDED_OVER, Metrics
from buildfarm.telemetry.traces import Tracer
from workers import pipeline
from workers.attempt.attempt import Attempt, Times
from workers.attempt.claim import claim
from workers.attempt.finished import Finished, Publish
from workers.attempt.larger import with_next_size
from workers.attempt.log import BuildLog
from workers.attempt.running import RunningAttempts
from workers.attempt.spool import Spool
from workers.buildpacks.buildpack_cache import BUILDPACK_BYTES_MAX
from workers.fetch.private import PrivateFetch
from workers.image_builds import pipeline as image_pipeline
from workers.image_builds import tool
from workers.ownership import attempt_name
from workers.pipeline import AppTools
from workers.upkeep.spools import Spools

_RETRY_WAIT_SECONDS_MAX = 60.0
_TWICE_WAIT_SECONDS = 2.0
_CLAIM_SECONDS = 15.0  # about as long as a failover takes


class Sizes(Protocol):
    """Builds of several sizes on one node."""

    def begun(self, size: str) -> AbstractContextManager[bool]:
        """A build of this size runs for the length of the block: False if it has no room."""

    def lacked(self, size: str) -> None:
        """A build of this size came whose base the node does not have."""


@dataclass(frozen=True)
class Worker:
    """Does builds on this node."""

    settings: Settings
    tools: AppTools
    image_tools: image_pipeline.ImageTools
    records: Records
    leases: Leases
    logs: Logs
    attempts: RunningAttempts
    metrics: Metrics
    tracer: Tracer
    trouble: Callable[[], str]  # what is wrong with this node right now; empty if nothing is
    rest: Callable[[], None]  # the node takes no builds for a while
    unsafe: Callable[[], str] = lambda: ""  # why no build may be claimed, whatever the gate let through
    spools: Spools | None = None  # None: the logs are what Redis keeps of them
    sizes: Sizes | None = None  # None: whatever comes has room

    def build(self, build_id: str, size: str = "") -> None:
        """Does one build, if it is still to be done. Raises nothing: every end is written to the record or logged.

        ``size`` is that of the queue that its message came from; empty: any.
        """
        with self.sizes.begun(size) if self.sizes else nullcontext(True) as has_room:
            self._build(build_id, size, "" if has_room else f"the node has no room for a build of the size {size}")

    def _build(self, build_id: str, size: str, obstacle: str) -> None:
        log = logger(build=build_id, node=self.settings.node_id)
        if reason := obstacle or self.unsafe():
            # As below: the record stays queued, and the sweeper sends a new message.
            log.warning("claim_refused", reason=reason)
            return
        try:
            lease = claim(
                self.leases, build_id, self.settings.node_id, _CLAIM_SECONDS, self.settings.offer_seconds,
                bases=self.tools.builders.held.told(), size=size,
            )  # fmt: skip
        except StoreError as error:
            # A sweeper sees that it has no message, or, if the claim arrived, that its lease ended, and sends one.
            log.warning("claim_failed", reason=error.message)
            return
        if isinstance(lease, Unclaimed):
            if lease.reason == UNREADABLE:
                log.warning("record_unreadable", advice=VersionError.default_advice)
            else:
                log.info("message_dropped", reason=lease.reason)
                if lease.reason == "base" and self.sizes:
                    self.sizes.lacked(size)
            return
        log = logger(build=lease.build_id, node=self.settings.node_id)
        log = log.bind(attempt=lease.attempt)
        self.metrics.attempt_begun(lease.attempt, is_last_node=lease.is_last_node)
        if attempt_name(lease.build_id, lease.attempt) in self.attempts.names():
            self._refuse_twice(lease, log)
            return
        log.info("build_started")
        ended = Outcome()
        ended.outcome = self._attempt(lease, log, ended)
        self._tell(lease, ended, log)

    def _refuse_twice(self, lease: Lease, log: Logger) -> None:
        """Redis lost this node's own claim, and gave the same attempt again: its sandbox has to go first."""
        log.warning("attempt_runs_here_already")
        error = NodeError("An earlier claim of this attempt has not ended on its node yet.")
        failure = Failure(code=error.code, fault=Fault.FARM, phase=None, message=error.message, advice=error.advice)
        with suppress(StoreError):  # then the lease ends by itself
            self.leases.give_back(lease, failure, counts=False, wait_seconds=_TWICE_WAIT_SECONDS)

    def _attempt(self, lease: Lease, log: Logger, ended: Outcome) -> str:
        with self._spooled(lease, ended) as spool:
            return self._attempt_with(spool, lease, log, ended)

    @contextmanager
    def _spooled(self, lease: Lease, ended: Outcome) -> Iterator[Spool | None]:
        """The whole log of the attempt in a file, which is sent to the registry afterwards if it is large."""
        spool = self.spools.begin(lease) if self.spools else None
        try:
            yield spool
        finally:
            if self.spools and spool:
                request = ended.build.request if ended.build else None
                self.spools.end(lease, spool, f"{request.tenant}/{request.app}" if request else "")

    def _attempt_with(self, spool: Spool | None, lease: Lease, log: Logger, ended: Outcome) -> str:
        settings = self.settings
        build_log = BuildLog(
            lambda phase, lines, batch: self.logs.append(lease, phase, lines, batch),
            settings.log_bytes,
            lambda text: self.logs.show(lease, text),
            spool,
        )
        attempt = Attempt(
            lambda phase: self.leases.renew(lease, phase),
            build_log,
            times=Times(settings.renew_seconds, self._build_seconds(lease.build), settings.outage_seconds),
            observe=self._observer(lease.build_id, lease.attempt),
            logger=log,
        )
        name = attempt_name(lease.build_id, lease.attempt)
        with attempt, self.attempts.entered(name, lease.build_id, attempt):
            try:
                return self._run(lease, attempt, log, ended)
            except Interruption as reason:
                log.info("build_interrupted", reason=reason.message)
                return self._interrupted(lease, reason, attempt)
            except StoreError as error:
                log.warning("record_not_written", reason=error.message)
                return "lost"

    def _run(self, lease: Lease, attempt: Attempt, log: Logger, ended: Outcome) -> str:
        """Returns the outcome. Raises Interruption, and StoreError if even the failure cannot be written."""
        downloads = self.tools.downloads.begun()  # asks nothing yet
        try:
            tools = self.tools.during(attempt.check, lease.build)
            build = ended.build = lease.build or attempt.persist(lambda: self.records.get(lease.build_id))
            self._begun(build)
            request = self._request(build, attempt)
            credentials = self._credentials(request, attempt)
            variables = self._variables(request, credentials, attempt)
            tools = replace(tools, variables=variables, downloads=downloads)
            if credentials:
                tools = self._with_private(tools, request, credentials, attempt)

            def publish(result: BuildResult, *, pinned: bool = True) -> None:
                if self.settings.signs:
                    self._hand_over(lease, request, Finished(result, pinned), tools, attempt)
                else:
                    self._publish(lease, request, result, tools, attempt)

            with self.run_pipeline(build, request, tools, attempt, publish) as finished:
                self._accept(lease, request, finished, tools, attempt)
        except AppError as error:
            if trouble := self.trouble() or downloads.lost(attempt.current):
                # A full disk or a dying engine fails the app's commands, and the app is not to blame.
                return self._give_back(lease, NodeError(f"The node failed: {trouble}."), attempt, log, ended)
            if isinstance(error, OutOfMemoryError) and ended.build:
                database = self.records.database
                rules = SizeRules(database, self.settings, Nodes(database).all)
                error = with_next_size(error, ended.build.request, rules)
            ended.code = error.code
            failure = _failure(error, Fault.APP, attempt)
            _end_log_with(failure, attempt)
            attempt.persist(lambda: self.leases.fail(lease, failure))
            for name, report in error.reports.items():
                self.metrics.reported(name, report)
            return State.FAILED
        except FarmError as error:
            return self._give_back(lease, error, attempt, log, ended)
        except Interruption:
            raise
        except Exception as error:
            log.exception("farm_bug", phase=attempt.current)
            bug = InternalError(f"A bug in the farm: {type(error).__name__}.")
            return self._give_back(lease, bug, attempt, log, ended)
        return HANDED_OVER if self.settings.signs else State.SUCCEEDED

    def run_pipeline(
        self,
        build: Build,
        request: Request,
        tools: AppTools,
        attempt: Attempt,
        publish: Publish,
    ) -> AbstractContextManager[Finished]:
        """What makes the image of such a request."""
        if isinstance(request, ImageRequest):
            run = tool.run if request.image.startswith(f"{TOOLS}/") else image_pipeline.run
            image_tools = replace(self.image_tools.during(attempt.check), variables=tools.variables)
            return _reserving(tools, attempt, run(build, request, image_tools, attempt, publish))
        return pipeline.run(build, request, tools, attempt, publish)

    def _build_seconds(self, build: Build | None) -> float:
        """What a build of its size may take."""
        size = sizes_of(self.settings).get(size_of(build.request if build else None))
        return size.seconds if size else self.settings.build_seconds

    def _request(self, build: Build, attempt: Attempt) -> Request:
        """What the build asks for; an app's with its config vars."""
        request = build.request
        if isinstance(request, ImageRequest):
            return request
        env = attempt.persist(lambda: self.records.env(build))
        return request.model_copy(update={"env": env})

    def _credentials(self, request: Request, attempt: Attempt) -> tuple[Credential, ...]:
        """What an app's build may fetch with, as it is now."""
        if isinstance(request, ImageRequest):
            return ()
        store = CredentialStore(self.records.database, self.records.seal)
        return attempt.persist(lambda: store.of(request.tenant, request.app))

    def _with_private(
        self, tools: AppTools, request: Request, credentials: tuple[Credential, ...], attempt: Attempt
    ) -> AppTools:
        """The same tools, which fetch with these credentials where one is for an address."""
        database, seal = self.records.database, self.records.seal
        store = CredentialStore(database, seal)
        # Without those of the app and the build: who sets these could read a token by a proxy and a certificate.
        variables = attempt.persist(lambda: VariableStore(database, seal).of(request.tenant, ""))

        def learn(credential: Credential, host_keys: list[str]) -> bool:
            return attempt.persist(lambda: store.learn(credential, host_keys))

        private = PrivateFetch(
            tools.pool, tools.builder.image, f"{request.tenant}/{request.app}", credentials, variables, learn,
            attempt.write, attempt.check, BUILDPACK_BYTES_MAX, tools.source_limits.packed_bytes,
        )  # fmt: skip
        return replace(tools, private=private, fetcher=replace(tools.fetcher, private=private))

    def _variables(self, request: Request, credentials: tuple[Credential, ...], attempt: Attempt) -> BuildVariables:
        """The build variables as they are now; the log hides their values and the secret config vars from here on."""
        store = VariableStore(self.records.database, self.records.seal)
        env: Mapping[str, str] = getattr(request, "env", {})
        found = attempt.persist(lambda: store.of(request.tenant, request.app)).beside(env)
        keys = [value for credential in credentials for value in credential.hidden]
        attempt.log.hide([*(env[name] for name in getattr(request, "secrets", ())), *found.hidden, *keys])
        return found

    def _publish(self, lease: Lease, request: Request, result: BuildResult, tools: AppTools, attempt: Attempt) -> None:
        """Makes the result the newest of its target, and moves the tag."""
        attempt.persist(lambda: self.leases.publish(lease, request.target, result))
        attempt.decide()
        published = [result.digest]

        def wanted() -> str:
            """What was just published; once the tag has moved, what the record says by then."""
            asked = published.pop() if published else attempt.persist(lambda: self.records.tag_target(request.target))
            return asked or result.digest  # Redis lost the publication: nothing says where else it should be

        try:
            AppTags(tools.exporter.registry, self.records).move(request.target, wanted, tools.exporter.sent)
        except BaseException:
            with suppress(StoreError):
                Tags(self.records.database).mark(request.target)
            raise

    def _hand_over(self, lease: Lease, request: Request, made: Finished, tools: AppTools, attempt: Attempt) -> None:
        """Makes the build the signer's, which moves the tag and ends it; from here on there is no lease."""
        attempt.end_log()
        same = self._input(request, made, tools)
        requests = SignRequests(self.records.admission)
        documents = [content for _, content in tools.exporter.sent.values()]
        attempt.persist(
            lambda: requests.hand_over(lease, request.target, made.result, input_digest=same, documents=documents)
        )
        tools.pool.handed_over.set()
        attempt.decide()
        attempt.release()

    def _accept(self, lease: Lease, request: Request, finished: Finished, tools: AppTools, attempt: Attempt) -> None:
        """Writes that the build has succeeded; from here on there is no lease."""
        if not self.settings.signs:
            attempt.end_log()
            same = self._input(request, finished, tools)
            attempt.persist(lambda: self.leases.succeed(lease, finished.result, input_digest=same))
            attempt.release()
        self.metrics.image_made(finished.result, lease.build_id, is_ended=not self.settings.signs)

    def _input(self, request: Request, finished: Finished, tools: AppTools) -> str:
        builder, channel = tools.builder.digest, tools.exporter.channel
        same = input_digest(request, builder, self.settings, channel, tools.variables)
        private, asked = tools.private, addresses_of(request)
        used = [one.source for one in finished.result.buildpacks]
        return same if finished.pinned and (private is None or private.repeatable(asked, used)) else ""

    def _give_back(self, lease: Lease, error: FarmError, attempt: Attempt, log: Logger, ended: Outcome) -> str:
        ended.code = error.code
        reason = attempt.log.hidden(error.message)
        log.warning("attempt_failed", code=error.code, phase=attempt.current, reason=reason)
        stopped = isinstance(error, NodeStopped)
        if isinstance(error, NodeError) and attempt.current is Phase.PREPARE and not stopped:
            # Nothing of the customer has run yet: this node is ill, and would fail one build after the other.
            self.rest()
        attempt.end_log(soon=stopped)
        failure = _failure(error, Fault.FARM, attempt)
        counts = not isinstance(error, NodeStopped | UnavailableError | StoreError)
        wait_seconds = 0.0 if stopped else retry_wait_seconds(lease.attempt)
        answer = attempt.persist(
            lambda: self.leases.give_back(lease, failure, counts=counts, wait_seconds=wait_seconds)
        )
        if answer == State.QUEUED:
            return "given_back"
        return "lost" if answer == "stale" else answer

    def _interrupted(self, lease: Lease, reason: Interruption, attempt: Attempt) -> str:
        if not isinstance(reason, Cancelled):
            return "lost"
        try:
            attempt.end_log(soon=True)
            return self.leases.cancel(lease)
        except (Interruption, StoreError):
            return "lost"

    def _observer(self, build_id: str, attempt: int) -> Callable[[Phase, float], None]:
        def observe(phase: Phase, seconds: float) -> None:
            self.metrics.phase_ended(phase, seconds, build_id)
            now = time.time()
            attributes = {"buildfarm.attempt": attempt, "buildfarm.node": self.settings.node_id}
            self.tracer.add(build_id, phase, now - seconds, now, attributes)

        return observe

    def _begun(self, build: Build) -> None:
        if build.attempt == 1 and build.started_at is not None:
            self.metrics.waited(build.started_at - build.submitted_at, build.id, size_of(build.request))
            self.tracer.add(build.id, "queue", build.submitted_at, build.started_at)

    def _tell(self, lease: Lease, ended: Outcome, log: Logger) -> None:
        """Metrics, trace and log of an attempt that is over."""
        tenant = ended.build.request.tenant if ended.build else ""
        self.metrics.attempt_ended(ended.outcome, ended.code, tenant)
        if ended.build and ended.outcome in set(State):
            now = time.time()
            self.metrics.build_ended(ended.outcome, now - ended.build.submitted_at, lease.build_id)
            attributes = {
                "buildfarm.tenant": tenant,
                "buildfarm.app": ended.build.request.app,
                "buildfarm.outcome": ended.outcome,
                **({"error": ended.code} if ended.code else {}),
            }
            self.tracer.add_root(lease.build_id, "build", ended.build.submitted_at, now, attributes)
        log.info("build_ended", outcome=ended.outcome, code=ended.code, tenant=tenant)


@dataclass
class Outcome:
    """What is known of an attempt when it is over."""

    outcome: str = ""
    code: str = ""  # the error's, where it ended with one
    build: Build | None = None  # the record, where it could be read


@contextmanager
def _reserving(tools: AppTools, attempt: Attempt, run: AbstractContextManager[Finished]) -> Iterator[Finished]:
    """Memory for what an image build runs, which takes no sandbox from the pool."""
    with tools.pool.reserve(f"image-{id(run):x}", attempt.check), run as finished:
        yield finished


def retry_wait_seconds(attempt: int) -> float:
    """How long a build waits after an attempt that failed by the farm's fault: an outage may be over then."""
    return min(_RETRY_WAIT_SECONDS_MAX, 2.0 * 4.0 ** (attempt - 1))


def register(app: Celery, worker: Worker) -> None:
    """Makes the worker's `build` the task that messages name."""

    # A client that can write to Redis can send anything; what is not a build's id ends here.
    @app.task(name=TASK, ignore_result=True, typing=False, bind=True)
    def build(task: Any, /, *args: object, **kwargs: object) -> None:
        if len(args) == 1 and not kwargs and isinstance(args[0], str):
            worker.build(args[0], size_of_queue(queue_of(task.request.delivery_info)))
        else:
            logger(node=worker.settings.node_id).warning("message_dropped", reason="it names no build")


def _end_log_with(failure: Failure, attempt: Attempt) -> None:
    """Ends the log with the reason, unless a program has given it there already."""
    if not any(failure.message in line for line in failure.log_tail):
        attempt.write(f" !     {failure.message}\n".encode())
        if failure.advice:
            attempt.write(f" !     {failure.advice}\n".encode())
    attempt.end_log()


def _failure(error: BuildfarmError, fault: Fault, attempt: Attempt) -> Failure:
    return Failure(
        code=error.code,
        fault=fault,
        phase=attempt.current,
        message=attempt.log.hidden(error.message),
        advice=error.advice,
        log_tail=attempt.log.tail,
        reports={name: dict(report) for name, report in error.reports.items()},
    )
