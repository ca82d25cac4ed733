"""Errors as problem details (RFC 9457): what happened, what to do next, and a code for scripts."""

from __future__ import annotations

import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from buildfarm.errors import (
    AppError,
    BuildfarmError,
    FarmError,
    NotFoundError,
    QueueFullError,
    RequestError,
    TooLargeError,
    TooLateError,
)
from buildfarm.telemetry import logger

MEDIA_TYPE = "application/problem+json"
_AGAIN_SECONDS = 5


class Wrong(BaseModel):
    """One thing that is wrong with a request."""

    place: str = Field(description="where in the request")
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457); `code`, `advice` and `errors` are this API's own members."""

    type: str = Field("about:blank", description="a URI that names the kind of problem")
    title: str
    status: int
    detail: str = Field("", description="one sentence about this request")
    instance: str = Field("", description="the request's id, as it appears in the logs")
    code: str = Field(description="stable, for scripts; docs/api.md lists them")
    advice: str = Field("", description="what to do next")
    errors: list[Wrong] = Field(default_factory=list)
    build: str = Field("", description="id of the build that was accepted despite the error")


class RefusedError(BuildfarmError):
    """A request that is refused at the edge, before the farm is asked."""

    def __init__(self, status: int, code: str, message: str, *, advice: str = "", retry_seconds: float = 0) -> None:
        super().__init__(message, advice=advice)
        self.status = status
        self.problem_code = code
        self.retry_seconds = retry_seconds


_TITLES = {
    400: "The request cannot be read",
    401: "The token is missing or not valid",
    403: "The token does not allow this",
    404: "Not found",
    405: "The method is not allowed here",
    408: "The request arrived too slowly",
    409: "The state no longer allows this",
    413: "The request is too large",
    415: "The content type is not supported",
    422: "The request is not valid",
    429: "Too many requests",
    500: "A bug in the farm",
    503: "The farm is temporarily unavailable",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer with beside its own, for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _TITLES[status], "content": content} for status in statuses}


_STATUSES: tuple[tuple[type[BuildfarmError], int], ...] = (
    (NotFoundError, 404),
    (QueueFullError, 429),
    (TooLateError, 409),
    (RequestError, 422),
    (TooLargeError, 413),
    (AppError, 422),
    (FarmError, 503),
)


def problem_of(error: BuildfarmError) -> tuple[int, str, float]:
    """Status, code and seconds to wait of an error."""
    if isinstance(error, RefusedError):
        return error.status, error.problem_code, error.retry_seconds
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    wait = getattr(error, "retry_after_seconds", _AGAIN_SECONDS if status == 503 else 0)
    return status, error.code, wait


def answer(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    advice: str = "",
    wait: float = 0,
    wrong: list[Wrong] | None = None,
    build: str = "",
) -> JSONResponse:
    """A problem as a response."""
    problem = Problem(
        type=f"urn:buildfarm:problem:{code}",
        title=_TITLES.get(status, "The request failed"),
        status=status,
        detail=detail,
        instance=request.scope.get("state", {}).get("request_id", ""),
        code=code,
        advice=advice,
        errors=wrong or [],
        build=build,
    )
    headers = {"Retry-After": str(max(1, math.ceil(wait)))} if wait else {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="buildfarm"'
    return JSONResponse(problem.model_dump(), status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Every error of this application is answered as a problem."""

    @app.exception_handler(BuildfarmError)
    async def farm_error(request: Request, error: BuildfarmError) -> JSONResponse:
        status, code, wait = problem_of(error)
        if status >= 500:
            logger().warning("request_failed", code=code, reason=error.message)
        build = getattr(error, "build_id", "")
        return answer(request, status, code, error.message, advice=error.advice, wait=wait, build=build)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [
            Wrong(
                place=".".join(str(part) for part in one["loc"])[:200],
                message=str(one["msg"]).removeprefix("Value error, ")[:500],
            )
            for one in error.errors()[:20]
        ]
        detail = f"{wrong[0].place}: {wrong[0].message}." if wrong else ""
        return answer(request, 422, RequestError.code, detail, wrong=wrong)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "request.not_found", 405: "request.method"}.get(error.status_code, RequestError.code)
        response = answer(request, error.status_code, code, f"{request.method} {request.url.path}: {error.detail}.")
        response.headers.update(error.headers or {})
        return response
