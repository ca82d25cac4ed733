"""The application: every route in its place, with what they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles

from buildfarm import __version__
from buildfarm.api import problems
from buildfarm.api.page import apps as apps_page
from buildfarm.api.page import components as components_page
from buildfarm.api.page import credentials as credentials_page
from buildfarm.api.page import finding, operating, pages
from buildfarm.api.page import form as form_page
from buildfarm.api.page import log as log_page
from buildfarm.api.page import rollouts as rollouts_page
from buildfarm.api.request_limits import RequestLimits
from buildfarm.api.routes import (
    apps,
    bases,
    builds,
    channels,
    components,
    credentials,
    farm,
    hooks,
    keeping,
    rollouts,
    sizes,
    sources,
    variables,
    webhook,
)
from buildfarm.api.routes.git_push import push as git_push
from buildfarm.api.services import Services

_ABOUT = """
Source code in, container images out. Every request except health checks needs a token: `Authorization: Bearer bf_…`.
Errors are problem details (RFC 9457) with a `code` for scripts and `advice` for people. docs/api.md is the guide.
"""


def make_application(services: Services) -> FastAPI:
    """The API of this farm, as an ASGI application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await services.feeds.close()

    app = FastAPI(
        title="buildfarm",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    problems.install(app)
    for part in (
        builds.router,
        sources.router,
        webhook.router,
        keeping.router,
        apps.router,
        rollouts.router,
        channels.router,
        components.router,
        variables.router,
        credentials.router,
        hooks.router,
        sizes.router,
        bases.router,
        farm.router,
        pages.router,
        form_page.router,
        apps_page.router,
        finding.router,
        operating.router,
        credentials_page.router,
        log_page.router,
        components_page.router,
        rollouts_page.router,
    ):
        app.include_router(part)
    if services.farm.settings.git_push:
        app.include_router(git_push.make_router(services.farm.settings))
    app.mount("/static", StaticFiles(packages=[("buildfarm.api", "static")]), name="static")
    app.add_middleware(RequestLimits, metrics=services.metrics)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of the application, with the form of its problems."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        form = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components.update(form.pop("$defs", {}))
        components["Problem"] = form
        app.openapi_schema = document
    return app.openapi_schema
