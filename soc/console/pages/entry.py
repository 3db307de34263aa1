"""The way in and out: login, logout, one-time set-up, language, style."""
from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from pydantic import Field

from soc.access.authentication import LoginRefused
from soc.access.passwords import MINIMUM
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.access.setup import Chosen
from soc.console.api.session import begin_rules
from soc.console.callers import (
    address_of,
    check_same_origin,
    forget_session,
    keep_session,
    public,
    requires,
    session_token,
)
from soc.console.language import LANGUAGES
from soc.console.pages.parts import Looks
from soc.console.pages.render import LANGUAGE_COOKIE, local_path, see
from soc.console.parts import Given
from soc.console.ranges import Strict
from soc.errors import InputRefused, NotFoundError, PermissionDenied
from soc.secret import Secret

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Self = Annotated[Principal, Depends(requires(Permission.ACCOUNT_OWN))]
Word = Annotated[str, Field(max_length=1000)]
Path2k = Annotated[str, Field(max_length=3000)]

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ASSETS = {
    path.name: (path.read_bytes(), _TYPES[path.suffix])
    for path in Path(__file__).parent.with_name("assets").iterdir() if path.suffix in _TYPES
}


class Login(Strict):
    """The login form; `next` is the page that was asked for."""

    name: Word = ""
    password: Word = ""
    next: Path2k = "/"


class FirstUser(Strict):
    """The set-up form."""

    token: Word = ""
    name: Word = ""
    password: Word = ""
    again: Word = ""
    rules: Literal["fetch", "zip", "skip"] = "skip"
    centre: Word = ""
    language: Literal["", "vi", "en"] = ""


class Leave(Strict):
    """The logout button."""

    csrf: Word = ""


@router.get("/login", dependencies=[Depends(public)])
def login_page(parts: Given, looks: Looks, request: Request, next: Annotated[str, Query(max_length=3000)] = "/") -> Response:
    """The login form."""
    return looks.page(request, "login.html", next=local_path(next), failed="", name="", fresh=parts.setup.needed())


@router.post("/login", dependencies=[Depends(public)])
def login(parts: Given, looks: Looks, request: Request, form: Annotated[Login, Form()]) -> Response:
    """Log in and go on to the page that was asked for."""
    check_same_origin(request)
    try:
        token = parts.doors.login(
            form.name, Secret(form.password), source=address_of(request), now=parts.now(), old_session=session_token(request))
    except LoginRefused as refused:
        failed = "login.throttled" if refused.retry_after else "login.failed"
        status = 429 if refused.retry_after else 401
        answer = looks.page(
            request, "login.html", status=status, next=local_path(form.next), failed=failed, name=form.name, fresh=False)
        if refused.retry_after:
            answer.headers["Retry-After"] = str(refused.retry_after)
        return answer
    go = see(local_path(form.next))
    keep_session(request, go, token)
    return go


@router.post("/logout")
def logout(parts: Given, request: Request, who: Self, form: Annotated[Leave, Form()]) -> Response:
    """Log out."""
    token = session_token(request)
    if token is not None and who.via == "session":
        parts.doors.logout(token, now=parts.now())
    go = see("/login")
    forget_session(request, go)
    return go


@router.get("/setup", dependencies=[Depends(public)])
def setup_page(parts: Given, looks: Looks, request: Request, token: Annotated[str, Query(max_length=1000)] = "") -> Response:
    """The set-up form, for the holder of the link that the centre printed."""
    if not parts.setup.needed():
        return see("/login")
    if not parts.setup.valid(Secret(token), now=parts.now()):
        raise PermissionDenied("the set-up link is not valid", remedy="restart the centre: it prints a new one while there is no user")
    return looks.page(request, "setup.html", token=token, failed="", name="admin", rules="fetch", called=parts.called(), minimum=MINIMUM)


@router.post("/setup", dependencies=[Depends(public)])
def set_up(parts: Given, looks: Looks, request: Request, form: Annotated[FirstUser, Form()]) -> Response:
    """Make the first administrator, once, begin with the rules, and go on logged in."""
    check_same_origin(request)
    try:
        if form.password == form.again:
            chosen = Chosen(form.centre.strip(), form.language)
            parts.setup.redeem(Secret(form.token), form.name, Secret(form.password), now=parts.now(), chosen=chosen)
            begin_rules(parts, public=form.rules == "fetch")
            token = parts.doors.login(form.name, Secret(form.password), source=address_of(request), now=parts.now(), old_session=None)
            go = see("/" if form.rules == "skip" else "/rulepacks")
            keep_session(request, go, token)
            return go
        failed = "setup.differ"
    except InputRefused:
        failed = "setup.refused"
    back = f"/setup?{urlencode({'token': form.token})}"
    return looks.page(
        request, "setup.html", status=422, token=form.token, failed=failed, name=form.name, rules=form.rules, back=back,
        called=form.centre, minimum=MINIMUM)


@router.get("/language/{language}", dependencies=[Depends(public)])
def choose_language(parts: Given, language: str, back: Annotated[str, Query(max_length=3000)] = "/") -> Response:
    """Keep the language that somebody chose."""
    go = see(local_path(back))
    if language in LANGUAGES:
        go.set_cookie(LANGUAGE_COOKIE, language, max_age=365 * 86400, samesite="lax", secure=parts.secure, httponly=True)
    return go


@router.get("/assets/{name}", dependencies=[Depends(public)])
def asset(name: str) -> Response:
    """The style sheet, the icon."""
    if name not in _ASSETS:
        raise NotFoundError("no such file")
    content, media_type = _ASSETS[name]
    return Response(content, media_type=media_type, headers={"cache-control": "max-age=300"})
