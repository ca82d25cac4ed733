"""The page: the same farm for people, made on the server. htmx asks again for the parts that change."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, select_autoescape

from buildfarm.access import Scope
from buildfarm.api.bodies import AFTER_PATTERN
from buildfarm.api.caller import Caller, caller_of
from buildfarm.api.page import sentences
from buildfarm.api.page.waterfall import draw, spans_of
from buildfarm.api.problems import RefusedError, problem_of
from buildfarm.api.routes.builds import BuildId
from buildfarm.api.services import Services
from buildfarm.errors import BuildfarmError
from buildfarm.farm import Farm
from buildfarm.model import Build, State, place_of
from buildfarm.queue.estimate import LOOKED_AT, estimate, usual_seconds
from buildfarm.releases.signing.app_tags import AppTags
from buildfarm.store.pages import Pages
from buildfarm.telemetry.units import size

COOKIE = "buildfarm_session"
_LISTED = 50
# Its parts ask every two or three seconds; a person may have some of them open.
_CALLS_PER_HOUR_FACTOR = 10

_templates = Environment(
    loader=PackageLoader("buildfarm.api"), autoescape=select_autoescape(), trim_blocks=True, auto_reload=False
)
_templates.globals.update({name: getattr(sentences, name) for name in (
    "duration", "in_words", "moment", "source_in_words", "whose_fault",
)}, size=size)  # fmt: skip


class SignInFirstError(BuildfarmError):
    """No user is signed in in this browser."""


class PageRoute(APIRoute):
    """A route whose failures are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with that edge around it."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except SignInFirstError:
                return _to_sign_in(request)
            except BuildfarmError as error:
                status, _, _ = problem_of(error)
                values = {"title": "The request failed", "message": error.message, "advice": error.advice}
                return HTMLResponse(render(request, None, "error.html", **values), status)

        return handle


def visitor(request: Request) -> Caller:
    """Who is signed in. Raises SignInFirstError and RefusedError."""
    services: Services = request.app.state.services
    token = services.tokens.session(request.cookies.get(COOKIE, ""))
    if token is None:
        raise SignInFirstError("You are not signed in.")
    if request.method == "POST":
        same_origin(request)
    calls = services.farm.settings.api_calls_per_hour * _CALLS_PER_HOUR_FACTOR
    caller = caller_of(request, services, token, calls, "page")
    caller.require(Scope.READ)
    return caller


