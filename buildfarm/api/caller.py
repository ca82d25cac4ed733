"""Who asks, and whether they may. The tenant comes from the token, never from the path or the body."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, TypeVar

import anyio
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from buildfarm.access import AuditEntry, Scope, Token
from buildfarm.api.problems import RefusedError
from buildfarm.api.services import Services
from buildfarm.api.slots import Turns
from buildfarm.errors import NotFoundError, RegistryError, UnconfirmedError
from buildfarm.model import Build

T = TypeVar("T")

_HOUR = 3600
_HOST_CALLS = 20  # times as many as other calls: hosts share one token, and each reports once a minute

_bearer = HTTPBearer(auto_error=False, description="`bf_…`, made by `buildfarm tokens make`")


@dataclass(frozen=True)
class Caller:
    """A request's holder of a token."""

    token: Token
    services: Services
    address: str
    request_id: str

    @property
    def tenant(self) -> str | None:
        """The tenant whose objects are visible; None: all tenants."""
        return self.token.tenant

    def require(self, scope: Scope) -> None:
        """Raises RefusedError if the token lacks the scope."""
        if scope not in self.token.scopes:
            self.note(f"scope.{scope}", "", "denied")
            raise RefusedError(
                403, "request.scope", f"The token {self.token.name} does not have the scope {scope}.",
                advice="Ask the farm's operators for one that has.",
            )  # fmt: skip

    def build(self, build_id: str) -> Build:
        """A build that the caller may see. Raises NotFoundError, alike for one of others and for none at all."""
        missing = NotFoundError(f"There is no build {build_id}.", advice="GET /v1/builds lists the builds.")
        try:
            build = self.services.farm.get(build_id)
        except NotFoundError:
            raise missing from None
        if self.tenant not in (None, build.request.tenant):
            self.note("build.read", build_id, "denied", tenant=build.request.tenant)
            raise missing
        return build

    def tenant_of(self, named: str | None) -> str | None:
        """The tenant that a request is about, where it may name one. Raises RefusedError."""
        if self.tenant is None or named in (None, self.tenant):
            return self.tenant or named
        self.note("tenant.use", named or "", "denied", tenant=named or "")
        raise RefusedError(
            403, "request.tenant", f"The token is for the tenant {self.tenant}.", advice="Leave the tenant out."
        )

    def note(self, verb: str, what: str, result: str = "done", *, tenant: str | None = None) -> None:
        """Writes a deed to the audit log. Raises StoreError."""
        self.services.audit.add(
            AuditEntry(
                who=self.token.name,
                token=self.token.id,
                tenant=tenant if tenant is not None else self.tenant or "",
                verb=verb,
                object=what,
                result=result,
                address=self.address,
                request_id=self.request_id,
            )
        )


@contextmanager
def noted(caller: Caller, verb: str, what: str, *, tenant: str | None = None) -> Iterator[None]:
    """Notes a change that is made here as done; as unfinished if it took effect, and something after it failed."""
    try:
        yield
    except (RegistryError, UnconfirmedError):
        caller.note(verb, what, "unfinished", tenant=tenant)
        raise
    caller.note(verb, what, tenant=tenant)


def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """The caller by its bearer token (RFC 6750). Raises RefusedError."""
    return _bearer_of(request, credentials, "calls", 1)


def authenticate_host(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Likewise, for reports of hosts, which are counted apart from other calls. Raises RefusedError."""
    return _bearer_of(request, credentials, "host reports", _HOST_CALLS)


def _bearer_of(request: Request, credentials: HTTPAuthorizationCredentials | None, what: str, times: int) -> Caller:
    services: Services = request.app.state.services
    token = services.tokens.verify(credentials.credentials) if credentials else None
    if token is None:
        raise RefusedError(
            401, "request.unauthenticated", "The token is missing or not valid.",
            advice="Send `Authorization: Bearer bf_…`; `buildfarm tokens make` makes one.",
        )  # fmt: skip
    return caller_of(request, services, token, times * services.farm.settings.api_calls_per_hour, what)


def caller_of(request: Request, services: Services, token: Token, calls_per_hour: int, what: str) -> Caller:
    """The caller behind a token, if it did not call too often. Raises RefusedError."""
    request.scope["state"]["token"] = token.id
    wait = services.rates.take(what, token.id, calls_per_hour, _HOUR)
    if wait:
        raise RefusedError(
            429, "request.rate", f"This token is limited to {calls_per_hour:,} requests an hour.",
            advice="Wait for the seconds in Retry-After. Following a build live costs one call.", retry_seconds=wait,
        )  # fmt: skip
    address = request.client.host if request.client else ""
    return Caller(token, services, address, request.scope["state"]["request_id"])


async def in_turn(caller: Caller, turns: Turns, work: Callable[[], T]) -> T:
    """What ``work`` returns. Raises RefusedError if too many wait already, or too many of the caller's tenant."""
    holder = caller.token.id if caller.tenant is None else f"tenant {caller.tenant}"
    with turns.slots.take(holder):
        return await anyio.to_thread.run_sync(work, limiter=turns.threads)


def with_scope(scope: Scope) -> Callable[[Caller], Caller]:
    """A dependency: a caller whose token has the scope."""

    def check(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
        caller.require(scope)
        return caller

    return check


def operator(scope: Scope) -> Callable[[Caller], Caller]:
    """A dependency: a caller whose token has the scope and is for all tenants."""

    def check(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
        return _for_all(caller, scope)

    return check


def host_reporter(caller: Annotated[Caller, Depends(authenticate_host)]) -> Caller:
    """A dependency: as `operator` with the scope read, for reports of hosts."""
    return _for_all(caller, Scope.READ)


def _for_all(caller: Caller, scope: Scope) -> Caller:
    caller.require(scope)
    if caller.tenant is not None:
        caller.note("operator.use", "", "denied")
        raise RefusedError(403, "request.operator", "This is for the farm's operators: a token for all tenants.")
    return caller


Reader = Annotated[Caller, Depends(with_scope(Scope.READ))]
Submitter = Annotated[Caller, Depends(with_scope(Scope.SUBMIT))]
Operator = Annotated[Caller, Depends(operator(Scope.READ))]
HostReporter = Annotated[Caller, Depends(host_reporter)]
Orchestrator = Annotated[Caller, Depends(operator(Scope.SUBMIT))]
Admin = Annotated[Caller, Depends(operator(Scope.ADMIN))]
