"""`/api/v1/session`: logging in and out; and the one-time set-up of a new centre."""
from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.access.sessions import csrf_of
from soc.access.setup import Chosen
from soc.console.api.users import me_out
from soc.console.callers import (
    address_of,
    check_same_origin,
    forget_session,
    keep_session,
    public,
    requires,
    session_token,
)
from soc.console.parts import Given, Parts
from soc.console.ranges import JSON, Strict
from soc.errors import DuplicateError
from soc.secret import Secret

__all__ = ["begin_rules", "router"]

router = APIRouter(prefix="/api/v1", tags=["session"])

Self = Annotated[Principal, Depends(requires(Permission.ACCOUNT_OWN))]
Word = Annotated[str, Field(max_length=1000)]


class Login(Strict):
    """Name and password."""

    name: Word
    password: Word


class FirstUser(Strict):
    """The set-up link's token, the first administrator, whether the public rules are fetched (our own always come), and
    what the centre is called and speaks, unless `centre.name` and `centre.language` of the configuration say otherwise."""

    token: Word
    name: Word
    password: Word
    rules: Literal["fetch", "skip"] = "skip"
    centre: Word = ""
    language: Literal["", "vi", "en"] = ""


@router.post("/session", dependencies=[Depends(public)])
def login(parts: Given, request: Request, asked: Login) -> JSON:
    """Log in: sets the session cookie; changes then need `csrf` as X-CSRF-Token."""
    check_same_origin(request)
    now = parts.now()
    token = parts.doors.login(
        asked.name, Secret(asked.password), source=address_of(request), now=now, old_session=session_token(request))
    found = parts.doors.by_session(token, now=now)
    answer = JSON({"csrf": csrf_of(token), "user": me_out(found[0]) if found else None})
    keep_session(request, answer, token)
    return answer


@router.get("/session")
def session(request: Request, who: Self) -> JSON:
    """Who is logged in here, and the CSRF token of a session."""
    return JSON({"csrf": getattr(request.state, "csrf", None), "user": me_out(who)})


@router.delete("/session", status_code=204)
def logout(parts: Given, request: Request, who: Self) -> JSON:
    """Log out: the session is worthless from here on."""
    token = session_token(request)
    if token is not None and who.via == "session":
        parts.doors.logout(token, now=parts.now())
    answer = JSON(None, 204)
    answer.body = b""
    del answer.headers["content-length"]
    forget_session(request, answer)
    return answer


@router.post("/setup", status_code=201, dependencies=[Depends(public)])
def set_up(parts: Given, request: Request, asked: FirstUser) -> JSON:
    """Make the first administrator of a new centre, once."""
    check_same_origin(request)
    user = parts.setup.redeem(Secret(asked.token), asked.name, Secret(asked.password), now=parts.now(), chosen=Chosen(asked.centre, asked.language))
    begin_rules(parts, public=asked.rules == "fetch")
    return JSON({"id": user.id, "name": user.name}, 201)


def begin_rules(parts: Parts, *, public: bool) -> None:
    """Bring in the rules that a new centre begins with, in the background; nothing if some are being brought in already."""
    with suppress(DuplicateError):
        parts.packs.first(public=public)
