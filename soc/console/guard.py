"""The outermost layer of the console: a cap on what comes in, headers on whatever goes out, and the last resort."""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fastapi import HTTPException, Request, Response

from soc.console.problems import Show, Told, for_programs, problem

__all__ = ["CSP", "Guard"]

_log = logging.getLogger(__name__)

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "connect-src 'self'"
)

_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer browsers send `Origin: null` with every form
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


_LARGE = Told(413, "the body is too large", "send less at once: at most 1 MiB")
_FAILED = Told(500, "something failed here; the log says what", "try again; if it stays so, tell whoever runs the centre the time of it")


class _TooLarge(HTTPException):
    """A body is over the cap, or went over it while it was read."""

    def __init__(self) -> None:
        super().__init__(413, "the body is too large")


class Guard:
    """Wraps the application. Bodies over `max_body` bytes are answered with 413; what fails unforeseen with 500, and logged.

    `show` renders that as a page, for what is no program. `larger` names paths that take more, and write it to disk as it comes.
    """

    def __init__(self, app: _App, *, show: Show, secure: bool, max_body: int = 1 << 20, larger: Mapping[str, int] | None = None) -> None:
        self._app, self._show, self._max_body, self._larger = app, show, max_body, larger or {}
        self._headers = dict(_HEADERS)
        if secure:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        taken, most = 0, self._larger.get(scope.get("path", ""), self._max_body)

        async def out(message: _Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(
                    (name.encode(), value.encode()) for name, value in self._headers.items() if name.encode() not in given)]
            await send(message)

        async def bounded() -> _Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise _TooLarge
            return message

        try:
            if _length(scope) > most:
                raise _TooLarge
            await self._app(scope, bounded, out)
        except Exception as fault:  # the edge of the process: the caller gets an answer, the log the reason
            if not isinstance(fault, _TooLarge):
                _log.exception("console request failed", extra={"path": scope.get("path", "")[:200]})
            if started:
                raise
            told = _LARGE if isinstance(fault, _TooLarge) else _FAILED
            await (await self._answer(scope, told))(scope, receive, out)

    async def _answer(self, scope: _Message, told: Told) -> Response:
        if not for_programs(scope.get("path", "")):
            try:
                return await self._show(Request(scope), told)
            except Exception:  # noqa: BLE001  what failed may be what pages are made of
                _log.exception("the page of an error failed", extra={"path": scope.get("path", "")[:200]})
        return problem(told.status, told.message, remedy=told.remedy)


def _length(scope: _Message) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
