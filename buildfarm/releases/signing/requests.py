"""Requests to the signer: published builds that wait for their signature, and targets whose image has none yet.

The request is part of the record; a wake-up only saves time. The signer finds overdue requests by itself.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from buildfarm.errors import LeaseLost, UnsignableError
from buildfarm.model import Build, BuildResult, Failure, State
from buildfarm.oci.digest import Digest
from buildfarm.store.admission import Admission
from buildfarm.store.database import Database
from buildfarm.store.leases import Lease
from buildfarm.store.records import decode

CLAIM_SECONDS = 15.0  # after which another signer takes a request over, unless it is renewed
_WAIT_SECONDS = 1.0
_SOON_SECONDS = 10  # for which an announcement is of use
_DOCUMENT_BYTES_MAX = 128 * 1024  # of one image, in Redis while it waits


@dataclass(frozen=True)
class TargetRequest:
    """The image of this target is to be signed, and its tag moved."""

    target: str
    score: str  # reports whether it was asked for again meanwhile
    documents: Mapping[str, bytes] = field(default_factory=dict)  # of the image, by digest: what came with the request


@dataclass(frozen=True)
class BuildRequested:
    """A published build. ``lease`` is the signer's; the node has let go of it."""

    lease: Lease
    build: Build
    content: str  # what was published, as it was handed over
    target: str
    input_digest: str  # as `Leases.succeed` takes it
    record: Mapping[str, str]  # the whole of it, as Redis has it
    documents: Mapping[str, bytes]  # of the image: what the node sent of its manifest and config, by digest
    claimed_at: float  # by Redis's clock, in seconds since the epoch
    received: float  # the same moment by this process's monotonic clock

    @cached_property
    def published(self) -> BuildResult:
        """Raises UnsignableError if it cannot be read: a node wrote it."""
        try:
            return BuildResult.model_validate_json(self.content, extra="ignore")
        except ValueError as error:
            raise UnsignableError("What the node handed over to the signer cannot be read.") from error


