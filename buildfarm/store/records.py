"""Builds' records: made, read, listed and cancelled."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from buildfarm import LazyModule
from buildfarm.errors import ConflictError, NotFoundError, StoreFullError, TooLateError, VersionError
from buildfarm.model import Build, BuildResult, Request, State
from buildfarm.queue.names import parts_of
from buildfarm.seal import Seal
from buildfarm.store.admission import Admission
from buildfarm.store.database import Database
from buildfarm.telemetry import logger

if TYPE_CHECKING:
    from buildfarm.config_vars import declared
    from buildfarm.sources.credentials import CredentialView
else:  # most commands submit nothing
    declared = LazyModule("buildfarm.config_vars.declared")

_PLAIN = (
    "id", "state", "node", "phase", "superseded_by", "memo_of",
    "submitted_at", "started_at", "finished_at", "expires_at", "attempt",
)  # fmt: skip

_ENDED = frozenset(state for state in State if state.final)
_NAMING = ("state", "request", "result", "published", "log_blobs", "base")  # fields that name digests
_SCAN_COUNT = 1000
# Stored requests start with these, in this order, whatever order the classes declare: the digest of a request, by which
# an idempotency key finds it again, is made of this text.
_REQUEST_STARTS_WITH = ("build_class", "run_policy", "idempotency_key", "expires_in_seconds", "tenant")
# Behind the run policy of a request that build variables or credentials count for. Older versions know none, and would
# build without them: they cannot read such a policy, and leave the build to others.
_HAS_VARIABLES = "+variables"
_HAS_CREDENTIALS = "+credentials"
_HAS_LFS = "+lfs"  # likewise, behind it: of a credential with a field that older versions do not know
_HAS_SIZE = "+size"  # likewise, before it: of a request for another size than standard
_CLEAN = "+clean"  # likewise, before that one: older versions would restore the app's cache


@dataclass(frozen=True)
class CachedResult:
    """An equal build that succeeded, and its result as the record has it."""

    build_id: str
    result: BuildResult


@dataclass(frozen=True)
class Accepted:
    """What became of a request: its own build, or the one that it was before."""

    build_id: str
    request_digest: str  # of the request that the build was made of, where an idempotency key led to it
    build: Build | None  # as it was made; None if it was there before
    confirmed: bool = True  # by as many replicas of Redis as the settings ask for


@dataclass(frozen=True)
class Full:
    """The tenant has as many builds waiting as it may."""

    waiting: int
    limit: int


@dataclass(frozen=True)
class OnlyIf:
    """What a rebuild's maker saw of the app and of its rollout; if it has changed, nothing is built."""

    newest: str  # digest of the app's newest image, beside which no build of the app is under way
    rollout: str  # id
    revision: int


