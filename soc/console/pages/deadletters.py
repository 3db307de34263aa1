"""Dead letters as pages: what could not be parsed, by reason; one with its record; reading again."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from pydantic import Field

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.api.deadletters import Number, replay_letters
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.pages.render import see
from soc.console.parts import Given
from soc.console.ranges import Strict, Text

__all__ = ["router"]

router = APIRouter(prefix="/deadletters", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.DEADLETTERS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.DEADLETTERS_WRITE))]
_PAGE = 100


class Wanted(Strict):
    """The filter form."""

    reason: Text = ""
    source: Text = ""
    after: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Replay(Strict):
    """The button that has one read again."""

    csrf: Text = ""


@router.get("")
def list_(parts: Given, looks: Looks, request: Request, who: Reader, wanted: Annotated[Wanted, Query()]) -> Response:
    """The list."""
    letters = parts.letters.list(who.scope, reason=wanted.reason, source=wanted.source, limit=_PAGE, after=wanted.after)
    following = wanted.model_dump() | {"after": letters[-1].id} if len(letters) == _PAGE else {}
    return looks.page(
        request, "deadletters.html", who, letters=letters, reasons=parts.letters.reasons(who.scope), wanted=wanted,
        following=following, at=parts.now())


@router.get("/{number}")
def show(parts: Given, looks: Looks, request: Request, who: Reader, number: Number) -> Response:
    """One, with its record."""
    letter = parts.letters.get(number, who.scope)
    record = parts.letters.raw(number, who.scope).decode("utf-8", "backslashreplace")
    return looks.page(
        request, "deadletter.html", who, letter=letter, record=record, may_write=who.may(Permission.DEADLETTERS_WRITE))


@router.post("/{number}")
def replay(parts: Given, who: Writer, number: Number, form: Annotated[Replay, Form()]) -> Response:
    """Have it read again, and see what became of it."""
    replay_letters(parts, who, [number])
    return see(f"/deadletters/{number}")
