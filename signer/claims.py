"""The requests that this process works on. Their claims are renewed beside the work, however long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from buildfarm.releases.signing.requests import BuildRequested, SignRequests, TargetRequest

RENEW_SECONDS = 5.0


@dataclass(eq=False)
class Claim:
    """A request as it was claimed or renewed last."""

    request: BuildRequested | TargetRequest


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

    def renew(self) -> None:
        """Keep all of them. One that another signer has taken over is refused at the next write of its build."""
        for claim in list(self._held):
            claim.request = self.requests.renew(claim.request) or claim.request