@dataclass(frozen=True)
class Records:
    """The records of all builds. Every method raises StoreError where Redis cannot be reached."""

    admission: Admission
    seal: Seal = field(default_factory=lambda: Seal(""))

    @property
    def database(self) -> Database:
        """Where they are kept."""
        return self.admission.database

    def submit(
        self,
        build_id: str,
        request: Request,
        queue: str,
        cached: CachedResult | None = None,
        *,
        has_variables: bool = False,
        private: Sequence[CredentialView] = (),
        asked: Request | None = None,
        only_if: OnlyIf | None = None,
    ) -> Accepted | Full:
        """Writes a build with all that follows: it is queued or held, older ones may be superseded.

        With a ``cached`` result it has succeeded at once, unless another build of the app is on its way. Its id or its
        idempotency key may stand for a build already; then that is the answer, and nothing is written. The values of
        config vars are kept apart and encrypted. A build that ``has_variables``, or is ``private`` because these
        credentials count for it, is left to nodes that have heard of them. Its key stands for what was ``asked``,
        before the farm chose a size. Raises RequestError if there is no key for config vars, StoreFullError if Redis is
        nearly full, and ConflictError if what ``only_if`` names has changed.
        """
        env = getattr(request, "env", {})
        shown = request.model_copy(update={"env": dict.fromkeys(env, "")}) if env else request
        seen: tuple[str | int, ...] = (only_if.newest, only_if.rollout, only_if.revision) if only_if else ()
        newer = any(one.lfs or one.kind == "public" for one in private)
        marks = _HAS_VARIABLES * has_variables + _HAS_CREDENTIALS * bool(private) + _HAS_LFS * newer
        stored = _stored(shown, marks=marks)
        answer, confirmed = self.admission.change_confirmed(
            "submit", build_id, stored, f"{request.tenant} {request.app} {request.target}", queue,
            request.run_policy, request.expires_in_seconds or "", request.idempotency_key or "",
            self.seal.digest(_content(asked or request)), cached.result.model_dump_json() if cached else "",
            cached.build_id if cached else "", cached.result.digest if cached else "", self.seal.close(build_id, env),
            declared.declared(f"{request.tenant}/{request.app}", request, self.seal),
            *seen,
        )  # fmt: skip
        if answer[0] == "full":
            return Full(int(answer[1]), int(answer[2]))
        if answer[0] == "memory":
            used, most = int(answer[1]), int(answer[2])
            raise StoreFullError(
                f"The farm accepts no new builds: Redis uses {100 * used // most} % of its memory,"
                " and the rest is reserved for accepted builds."
            )
        if answer[0] == "newer":
            raise ConflictError(
                f"{request.tenant}/{request.app} is not rebuilt: it has another image, or a build of it is under way.",
                advice="The campaign looks at it again.",
            )
        if answer[0] == "same":
            return Accepted(answer[1], answer[2], None, confirmed)
        return Accepted(answer[1], "", decode(dict(zip(answer[2][::2], answer[2][1::2], strict=True))), confirmed)

    def is_of(self, accepted: Accepted, request: Request) -> bool:
        """Return whether the build was made of an equal request, whatever their idempotency keys."""
        return not accepted.request_digest or self.seal.made(accepted.request_digest, _content(request))

    def env(self, build: Build) -> dict[str, str]:
        """The config vars of a build that has not ended. Raises NodeError if this process cannot open them."""
        if not getattr(build.request, "env", {}):
            return {}
        with self.database.failures():
            sealed: Any = self.database.client.get(self.database.key("build", build.id, "env"))
        return self.seal.open(build.id, str(sealed or ""))

    def cached_result(self, input_digest: str) -> CachedResult | None:
        """A build of this input that succeeded; whether its image is still there is not known here."""
        with self.database.failures():
            build_id: Any = self.database.client.get(self.database.key("memo", input_digest))
            result: Any = self.database.client.hget(self.database.key("build", build_id), "result") if build_id else ""
        try:
            return CachedResult(build_id, BuildResult.model_validate_json(result, extra="ignore")) if result else None
        except ValueError:
            return None  # a newer version wrote it: the request is built

    def get(self, build_id: str) -> Build:
        """The build as it is now. Raises NotFoundError and VersionError."""
        with self.database.failures():
            fields: dict[str, str] = self.database.client.hgetall(self.database.key("build", build_id))  # type: ignore[assignment]
        if not fields:
            raise NotFoundError(
                f"There is no build {build_id[:80]}.", advice="buildfarm list shows the builds the farm remembers."
            )
        return decode(fields)

    def digests(self) -> set[str]:
        """Return the digests of `named`."""
        return self.named(())[0]

    def named(self, images: Collection[str]) -> tuple[set[str], dict[str, str]]:
        """Return the digests that any record names: images and logs, and what builds that have not ended need.

        All records are read, a page at a time; also those that only a newer version of the farm can read whole. The
        second part has the source that each of ``images`` was built from.
        """
        prefix, found = self.database.key("build", ""), set[str]()
        sources: dict[str, str] = {}
        with self.database.failures():
            names = self.database.client.scan_iter(f"{prefix}*", count=_SCAN_COUNT, _type="HASH")
            while page := list(islice(names, _SCAN_COUNT)):
                pipeline = self.database.client.pipeline(transaction=False)
                for name in page:
                    pipeline.hmget(name, _NAMING)
                for record in pipeline.execute():
                    named, source = digests_of(dict(zip(_NAMING, record, strict=True)))
                    found |= named
                    sources |= dict.fromkeys(named & set(images), source)
        return found, {image: source for image, source in sources.items() if source}

    def cancel(self, build_id: str) -> State:
        """Cancels a build, and returns the state it was found in. Raises NotFoundError and TooLateError.

        A waiting build is cancelled at once; a running one within a second or two, once its node sees it. Once it
        publishes its image it is too late, unless it waits for a signer and none has looked at it for a minute.
        """
        state = self.admission.change("cancel", build_id)
        if not state:
            raise NotFoundError(f"There is no build {build_id[:80]}.", advice="buildfarm list shows the builds.")
        if state == "publishing":
            raise TooLateError(f"Build {build_id[:80]} can no longer be cancelled: its image is being published.")
        return State(state)

    def send_overdue(self, seconds: float, limit: int, *, first: bool) -> list[str]:
        """Sends the messages of queued builds again whose last one is older than this, and returns their ids.

        They come before all others with ``first``, else to the end of their queues.
        """
        return self.admission.overdue(seconds, limit, first=first)

    def queued_count(self) -> int:
        """How many builds wait for a slot."""
        with self.database.failures():
            return int(self.database.client.zcard(self.database.key("queued")))

    def message_count(self, queues: Sequence[str]) -> int:
        """How many messages wait in these queues."""
        with self.database.failures():
            pipeline = self.database.client.pipeline(transaction=False)
            for queue in queues:
                pipeline.llen(self.database.key(queue))
            return sum(pipeline.execute())

    def tag_target(self, repository: str) -> str:
        """The manifest digest that a target's tag is to point to; empty if nothing was published."""
        with self.database.failures():
            return str(self.database.client.hget(self.database.key("tags"), repository) or "")


