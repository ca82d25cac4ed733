"""The page's form for a new build."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import BinaryIO

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from buildfarm.access import Scope
from buildfarm.api.bodies import NewBuild
from buildfarm.api.caller import Caller
from buildfarm.api.page.pages import PageRoute, Visitor, render
from buildfarm.api.problems import RefusedError, problem_of
from buildfarm.api.routes.builds import accept
from buildfarm.api.uploads import Uploads
from buildfarm.errors import BuildfarmError, RequestError
from buildfarm.sources.address import ArchiveSource, GitSource, Source

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_FIELDS = (
    "key",
    "tenant",
    "app",
    "git",
    "ref",
    "archive",
    "sha256",
    "env",
    "secrets",
    "buildpacks",
    "buildpack_order",
    "size",
    "again",
    "clean",
)
_FORM_BYTES_MAX = 1024 * 1024  # of the form beside its file
_CHUNK_BYTES = 1024 * 1024


def bounded(request: Request) -> None:
    """Before the form is read: its file is kept on disk meanwhile. Raises RefusedError."""
    length = request.headers.get("content-length", "")
    limit = request.app.state.services.farm.settings.source_bytes + _FORM_BYTES_MAX
    if not length.isdigit() or int(length) > limit:
        raise RefusedError(
            413, "request.too_large", f"A form is limited to {limit:,} bytes and needs a Content-Length."
        )


@router.get("/submit")
def form(request: Request, caller: Visitor) -> Response:
    """An empty form."""
    caller.require(Scope.SUBMIT)
    return HTMLResponse(render(request, caller, "submit.html", here="/submit", form={}, problem=None))


@router.post("/submit", dependencies=[Depends(bounded)])
async def submit(request: Request, caller: Visitor) -> Response:
    """Accepts a build, or shows the form again and says what is wrong."""
    uploads = caller.services.uploads
    with uploads.slots.take(caller.token.id):
        return await _taken(request, caller, uploads)


async def _taken(request: Request, caller: Caller, uploads: Uploads) -> Response:
    async with uploads.bounded(request).form(max_files=1, max_fields=20) as sent:
        values = {name: str(sent.get(name, "")).strip() for name in _FIELDS}
        file = sent.get("file")
        content = file.file if isinstance(file, UploadFile) and file.filename else None
        try:
            build_id = await uploads.run(partial(_submit, caller, values, content))
        except BuildfarmError as error:
            page = render(request, caller, "submit.html", here="/submit", form=values, problem=error)
            return HTMLResponse(page, problem_of(error)[0])
    return RedirectResponse(f"/builds/{build_id}", 303)


def _submit(caller: Caller, values: Mapping[str, str], content: BinaryIO | None) -> str:
    caller.require(Scope.SUBMIT)
    if sum((content is not None, bool(values["git"]), bool(values["archive"]))) != 1:
        raise RequestError("Name one source.", advice="Choose a file, a git address or an archive's address.")
    tenant = caller.tenant_of(values["tenant"] or None)
    secrets = _config_vars(values["secrets"])
    try:
        request = {
            "tenant": tenant,
            "app": values["app"],
            "env": {**_config_vars(values["env"]), **secrets},
            "secrets": tuple(secrets),
            "buildpacks": values["buildpacks"].split(),
            "buildpack_order": values["buildpack_order"].split(),
            "size": values["size"] or None,
            "cached_result": not values["again"],
            "clean": bool(values["clean"]),
        }
        # Checked with a source that is always there, before anything is sent.
        NewBuild(**request, source=GitSource(url="https://example.org/"))
        new = NewBuild(**request, source=_source(caller, str(tenant), values, content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise RequestError(f"{place}: {message}." if place else f"{message[:1].upper()}{message[1:]}.") from error
    return accept(caller, new, values["key"] or None).id


def _source(caller: Caller, tenant: str, values: Mapping[str, str], content: BinaryIO | None) -> Source:
    if values["git"]:
        return GitSource(url=values["git"], ref=values["ref"] or "HEAD")
    if values["archive"]:
        return ArchiveSource(url=values["archive"], sha256=values["sha256"])
    if content is None:
        raise AssertionError("one of the three was found to be there")
    source, _ = caller.services.farm.take_source(tenant, iter(lambda: content.read(_CHUNK_BYTES), b""))
    caller.note("source.send", source.digest, tenant=tenant)
    return source


def _config_vars(text: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
    for name, equals, _ in pairs:
        if not equals:
            raise RequestError(
                f"{name[:80]!r} is not a valid name of a config var.", advice="Write them as NAME=value, one per line."
            )
    return {name.strip(): value for name, _, value in pairs}
