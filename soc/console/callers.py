"""Who is asking, and may they: every route declares a permission with `requires`, or `public` if it needs none.

A program sends `Authorization: Bearer soc_…`; a browser its session cookie, and with every change the session's CSRF token.
"""
from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.access.sessions import csrf_of
from soc.console.parts import Parts
from soc.errors import PermissionDenied, SocError
from soc.secret import Secret

__all__ = [
    "Unauthenticated", "address_of", "check_same_origin", "forget_session", "keep_session", "permission_of", "public", "requires",
    "session_token", "whoever",
]

CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf"
RENEWAL_HEADER = "soc-renewal"
"""Of what an open page asks of its own accord: that nobody uses it shall still end its session."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_LONGEST = 512


class Unauthenticated(PermissionDenied):
    """Nobody is logged in here (HTTP 401)."""

    def __init__(self) -> None:
        super().__init__("log in first", remedy="send a session cookie or `Authorization: Bearer` with an API token")


def requires(permission: Permission) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that gives the caller as a Principal, with the scope that every store asks for.

    Raises Unauthenticated, PermissionDenied (also for a change without the CSRF token of its session).
    """
    async def caller(request: Request) -> Principal:
        principal = await run_in_threadpool(_identify, request)
        if principal.via == "session" and request.method not in _SAFE:
            await _check_csrf(request)
        request.state.principal = principal  # first: a page that says no still shows the menu
        principal.require(permission)
        return principal

    caller.permission = permission  # type: ignore[attr-defined]
    return caller


async def whoever(request: Request) -> Principal | None:
    """Who is asking, where nothing asked before: at an address that leads nowhere. None if that is nobody known."""
    found: Principal | None = getattr(request.state, "principal", None)
    try:
        return found or await run_in_threadpool(_identify, request)
    except SocError:
        return None


def public() -> None:
    """The declaration of a route that anybody may ask."""


def permission_of(dependency: object) -> Permission | None:
    """The permission that a dependency made by `requires` asks for; None for any other."""
    return cast(Permission | None, getattr(dependency, "permission", None))


def address_of(request: Request) -> str:
    """The caller's address, for throttling and audit."""
    return request.client.host if request.client else ""


def session_token(request: Request) -> Secret | None:
    """The session token that the browser holds, unchecked."""
    text = request.cookies.get(_cookie(request), "")
    return Secret(text) if 0 < len(text) <= _LONGEST else None


def keep_session(request: Request, response: Response, token: Secret) -> None:
    """Give the browser its session."""
    secure = _parts(request).secure
    response.set_cookie(_cookie(request), token.reveal(), httponly=True, samesite="lax", secure=secure, path="/")


def forget_session(request: Request, response: Response) -> None:
    """Take the session cookie away."""
    response.delete_cookie(_cookie(request), httponly=True, samesite="lax", secure=_parts(request).secure, path="/")


def check_same_origin(request: Request) -> None:
    """Refuse what another site made the browser send. Raises PermissionDenied."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    foreign = site is not None and site not in ("same-origin", "none")
    if foreign or (origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()):
        raise PermissionDenied("this comes from another site", remedy="use the console's own pages")


def _identify(request: Request) -> Principal:
    parts = _parts(request)
    now = parts.now()
    header = request.headers.get("authorization")
    if header is not None:
        kind, _, text = header.partition(" ")
        bearer = kind.lower() == "bearer" and len(text) <= _LONGEST
        found = parts.doors.by_api_token(Secret(text.strip()), now=now) if bearer else None
        if found is None:
            raise Unauthenticated()
        return found
    token = session_token(request)
    known = parts.doors.by_session(token, now=now, used=RENEWAL_HEADER not in request.headers) if token is not None else None
    if token is None or known is None:
        raise Unauthenticated()
    request.state.csrf = csrf_of(token)
    return known[0]


async def _check_csrf(request: Request) -> None:
    check_same_origin(request)
    given: object = request.headers.get(CSRF_HEADER, "")
    if not given and request.headers.get("content-type", "").startswith(_FORMS):
        given = (await request.form(max_files=0, max_fields=100)).get(CSRF_FIELD, "")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode("utf-8", "replace"), request.state.csrf.encode()):
        raise PermissionDenied(
            "the CSRF token is missing or not this session's",
            remedy=f"load the page again and repeat it; a program sends the session's token as {CSRF_HEADER}")


def _cookie(request: Request) -> str:
    return "__Host-soc_session" if _parts(request).secure else "soc_session"


def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)