@dataclass(frozen=True)
class SignRequests:
    """Every method raises StoreError if Redis cannot be reached."""

    admission: Admission

    @property
    def database(self) -> Database:
        """Where they are kept."""
        return self.admission.database

    def hand_over(
        self,
        lease: Lease,
        target: str,
        result: BuildResult,
        *,
        input_digest: str = "",
        documents: Collection[bytes] = (),
    ) -> None:
        """Publish a build and hand its lease to the signer, in one step. Raises Cancelled and LeaseLost.

        ``documents`` are the image's manifest and config, which the signer then need not fetch: a digest proves each.
        From here on the node has no part in it: the signer moves the tag and ends the build.
        """
        content, known = result.model_dump_json(), _encoded(documents)
        answer = self.admission.change("hand_over", lease.build_id, lease.fence, target, content, input_digest, known)
        if answer != "held":
            lease.refuse(answer)

    def ask(self, target: str, documents: Collection[bytes] = ()) -> None:
        """The image of this target has no signature: the signer makes one, and then moves the tag.

        ``documents`` are manifests and such of the image and its release, which the signer then need not fetch.
        """
        key = self.database.key
        keys = [key("signing"), key("signing:calls"), key("signing:documents", target)]
        self.database.run("sign_target", keys, target, _encoded(documents))

    def has(self, target: str) -> bool:
        """Whether this target's image waits for the signer already."""
        with self.database.failures():
            return self.database.client.zscore(self.database.key("signing"), target) is not None

    def announce(self, repository: str) -> None:
        """A build of this repository sends its image: the signer can prepare. Only speed depends on it."""
        self.database.run("announce", [self.database.key("signing:soon")], repository)

    def wait(self) -> str:
        """Return when a request has come, or after a second: the newest announced repository, or an empty text.

        What was announced a while ago is passed over: its image is signed, or will not come.
        """
        calls, soon = self.database.key("signing:calls"), self.database.key("signing:soon")
        with self.database.failures(), suppress(ValueError):  # anything may be in the list
            found: Any = self.database.client.blpop([calls, soon], timeout=_WAIT_SECONDS)
            if found and found[0] == soon:
                at, _, repository = found[1].partition(" ")
                now: Any = self.database.client.time()
                return repository if now[0] - float(at) <= _SOON_SECONDS else ""
        return ""

    def claim(self) -> BuildRequested | TargetRequest | None:
        """Take the oldest request that is due; None if there is none. Raises VersionError, and the request waits."""
        token = secrets.token_hex(16)
        found: Any = self.admission.change("sign_claim", token, CLAIM_SECONDS)
        if not found:
            return None
        name, later, *more = found
        if "/" in name:
            return TargetRequest(name, later, _documents(more[0]))
        fields: dict[str, str] = dict(zip(more[::2], more[1::2], strict=True))
        build = decode(fields)
        lease = Lease(name, build.attempt, token, build)
        return BuildRequested(
            lease,
            build,
            fields.get("published", ""),
            fields.get("target", ""),
            fields.get("sign_input", ""),
            fields,
            _documents(fields.get("sign_documents", "")),
            float(later) - CLAIM_SECONDS,
            time.monotonic(),
        )

    def signed(self, request: BuildRequested) -> str:
        """The signatures are pushed: name the image that the tag is to point to, and return it. Raises LeaseLost.

        If a build that was published later has been signed before, that one's image stays.
        """
        digest = str(request.published.digest)
        named = self.admission.change("signed", request.lease.build_id, request.lease.fence, digest)
        if not named:
            raise _lost(request)
        return str(named)

    def refuse(self, request: BuildRequested, failure: Failure, attempts_max: int, wait_seconds: float = 0) -> str:
        """Take back a build whose image must not be signed; its tag stays where it is. Raises LeaseLost.

        It is built again after ``wait_seconds``, by any node, until its attempts are used up. Returns its state.
        """
        lease = request.lease
        answer = self.admission.change(
            "release", lease.build_id, lease.fence, attempts_max, failure.model_dump_json(), 0, wait_seconds, 0, 0, "1"
        )
        if answer == "stale":
            raise _lost(request)
        with self.database.failures():
            self.database.client.incr(self.database.key("signing:refused"))
        return str(answer)

    def count_bug(self, request: BuildRequested) -> int:
        """A signer failed on this request by a bug; returns how often it has happened."""
        with self.database.failures():
            return int(self.database.client.hincrby(self.database.key("build", request.build.id), "sign_bugs", 1))

    def end(self, request: BuildRequested, result: BuildResult) -> None:
        """The tag is where it should be: the build has succeeded. Raises LeaseLost."""
        lease = request.lease
        content = result.model_dump_json()
        change = self.admission.change
        if not change("finish", lease.build_id, lease.fence, State.SUCCEEDED, "result", content, request.input_digest):
            raise _lost(request)

    def settled(self, request: TargetRequest, *, refused: bool = False) -> None:
        """The target's image is signed, or ``refused``: nothing is to be done unless it was asked for again."""
        self.database.run("settle", [self.database.key("signing")], request.target, request.score)
        if refused:
            with self.database.failures():
                self.database.client.incr(self.database.key("signing:refused"))

    def renew(self, request: BuildRequested | TargetRequest) -> BuildRequested | TargetRequest | None:
        """Keep a claim for as long again; None if another signer has taken the request over."""
        if isinstance(request, BuildRequested):
            return request if self._renew(request.lease.build_id, request.lease.fence, "1") else None
        score = self._renew(request.target, request.score, "")
        return TargetRequest(request.target, score) if score else None

    def refused(self) -> int:
        """How many images signers have refused, since the farm began."""
        with self.database.failures():
            found: Any = self.database.client.get(self.database.key("signing:refused"))
        return int(found or 0)

    def waiting(self) -> tuple[int, float]:
        """How many requests there are, and for how many seconds the oldest has waited."""
        found: Any = self.database.run("signing_age", [self.database.key("signing"), self.database.key("build", "")])
        return int(found[0]), float(found[1])

    def _renew(self, name: str, mine: str, is_build: str) -> str:
        keys = [self.database.key("signing"), self.database.key("build", name)]
        return str(self.database.run("sign_renew", keys, name, mine, CLAIM_SECONDS, is_build))


def _encoded(documents: Collection[bytes]) -> str:
    """As `_documents` reads them; empty if there are none, or too much of them for Redis."""
    if not documents or sum(map(len, documents)) > _DOCUMENT_BYTES_MAX:
        return ""
    text = json.dumps([one.decode() for one in documents], ensure_ascii=False)
    return text if len(text.encode()) <= _DOCUMENT_BYTES_MAX else ""


def _documents(text: str) -> Mapping[str, bytes]:
    """By digest; none if a node has written something else, and the registry has them."""
    try:
        documents = [one.encode() for one in json.loads(text or "[]")]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {Digest.of(one): one for one in documents}


def _lost(request: BuildRequested) -> LeaseLost:
    return LeaseLost(f"Another signer has taken over build {request.lease.build_id}.")
