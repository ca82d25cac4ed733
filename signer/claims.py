"""The requests that this process works on. Their claims are renewed beside the work, however long it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from buildfarm.releases.signing.requests import BuildRequested, SignRequests, TargetRequest

RENEW_SECONDS = 5.0


@dataclass(eq=False)
class Claim:
    """A request as it was claimed or renewed last. One thread at a time renews or settles it."""

    request: BuildRequested | TargetRequest
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_settled: bool = False


@dataclass(frozen=True)
class Claims:
    """Every method raises StoreError if Redis cannot be reached."""

    requests: SignRequests
    _held: list[Claim] = field(default_factory=list)

    @contextmanager
    def next(self) -> Iterator[Claim | None]:
        """The oldest request that is due, for the length of the block; None if there is none."""
        request = self.requests.claim()
        if request is None:
            yield None
            return
        claim = Claim(request)
        self._held.append(claim)
        try:
            yield claim
        finally:
            self._held.remove(claim)
            with claim.lock:  # a renewal after this would only delay the next try
                claim.is_settled = True

    def renew(self) -> None:
        """Keep all of them. One that another signer has taken over is refused at the next write of its build."""
        for claim in list(self._held):
            with claim.lock:
                if not claim.is_settled:
                    claim.request = self.requests.renew(claim.request) or claim.request

    def settle(self, claim: Claim, *, refused: bool) -> None:
        """Its target is signed, or ``refused``. A renewal meanwhile would keep the request for another signer."""
        with claim.lock:
            if isinstance(claim.request, TargetRequest):
                self.requests.settled(claim.request, refused=refused)
            claim.is_settled = True
