"""`/api/v1/users`: who may log in, and oneself."""
from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from alerts.outputs import iso
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.access.sessions import csrf_of
from soc.access.users import User
from soc.console.callers import address_of, keep_session, requires, session_token
from soc.console.parts import Given
from soc.console.ranges import JSON, Limit, Strict
from soc.errors import PermissionDenied
from soc.secret import Secret

__all__ = ["me_out", "router"]

router = APIRouter(prefix="/api/v1/users", tags=["users"])

Self = Annotated[Principal, Depends(requires(Permission.ACCOUNT_OWN))]
Reader = Annotated[Principal, Depends(requires(Permission.USERS_READ))]


class Wanted(Strict):
    """A list of users."""

    limit: Limit = 1000


class NewPassword(Strict):
    """One's password, old and new."""

    old: Annotated[str, Field(max_length=1000)]
    new: Annotated[str, Field(max_length=1000)]


@router.get("")
def list_(parts: Given, who: Reader, wanted: Annotated[Wanted, Query()]) -> JSON:
    """Users by name."""
    return JSON({"users": [_out(user) for user in parts.doors.users.list(who.scope, limit=wanted.limit)]})


@router.get("/me")
def me(who: Self) -> JSON:
    """Who is asking, and what they may."""
    return JSON(me_out(who))


@router.post("/me/password")
def password(parts: Given, who: Self, request: Request, asked: NewPassword) -> JSON:
    """Change one's own password: all other sessions end, this one goes on under a new cookie and CSRF token."""
    token = session_token(request)
    if who.via != "session" or token is None:
        raise PermissionDenied(
            "a password is changed by its owner, logged in", remedy="log in with name and password, not with an API token")
    fresh = parts.doors.change_password(
        token, Secret(asked.old), Secret(asked.new), source=address_of(request), now=parts.now())
    answer = JSON({"csrf": csrf_of(fresh)})
    keep_session(request, answer, fresh)
    return answer


def me_out(who: Principal) -> dict[str, Any]:
    """A caller as the API shows them to themselves; `agencies` null is every agency."""
    return {
        "id": who.user_id, "name": who.name, "roles": list(who.roles), "permissions": sorted(who.permissions), "via": who.via,
        "agencies": sorted(who.scope.agencies) if who.scope.agencies is not None else None,
    }


def _out(user: User) -> dict[str, Any]:
    return {
        "id": user.id, "name": user.name, "roles": list(user.roles), "agencies": list(user.agencies), "enabled": user.enabled,
        "created": iso(user.created), "password_changed": iso(user.password_changed),
    }
