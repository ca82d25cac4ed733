"""Who pushes: HTTP Basic (RFC 7617) with any user name, and a token of the farm as the password."""

from __future__ import annotations

import base64
import binascii
import re

from fastapi import Request
from fastapi.responses import PlainTextResponse

from buildfarm.access import Scope
from buildfarm.api.caller import Caller, caller_of
from buildfarm.api.problems import RefusedError, problem_of
from buildfarm.api.services import Services
from buildfarm.errors import BuildfarmError
from buildfarm.fields import NAME_PATTERN
from buildfarm.model import IMAGES

_WRONG_MAX, _WRONG_SECONDS = 30, 300  # wrong passwords of one address, as on the page
_HIDDEN = "request.unauthenticated"


def pusher(request: Request, tenant: str, app: str) -> Caller:
    """The caller, who may build this app and read its log. Raises RefusedError."""
    services: Services = request.app.state.services
    password = _password(request.headers.get("authorization", ""))
    token = services.tokens.verify(password) if password else None
    if token is None:
        raise _unknown(request, services) if password else _asked()
    caller = caller_of(request, services, token, services.farm.settings.api_calls_per_hour, "calls")
    if not (re.fullmatch(NAME_PATTERN, tenant) and re.fullmatch(NAME_PATTERN, app)) or tenant == IMAGES:
        raise RefusedError(
            404, "request.not_found", "There is no such app.",
            advice="The address is /git/TENANT/APP; names have lower-case letters, digits and dashes.",
        )  # fmt: skip
    if caller.tenant not in (None, tenant):
        caller.note("git.push", f"{tenant}/{app}", "denied", tenant=tenant)
        raise RefusedError(
            403, "request.tenant", f"The token is for the tenant {caller.tenant}.",
            advice=f"Push to /git/{caller.tenant}/APP.",
        )  # fmt: skip
    for scope in (Scope.SUBMIT, Scope.READ):
        caller.require(scope)
    return caller


def refusal(error: BuildfarmError) -> PlainTextResponse:
    """The error as plain text, which git shows its user."""
    status, _, wait = problem_of(error)
    headers = {"Retry-After": str(max(1, round(wait)))} if wait else {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="buildfarm: the password is a token", charset="UTF-8"'
    return PlainTextResponse(f"{error}\n", status, headers)


def _password(header: str) -> str:
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _asked() -> RefusedError:
    return RefusedError(
        401, _HIDDEN, "A push needs a token.", advice="Give any user name, and a token of the farm as the password."
    )


def _unknown(request: Request, services: Services) -> RefusedError:
    address = request.client.host if request.client else ""
    wait = services.rates.take("git-password", address, _WRONG_MAX, _WRONG_SECONDS)
    if wait:
        return RefusedError(
            429, "request.rate", "Too many wrong passwords.", advice="Wait for the seconds in Retry-After.",
            retry_seconds=wait,
        )  # fmt: skip
    return RefusedError(401, _HIDDEN, "The password is not a valid token.", advice="`buildfarm tokens make` makes one.")
