"""Refusals as RFC 9457 problems: what happened and what the sender should do."""
from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from starlette.responses import Response

__all__ = ["Refusal", "problem"]

MEDIA_TYPE = "application/problem+json"


class Refusal(Exception):
    """A request that is not taken: `reason` is the short constant it is counted under.

    `retry` is seconds for Retry-After; `more` are further members of the problem.
    """

    def __init__(self, status: int, reason: str, detail: str, remedy: str = "", *, retry: int | None = None,
                 headers: Mapping[str, str] | None = None, more: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail, self.remedy = status, reason, detail, remedy
        self.headers = dict(headers or {})
        if retry is not None:
            self.headers["retry-after"] = str(retry)
        self.more = dict(more or {})


def problem(refusal: Refusal) -> Response:
    """The answer to a refused request."""
    body = problem_body(refusal.status, refusal.reason, refusal.detail, refusal.remedy, refusal.more)
    return Response(body, refusal.status, refusal.headers, MEDIA_TYPE)


def problem_body(status: int, reason: str, detail: str, remedy: str = "", more: Mapping[str, object] | None = None) -> bytes:
    """The JSON of a problem; `type` names the section of docs/ingest.md that explains it."""
    return orjson.dumps({
        "type": f"/docs/ingest#{reason}", "title": HTTPStatus(status).phrase, "status": status, "detail": detail,
        **({"remedy": remedy} if remedy else {}), **(more or {}),
    })
