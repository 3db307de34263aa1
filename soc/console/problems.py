"""Errors as answers: RFC 9457 problem documents for programs, a plain page for people."""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from alerts.model import TransitionRefused
from soc.access.authentication import LoginRefused
from soc.console.callers import Unauthenticated
from soc.errors import (
    DiskFullError,
    DuplicateError,
    InputRefused,
    NotFoundError,
    PermissionDenied,
    QueryError,
    RuleError,
    SocError,
    StoreError,
    TooLargeError,
)

__all__ = ["Show", "answer_errors", "problem", "status_of"]

Show = Callable[[Request, int, str, str], Awaitable[Response]]
"""Renders (request, status, what happened, what to do) as a page."""

_STATUS: tuple[tuple[type[SocError], int], ...] = (
    (Unauthenticated, 401), (LoginRefused, 401), (PermissionDenied, 403), (NotFoundError, 404), (QueryError, 400),
    (TransitionRefused, 409), (DuplicateError, 409), (TooLargeError, 413), (InputRefused, 422), (RuleError, 422),
    (DiskFullError, 503), (StoreError, 503),
)


def status_of(error: SocError) -> int:
    """The HTTP status that says what kind of error it is."""
    if isinstance(error, LoginRefused) and error.retry_after:
        return 429
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(status: int, detail: str = "", headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A problem document (RFC 9457) of type about:blank."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    body |= {key: value for key, value in {"detail": detail, **more}.items() if value not in ("", None)}
    return Response(orjson.dumps(body, default=str), status, dict(headers or {}), "application/problem+json")


def answer_errors(app: FastAPI, show: Show) -> None:
    """Let every error that reaches the edge become an answer; under /api a problem document, else a page by `show`."""

    async def of_ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, SocError)
        status = status_of(error)
        headers = _headers(error, status)
        if _for_programs(request):
            column = error.column if isinstance(error, QueryError) and error.column else None
            return problem(status, error.message, headers, remedy=error.remedy, column=column)
        response = await show(request, status, error.message, error.remedy)
        response.headers.update(headers)
        return response

    async def of_form(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = [
            {"where": ".".join(map(str, fault["loc"]))[:200], "what": str(fault["msg"])[:300]} for fault in error.errors()[:20]
        ]
        if _for_programs(request):
            return problem(422, "the request is not as it should be", errors=faults)
        return await show(request, 422, "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults), "")

    async def of_http(request: Request, error: Exception) -> Response:
        status, detail = getattr(error, "status_code", 500), str(getattr(error, "detail", ""))
        if _for_programs(request):
            return problem(status, detail, getattr(error, "headers", None))
        return await show(request, status, detail, "")

    app.add_exception_handler(SocError, of_ours)
    app.add_exception_handler(RequestValidationError, of_form)
    for kind in (HTTPException, *HTTPException.__bases__):  # the framework's own, with or without a body
        app.add_exception_handler(kind, of_http)


def _headers(error: SocError, status: int) -> dict[str, str]:
    if isinstance(error, LoginRefused) and error.retry_after:
        return {"Retry-After": str(error.retry_after)}
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": "5"} if status == 503 else {}


def _for_programs(request: Request) -> bool:
    return request.url.path.startswith("/api/") or request.url.path == "/healthz"