def same_origin(request: Request) -> None:
    """A form of another site changes nothing here. Raises RefusedError."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    # Browsers send the first over TLS and on this machine alone. A proxy may have replaced the host.
    own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if site not in ("same-origin", "none") if site else not own:
        raise RefusedError(
            403, "request.origin", "The form was sent from another site.",
            advice="If it was not, the proxy before this page changes the header Host; in nginx:"
            " proxy_set_header Host $http_host;",
        )  # fmt: skip


Visitor = Annotated[Caller, Depends(visitor)]
router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/")
def builds(request: Request, caller: Visitor, state: str = "", after: str = "", app: str = "") -> Response:
    """The newest builds; of a ``tenant/app`` all of them, page by page."""
    if not re.fullmatch(AFTER_PATTERN, after):
        raise RefusedError(
            422, "request.invalid", "`after` is not a position in the list of builds.",
            advice="Open the list without it, then follow its links.",
        )  # fmt: skip
    wanted = {"queued": {State.QUEUED, State.HELD}}.get(state) or {one for one in State if one == state}
    tenant, _, name = app.partition("/") if re.fullmatch(r"[a-z0-9-]+/[a-z0-9.:_-]+", app) else ("", "", "")
    lost: list[str] = []
    found, following = caller.services.farm.page(
        _LISTED,
        tenant=caller.tenant_of(tenant or None),
        app=name or None,
        states=frozenset(wanted),
        after=after,
        lost=lost,
    )
    chosen = app if name else ""
    place = f"/?state={state if wanted else ''}" + (f"&app={chosen}" if chosen else "")
    archived = not chosen and not following and not caller.services.farm.history.catalog.is_empty()
    values = {"builds": found, "state": state, "next": following, "here": "/", "app": chosen, "lost": lost}
    place += f"&after={after}" if after else ""
    return live(request, caller, "builds", place, {**values, "archived": archived})


@router.get("/builds/{build_id}")
def build(request: Request, build_id: BuildId, caller: Visitor, part: str = "") -> Response:
    """One build; with ``part`` all of it but its log."""
    found = caller.build(build_id)
    template = "_build.html" if part else "build.html"
    return HTMLResponse(render(request, caller, template, here="", **of_build(caller, found)))


@router.post("/builds/{build_id}/cancel")
def cancel(build_id: BuildId, caller: Visitor) -> Response:
    """Ends a build."""
    caller.require(Scope.SUBMIT)
    found = caller.build(build_id)
    if not caller.services.farm.cancel(build_id).final:
        caller.note("build.cancel", build_id, tenant=found.request.tenant)
    return RedirectResponse(f"/builds/{build_id}", 303)


@router.get("/nodes")
def nodes(request: Request, caller: Visitor) -> Response:
    """The build nodes."""
    if caller.tenant is not None:
        raise RefusedError(403, "request.operator", "The nodes are shown to the farm's operators only.")
    values = {"nodes": caller.services.farm.nodes(), "here": "/nodes"}
    return live(request, caller, "nodes", "/nodes?", values)


@router.get("/queue")
def queue(request: Request, caller: Visitor) -> Response:
    """Who waits."""
    found = caller.services.farm.queue(tenants_max=50)
    if caller.tenant is not None:
        own = tuple(row for row in found.tenants if row.tenant == caller.tenant)
        found = found.model_copy(update={"classes": (), "tenants": own})
    return live(request, caller, "queue", "/queue?", {"queue": found, "here": "/queue"})


@router.get("/sign-in")
def sign_in_form(request: Request) -> Response:
    """Asks for a token."""
    values = {"next": request.query_params.get("next", "/"), "refused": ""}
    return HTMLResponse(render(request, None, "sign_in.html", **values))


@router.post("/sign-in")
def sign_in(request: Request, token: Annotated[str, Form()] = "", next: Annotated[str, Form()] = "/") -> Response:
    """Opens a session: the browser keeps its name, and never the token."""
    same_origin(request)
    services: Services = request.app.state.services
    address = request.client.host if request.client else ""
    wait = services.rates.take("sign-in", address, 30, 300)
    known = None if wait else services.tokens.verify(token.strip())
    if known is None or Scope.READ not in known.scopes:
        reason = "Too many attempts; wait a while." if wait else "This token does not give access to the page."
        return HTMLResponse(render(request, None, "sign_in.html", next=next, refused=reason), 429 if wait else 401)
    # Only a path of this page: never a way to another site.
    target = next if next.startswith("/") and not next.startswith(("//", "/\\")) else "/"
    response = RedirectResponse(target, 303)
    response.set_cookie(
        COOKIE, services.tokens.open_session(known), httponly=True, samesite="strict",
        secure=request.url.scheme == "https", path="/",
    )  # fmt: skip
    return response


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """Ends the session."""
    same_origin(request)
    services: Services = request.app.state.services
    services.tokens.close_session(request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE, path="/")
    return response


def of_build(caller: Caller, found: Build) -> dict[str, Any]:
    """What the templates show of a build."""
    farm = caller.services.farm
    layers = found.result.layers if found.result else ()
    own = [layer for layer in layers if layer.origin != "builder"]
    return {
        "build": found,
        "image": farm.image(found) if found.result else "",
        "signature": signature_of(farm, found.request.target, str(found.result.digest)) if found.result else "",
        "place": farm.queue_position(found),
        "progress": _progress(caller, found),
        "waterfall": draw(spans_of(found, time.time())),
        "builder_layers": [layer for layer in layers if layer.origin == "builder"],
        "reused_bytes": sum(layer.size_bytes for layer in own if layer.reused),
        "largest_bytes": max((layer.size_bytes for layer in own), default=1),
    }


def signature_of(farm: Farm, target: str, digest: str) -> str:
    """``signed`` or ``unsigned``, for an image; empty if the farm does not sign, or the registry does not have it."""
    if digest and farm.settings.signs:
        with suppress(BuildfarmError):
            if AppTags(farm.quick_registry, farm.records).is_signed(target, digest):
                return "signed"
            return "unsigned" if farm.quick_registry.has_manifest(place_of(target)[0], digest) else ""
    return ""


def _progress(caller: Caller, found: Build) -> str:
    """How far an open build is, by the app's last builds; empty if nothing is known."""
    if found.state.final:
        return ""
    with suppress(BuildfarmError):
        # Not from the archive: the page asks every three seconds, and must not wait for the registry.
        pages = Pages(caller.services.farm.records.database)
        newest, _ = pages.page(LOOKED_AT, tenant=found.request.tenant, app=found.request.app)
        left = estimate(found, usual_seconds(newest), time.time())
        return sentences.progress_in_words(left) if left else ""
    return ""


def live(request: Request, caller: Caller, name: str, place: str, values: dict[str, Any]) -> Response:
    """A whole page, or its changing part where htmx asks for it; 204 if that has not changed."""
    part, seen = render(request, caller, f"_{name}.html", refresh="", **values), request.query_params.get("seen")
    version = hashlib.sha256(part.encode()).hexdigest()[:16]
    if seen == version:
        return Response(status_code=204)
    template = f"_{name}.html" if request.headers.get("hx-request") else f"{name}.html"
    separator = "" if place.endswith("?") else "&"
    return HTMLResponse(render(request, caller, template, refresh=f"{place}{separator}seen={version}", **values))


def render(request: Request, caller: Caller | None, template: str, **values: Any) -> str:
    """A template's text; ``here`` is the page's place in the menu."""
    return _templates.get_template(template).render(caller=caller, key=secrets.token_hex(12), **{"here": "", **values})


def _to_sign_in(request: Request) -> Response:
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"HX-Redirect": "/sign-in"})
    where = request.url.path if request.method == "GET" else "/"
    return RedirectResponse(f"/sign-in?next={where}", 303)
