"""Errors as answers: RFC 9457 problem documents for programs, a plain page for people."""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from alerts.model import TransitionRefused
from soc.access.authentication import LoginRefused
from soc.console.callers import Unauthenticated
from soc.console.formfaults import FormFault, form_faults
from soc.console.language import load_messages, translator
from soc.errors import (
    ChangedError,
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

__all__ = ["Show", "Told", "answer_errors", "for_programs", "problem", "status_of"]


@dataclass(frozen=True, slots=True)
class Told:
    """An error as a page is told of it, in English: what happened, what to do, the column of a search (from 1, 0 for none)."""

    status: int
    message: str
    remedy: str = ""
    column: int = 0
    faults: Sequence[FormFault] = ()

    @classmethod
    def of(cls, error: SocError) -> Told:
        """One of our own errors."""
        return cls(status_of(error), error.message, error.remedy, error.column if isinstance(error, QueryError) else 0)


Show = Callable[[Request, Told], Awaitable[Response]]
"""Renders an error as a page."""

_STATUS: tuple[tuple[type[SocError], int], ...] = (
    (Unauthenticated, 401), (LoginRefused, 401), (PermissionDenied, 403), (NotFoundError, 404), (QueryError, 400),
    (TransitionRefused, 409), (DuplicateError, 409), (ChangedError, 409), (TooLargeError, 413), (InputRefused, 422), (RuleError, 422),
    (DiskFullError, 503), (StoreError, 503),
)

_DESCRIBED = "/api/v1/openapi.json describes every request"
_NOWHERE = "the overview leads to every page; /api/v1/openapi.json lists what programs may ask"


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

    english = translator(load_messages()["en"])

    async def of_ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, SocError)
        told = Told.of(error)
        headers = _headers(error, told.status)
        if for_programs(request.url.path):
            return problem(told.status, told.message, headers, remedy=told.remedy, column=told.column or None)
        response = await show(request, told)
        response.headers.update(headers)
        return response

    async def of_form(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = form_faults(error.errors())
        if for_programs(request.url.path):
            told = [{"where": fault.where, "what": fault.what(english)} for fault in faults]
            return problem(422, "the request is not as it should be", remedy=_DESCRIBED, errors=told)
        return await show(request, Told(422, "", faults=faults))

    async def of_http(request: Request, error: Exception) -> Response:
        status, detail, remedy = getattr(error, "status_code", 500), str(getattr(error, "detail", "")), ""
        if status == 404:
            detail, remedy = "there is nothing at this address", _NOWHERE
        elif status == 405:
            detail, remedy = f"this address does not take {request.method}", _NOWHERE
        if for_programs(request.url.path):
            return problem(status, detail, getattr(error, "headers", None), remedy=remedy)
        return await show(request, Told(status, detail, remedy))

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


def for_programs(path: str) -> bool:
    """Whether programs ask there: they are answered with problem documents."""
    return path.startswith("/api/") or path == "/healthz"