def _stored(request: Request, exclude: set[str] | None = None, *, marks: str = "") -> str:
    """The request as records have it, under the names that nodes of the version before read."""
    values = request.model_dump(mode="json", exclude=exclude)
    if values.pop("clean", False):
        values |= {"clean": True, "run_policy": values["run_policy"] + _CLEAN}
    if values.get("size"):
        values["run_policy"] += _HAS_SIZE
    else:
        values.pop("size", None)  # the text of a request without one is as versions before sizes wrote it
    if marks:
        values["run_policy"] += marks
    if "cached_result" in values:
        values["memo"] = values.pop("cached_result")
    values = {name: values[name] for name in (*_REQUEST_STARTS_WITH, *values) if name in values}
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False)


def decode(fields: dict[str, str]) -> Build:
    """Return a record's hash as a Build, without what only newer versions of the farm know.

    Raises VersionError if the rest cannot be read.
    """
    try:
        return _decode(fields)
    except ValueError as error:
        raise VersionError(
            f"The record of build {fields.get('id', '?')[:80]} was written by another version of the farm, "
            "and this process cannot read it."
        ) from error


def decode_all(found: Iterable[dict[str, str]]) -> Iterator[Build | None]:
    """Return the builds of these hashes, in their order: None for a hash that is empty or cannot be read."""
    for fields in found:
        try:
            yield decode(fields) if fields else None
        except VersionError:
            logger().warning("record_unreadable", build=fields.get("id", ""))
            yield None


def digests_of(record: Mapping[str, str | None]) -> tuple[set[str], str]:
    """Return the digests that a record's hash names, as `Records.named` has them, and its source's."""
    request = json.loads(record.get("request") or "{}")
    source = request.get("source", {})
    parts = [json.loads(record.get(name) or "{}") for name in ("result", "published")]
    texts = [record.get("log_blobs") or ""]
    if record.get("state") not in _ENDED:
        parts.append(source)
        texts += [*request.get("buildpacks", ()), *request.get("buildpack_order", ()), record.get("base") or ""]
    named = {str(part["digest"]) for part in parts if "digest" in part}
    return named.union(*map(digests_in, texts)), str(source.get("digest", ""))


def marks_of(record: Mapping[str, str]) -> tuple[bool, bool]:
    """Return whether build variables, and whether credentials, count for the build of a record's hash."""
    policy = str(json.loads(record.get("request") or "{}").get("run_policy", ""))
    return _HAS_VARIABLES in policy, _HAS_CREDENTIALS in policy


def digests_in(text: str) -> set[str]:
    """Return the digests that a text names, such as a packed buildpack's reference."""
    return set(re.findall(r"sha256:[0-9a-f]{64}", text))


def _content(request: Request) -> bytes:
    return _stored(request, exclude={"idempotency_key"}).encode()


def _decode(fields: dict[str, str]) -> Build:
    values: dict[str, Any] = {name: fields[name] for name in _PLAIN if fields.get(name)}
    values["build_class"], _ = parts_of(fields.get("queue", "").removeprefix("build.").partition(".")[0])
    if "memo_of" in values:
        values["result_of"] = values.pop("memo_of")
    for name in ("request", "result", "failure"):
        if name in fields:
            values[name] = json.loads(fields[name])
    if "+" in (policy := str(values.get("request", {}).get("run_policy", ""))):
        for mark in (_HAS_LFS, _HAS_CREDENTIALS, _HAS_VARIABLES, _HAS_SIZE, _CLEAN):
            policy = policy.removesuffix(mark)
        values["request"]["run_policy"] = policy
    attempt, channel, base, *_ = [*fields.get("base", "").split(" "), "", ""]
    if attempt and attempt == fields.get("attempt"):  # else a node of an older version has claimed it since
        values |= {"channel": channel, "base": base}
    # A phase that is entered again while its first entry is written counts from the first.
    began = [pair.partition("=") for pair in fields.get("began", "").split()]
    values["phases_began"] = {phase: at for phase, _, at in reversed(began)}
    # What comes from outside is checked strictly before it is stored; what is stored may be newer than this process.
    return Build.model_validate({**values, "cancel_requested": "cancel" in fields}, extra="ignore")
