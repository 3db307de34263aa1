"""`/api/v1/events`: search, count, histogram, top values, fields, one event."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from alerts.outputs import event_out, iso
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.parts import Given, Parts
from soc.console.ranges import JSON, Limit, Span, within
from soc.store.query_fields import unknown_fields

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/events", tags=["events"])

Reader = Annotated[Principal, Depends(requires(Permission.EVENTS_READ))]
_NAMES = 10_000
_EVER = 1 << 62
_QUERY = Field(default="", max_length=10_000, description="Text of the search language; empty is every event.")


class Asked(Span):
    """A search and its span of event times."""

    q: str = _QUERY


class Page(Asked):
    """One page of a search."""

    limit: Limit = 100
    after: Annotated[str, Field(max_length=1000)] | None = Field(default=None, description="The `next` of the page before.")
    fields: Annotated[str, Field(max_length=10_000)] = Field(
        default="", description="Only these fields of each event, separated by commas, and what it is known by: a cheaper list. Whole without it.")


class Bars(Asked):
    """A histogram."""

    buckets: Annotated[int, Field(ge=1, le=1000)] = 60


class Ranking(Asked):
    """The most frequent values of a field."""

    field: Annotated[str, Field(min_length=1, max_length=500)]
    size: Annotated[int, Field(ge=1, le=1000)] = 10


@router.get("")
def search(parts: Given, who: Reader, asked: Annotated[Page, Query()]) -> JSON:
    """Events, newest first. `damaged` names files that could not be read.

    A first page without events says why it may be so: `unknown_fields` of the query that no event has, each with the `nearest` that
    some have, and the time of the `nearest` event outside the span.
    """
    hits = parts.events.search(asked.q, who.scope, within(asked), asked.limit, asked.after,
                               [name for part in asked.fields.split(",") if (name := part.strip())])
    events = [event_out(event) for event in hits.events]
    found = {"events": events, "next": hits.next, "partial": hits.partial, "damaged": list(hits.damaged)}
    return JSON(found if events or asked.after else {**found, **_why_empty(parts, who, asked)})


def _why_empty(parts: Parts, who: Principal, asked: Asked) -> dict[str, object]:
    unknown = unknown_fields(asked.q, parts.events.fields(who.scope))
    span = within(asked)
    near = None
    if not unknown and (span.start is not None or span.end is not None):
        near = parts.events.nearest(asked.q, who.scope, span.start or -_EVER, span.end or _EVER)
    return {"unknown_fields": [{"field": name, "nearest": known or None} for name, known in unknown],
            "nearest": None if near is None else iso(near)}


@router.get("/count")
def count(parts: Given, who: Reader, asked: Annotated[Asked, Query()]) -> JSON:
    """How many events."""
    return JSON({"count": parts.events.count(asked.q, who.scope, within(asked))})


@router.get("/histogram")
def histogram(parts: Given, who: Reader, asked: Annotated[Bars, Query()]) -> JSON:
    """Events over time; `width` is in seconds."""
    buckets = parts.events.histogram(asked.q, who.scope, within(asked), asked.buckets)
    return JSON({"buckets": [{"start": iso(one.start), "width": one.width / 1e6, "count": one.count} for one in buckets]})


@router.get("/top")
def top(parts: Given, who: Reader, asked: Annotated[Ranking, Query()]) -> JSON:
    """The most frequent values of a field, and in how many events each stands."""
    found = parts.events.top(asked.q, who.scope, within(asked), asked.field, asked.size)
    return JSON({"values": [{"value": one.value, "count": one.count} for one in found]})


@router.get("/fields")
def fields(parts: Given, who: Reader) -> JSON:
    """The names of fields there are, at most 10,000; `more` says how many are left out."""
    names = parts.events.fields(who.scope)
    return JSON({"fields": list(names[:_NAMES]), "more": max(0, len(names) - _NAMES)})


@router.get("/{event_id}")
def get(parts: Given, who: Reader, event_id: str) -> JSON:
    """One event, whole."""
    return JSON(event_out(parts.events.get(event_id, who.scope)))
