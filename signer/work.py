"""One request to the signer: checked, signed, and the tag moved."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from buildfarm.errors import BuildfarmError, LeaseLost, UnsignableError
from buildfarm.farm import Farm
from buildfarm.model import BuildResult, Failure, Fault, Phase, State, place_of
from buildfarm.oci.connection import MissingBlobError, NotInRegistryError
from buildfarm.oci.digest import Digest
from buildfarm.oci.signatures.attaching import Attaching, Unsigned
from buildfarm.oci.signatures.dsse import Statement
from buildfarm.oci.signatures.provenance import PROVENANCE
from buildfarm.releases.signing.app_tags import AppTags
from buildfarm.releases.signing.requests import BuildRequested, SignRequests, TargetRequest
from buildfarm.store import Tags
from buildfarm.telemetry import Logger
from signer.claims import Claims
from signer.evidence import Evidence
from signer.images import Images, Read
from signer.predicates.provenance import Predicate, Provenance
from signer.predicates.recorded import Recorded
from signer.report import Report
from signer.rules import Expected

_AGAIN_SECONDS = 2.0  # until a refused build is tried again
_NAME_CHARS = 200  # of what a node announces, in the log
_COMPLAIN_SECONDS = 60.0  # a node can announce bad names as often as it likes
_BUGS_MAX = 20  # claims that end in a bug, which are 15 s apart

_Sent = Mapping[str, tuple[str, bytes]]


@dataclass(frozen=True)
class Work:
    """Does what is asked of the signer, and reports how it ended."""

    farm: Farm
    attaching: Attaching
    images: Images
    claims: Claims
    logger: Logger
    report: Report
    bugs: Counter[str] = field(default_factory=Counter)  # by target, while a request is tried again
    complained: deque[float] = field(default_factory=lambda: deque([-_COMPLAIN_SECONDS], maxlen=1))  # of announcements
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, farm: Farm, attaching: Attaching, logger: Logger, report: Report | None = None) -> Work:
        """With what it needs of this farm."""
        return cls(farm, attaching, Images(farm), Claims(SignRequests(farm.admission)), logger, report or Report())

    @property
    def requests(self) -> SignRequests:
        """Where they wait."""
        return self.claims.requests

    @property
    def provenance(self) -> Provenance:
        """What it states about images."""
        mode = self.farm.settings.provenance
        return Provenance(self.farm.registry.host, is_laptop=mode == "laptop", is_off=mode == "off")

    def prepare(self, repository: str) -> None:
        """An image of this repository is likely to come soon. What fails here is done again by its signing."""
        try:
            self.attaching.expect(repository, statements=0 if self.provenance.is_off else 1)
        except ValueError as error:  # a node names the repository
            if self.clock() - self.complained[0] >= _COMPLAIN_SECONDS:
                self.complained.append(self.clock())
                self.logger.info("uploads_not_opened", repository=repository[:_NAME_CHARS], reason=str(error))

    def turn(self) -> bool:
        """Do the oldest request that is due; False if there is none.

        Raises StoreError, RegistryError and SetupError: then the request is done again later, by any signer.
        """
        with self.claims.next() as claim:
            if claim is None:
                return False
            started = time.monotonic()
            request = claim.request
            outcome = self._some_build(request) if isinstance(request, BuildRequested) else self._some_target(request)
            if isinstance(request, TargetRequest):
                self.claims.settle(claim, refused=outcome == "refused")
            self.report.request_ended(outcome, time.monotonic() - started)
        return True

    def _some_build(self, request: BuildRequested) -> str:
        """A build on which the signer fails by a bug again and again does not keep its tenant's place for ever."""
        try:
            return self._build(request)
        except BuildfarmError:
            raise
        except Exception as error:
            if self.requests.count_bug(request) < _BUGS_MAX:
                raise
            self.logger.exception("signer_bug", build=request.build.id)
            return self._refused(request, UnsignableError(f"A bug in the signer: {type(error).__name__}."))

    def _some_target(self, request: TargetRequest) -> str:
        """A target on which this signer fails by a bug again and again is left alone until it is asked for anew."""
        target = request.target
        try:
            outcome = self._target(target, request.documents)
        except BuildfarmError:
            raise
        except Exception:
            self.bugs[target] += 1
            if self.bugs[target] < _BUGS_MAX:
                raise
            self.logger.exception("signer_bug", target=target)
            outcome = "refused"
        self.bugs.pop(target, None)
        return outcome

    def _build(self, request: BuildRequested) -> str:
        log = self.logger.bind(build=request.build.id, attempt=request.build.attempt)
        target = request.build.request.target
        try:
            published = request.published
            _check_target(request.target, target)
            image = self.images.read(published.repository, published.digest, request.documents)
            is_new = not all(layer.reused for layer in published.layers if layer.origin != "builder")
            sent = self._sign(image, target, lambda: self._check(image, request), is_new=is_new)
        except UnsignableError as error:
            log.warning("signature_refused", reason=error.message)
            return self._refused(request, error)
        try:
            named = [self.requests.signed(request)]
            digests = list(named)
            # What was just named; once the tag has moved, what the record says by then.
            self._move(target, sent, lambda: named.pop() if named else self.farm.records.tag_target(target))
            result = _with_publish(request)
            self.requests.end(request, result)
        except MissingBlobError as error:
            if digests[-1] != published.digest:  # another image's, which was published later
                raise
            self._put_back(target, str(published.digest))
            return self._refused(request, UnsignableError(f"The registry no longer has the whole image: {error}"))
        except LeaseLost as error:
            log.info("request_taken_over", reason=error.message)
            return "lost"
        self.report.build_ended(request.build, State.SUCCEEDED, result=result)
        log.info("build_signed", digest=published.digest)
        return "signed"

    def _check(self, image: Read, request: BuildRequested) -> Predicate:
        """The image's provenance; nothing that the node handed over is in it without being marked."""
        checked = self.images.check(image, Expected.of(request.build))
        return self.provenance.of_build(Recorded.of(request.build, request.record, request.published, checked))

    def _target(self, target: str, documents: Mapping[str, bytes]) -> str:
        """An image that has no signature yet: it was moved to another base, or built before signing was on."""
        digest = self.farm.records.tag_target(target)
        if not digest:
            return "signed"
        try:
            image = self.images.read(place_of(target)[0], _digest(digest), documents)
            keys = tuple(one.public_key for one in self.attaching.signers)
            sent = self._sign(image, target, lambda: Evidence(self.images, keys, self.provenance).check(target, image))
        except UnsignableError as error:
            self.logger.warning("signature_refused", target=target, reason=error.message)
            self._put_back(target, digest)
            return "refused"
        try:
            self._move(target, sent)
        except MissingBlobError as error:
            if self.farm.records.tag_target(target) != digest:  # another image's, which was named meanwhile
                raise
            self.logger.warning("signature_refused", target=target, reason=f"The image is not whole: {error}")
            self._put_back(target, digest)
            return "refused"
        self.logger.info("target_signed", target=target, digest=digest)
        return "signed"

    def _put_back(self, target: str, refused: str) -> None:
        """The record names what the tag points to again, unless another image has been named meanwhile."""
        try:
            tagged = str(self.farm.registry.get_manifest(*place_of(target))[2])
        except NotInRegistryError:
            tagged = ""
        if tagged != refused:
            Tags(self.farm.database).point(target, tagged, refused, "same")

    def _move(self, target: str, sent: _Sent, wanted: Callable[[], str] | None = None) -> None:
        tags = AppTags(self.farm.registry, self.farm.records, signing=True, signed=frozenset(sent))
        tags.move(target, wanted, sent)

    def _sign(self, image: Read, target: str, check: Callable[[], Predicate | None], *, is_new: bool = False) -> _Sent:
        """Returns media type and bytes of the manifest by digest. Raises UnsignableError as ``check`` does.

        The provenance that ``check`` gives, unless it is empty, is pushed beside the signatures, in the same steps.
        """
        try:
            predicate = check()
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UnsignableError(f"{image.repository}@{image.digest} cannot be read: {error}") from error
        reference = f"{self.farm.registry.host}/{image.repository}:{place_of(target)[1]}"
        unsigned = Unsigned(image.repository, image.descriptor, reference)
        more = [Statement(image.digest, PROVENANCE, predicate, unsigned.name)] if predicate else []
        self.attaching.sign(unsigned, is_new=is_new, more=more)
        return {str(image.digest): (image.media_type, image.content)}

    def _refused(self, request: BuildRequested, error: UnsignableError) -> str:
        failure = Failure(
            code=error.code, fault=Fault.FARM, phase=Phase.PUBLISH, message=error.message, advice=error.advice
        )
        try:
            state = self.requests.refuse(request, failure, self.farm.settings.attempts_max, _AGAIN_SECONDS)
        except LeaseLost:
            return "lost"
        self.report.build_ended(request.build, state, code=error.code)
        return "refused"


def _digest(text: str) -> Digest:
    try:
        return Digest(text)
    except ValueError as error:
        raise UnsignableError(f"The record names an image that is none: {error}.") from error


def _with_publish(request: BuildRequested) -> BuildResult:
    """The result with the seconds from the hand-over to the tag."""
    began = request.build.phases_began.get(Phase.PUBLISH)
    spent = dict(request.published.phase_seconds)
    if began is not None:
        spent[Phase.PUBLISH] = max(request.claimed_at - began, 0.0) + time.monotonic() - request.received
    return request.published.model_copy(update={"phase_seconds": spent})


def _check_target(handed_over: str, target: str) -> None:
    """A node gives its build's own target alone."""
    if handed_over != target:
        raise UnsignableError(f"The node handed the build over for {handed_over}, and it is for {target}.")
