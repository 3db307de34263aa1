"""`/api/v1/deadletters`: records that could not be parsed: list, one with its record, have them read again."""
from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from alerts.outputs import iso
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.parts import Given, Parts
from soc.console.ranges import JSON, Limit, Strict, Text
from soc.store.deadletters import DeadLetter

__all__ = ["letter_out", "replay_letters", "router"]

router = APIRouter(prefix="/api/v1/deadletters", tags=["dead letters"])

Reader = Annotated[Principal, Depends(requires(Permission.DEADLETTERS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.DEADLETTERS_WRITE))]
Number = Annotated[int, Field(ge=1, lt=2**63)]


class Wanted(Strict):
    """A list of dead letters; an empty `state` is every state."""

    reason: Text = ""
    source: Text = ""
    import_id: Text = ""
    state: Text = "dead"
    limit: Limit = 100
    after: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Replay(Strict):
    """Which to read again."""

    ids: Annotated[list[Number], Field(min_length=1, max_length=1000)]


@router.get("")
def list_(parts: Given, who: Reader, wanted: Annotated[Wanted, Query()]) -> JSON:
    """Dead letters, newest first; `after` continues below that id."""
    found = parts.letters.list(
        who.scope, reason=wanted.reason, source=wanted.source, import_id=wanted.import_id, state=wanted.state,
        limit=wanted.limit, after=wanted.after)
    total = parts.letters.count(
        who.scope, reason=wanted.reason, source=wanted.source, import_id=wanted.import_id, state=wanted.state)
    return JSON({"deadletters": [letter_out(letter) for letter in found], "total": total})


@router.get("/reasons")
def reasons(parts: Given, who: Reader) -> JSON:
    """What is dead, counted by source and reason."""
    found = parts.letters.reasons(who.scope)
    return JSON({"reasons": [{"source": source, "reason": reason, "count": count} for source, reason, count in found]})


@router.get("/{number}")
def get(parts: Given, who: Reader, number: Number) -> JSON:
    """One, with its record; bytes that are not UTF-8 are written as \\xNN."""
    letter = parts.letters.get(number, who.scope)
    return JSON(letter_out(letter) | {"record": parts.letters.raw(number, who.scope).decode("utf-8", "backslashreplace")})


@router.post("/replay", status_code=202)
def replay(parts: Given, who: Writer, asked: Replay) -> JSON:
    """Have them read again; what still cannot be parsed is dead again. Answers with how many were taken."""
    return JSON({"taken": replay_letters(parts, who, asked.ids)}, 202)


def replay_letters(parts: Parts, who: Principal, numbers: list[int]) -> int:
    """Have these read again, if all lie within the caller's scope. Raises NotFoundError, StoreError."""
    for number in numbers:
        parts.letters.get(number, who.scope)
    taken = parts.replay(numbers)
    parts.audit.record(who.actor, "deadletters.replay", "", {"ids": numbers, "taken": taken}, now=parts.now())
    return taken


def letter_out(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as the API shows it."""
    return asdict(letter) | {"at": iso(letter.at)}
