"""Events as pages: a search with its histogram, and one event whole."""
from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.parts import Given
from soc.console.problems import Told
from soc.console.ranges import Strict
from soc.errors import QueryError
from soc.store.eventstore import Bucket, Hits, TimeRange
from soc.store.query_fields import unknown_fields

__all__ = ["router"]

router = APIRouter(prefix="/events", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.EVENTS_READ))]
_HOUR = 3_600_000_000
_SPANS = {"1h": _HOUR, "24h": 24 * _HOUR, "7d": 168 * _HOUR, "30d": 720 * _HOUR, "all": 0}
_PAGE = 50
_FIELDS = ("event.dataset", "host.name", "message", "event.original")


class Wanted(Strict):
    """The search form; `span` counts back from now."""

    q: Annotated[str, Field(max_length=10_000)] = ""
    span: Literal["1h", "24h", "7d", "30d", "all"] = "24h"
    after: Annotated[str, Field(max_length=1000)] = ""


@router.get("")
def search(parts: Given, looks: Looks, request: Request, who: Reader, wanted: Annotated[Wanted, Query()]) -> Response:
    """Search; a query that cannot be read is said beside the form."""
    hits, buckets, total = Hits((), None), list[Bucket](), 0
    failed: Told | None = None
    time = TimeRange(parts.now() - _SPANS[wanted.span]) if _SPANS[wanted.span] else TimeRange()
    try:
        hits = parts.events.search(wanted.q, who.scope, time, _PAGE, wanted.after or None, _FIELDS)
        buckets = list(parts.events.histogram(wanted.q, who.scope, time, 60))
        total = sum(bucket.count for bucket in buckets)
    except QueryError as error:
        failed = Told.of(error)
    unknown = [] if hits.events or failed else unknown_fields(wanted.q, parts.events.fields(who.scope))
    following = wanted.model_dump() | {"after": hits.next} if hits.next else {}
    return looks.page(
        request, "events.html", who, status=400 if failed else 200, hits=hits, bars=_bars(buckets), total=total, wanted=wanted,
        spans=list(_SPANS), failed=failed, unknown=unknown, following=following)


@router.get("/{event_id}")
def show(parts: Given, looks: Looks, request: Request, who: Reader, event_id: str) -> Response:
    """One event, every field."""
    event = parts.events.get(event_id, who.scope)
    return looks.page(request, "event.html", who, event_id=event_id, event=event)


def _bars(buckets: list[Bucket]) -> list[tuple[int, int, int, int]]:
    """(x, height, count, start) of each bar of a histogram 60 high."""
    top = max((bucket.count for bucket in buckets), default=0) or 1
    return [(10 * at, -(-60 * bucket.count // top), bucket.count, bucket.start) for at, bucket in enumerate(buckets)]
