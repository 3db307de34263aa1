"""Events as pages: a search with its histogram, and one event whole."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.pages.summary import READ
from soc.console.pages.timespan import around, day_of, local, span_of
from soc.console.parts import Given, Parts
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
_EVER = 1 << 62


class Wanted(Strict):
    """The search form; `span` counts back from now, unless there is a `since` or `until` (local times of the centre's zone)."""

    q: Annotated[str, Field(max_length=10_000)] = ""
    span: Literal["1h", "24h", "7d", "30d", "all"] = "24h"
    since: Annotated[str, Field(max_length=40)] = ""
    until: Annotated[str, Field(max_length=40)] = ""
    after: Annotated[str, Field(max_length=1000)] = ""


@dataclass(frozen=True, slots=True)
class Nearest:
    """Where the nearest hits are if there are none: the day that holds them, how many, and its span as the form has it."""

    day: str
    count: int
    since: str
    until: str


@router.get("")
def search(parts: Given, looks: Looks, request: Request, who: Reader, wanted: Annotated[Wanted, Query()]) -> Response:
    """Search; a query that cannot be read is said beside the form."""
    hits, buckets, total = Hits((), None), list[Bucket](), 0
    failed: Told | None = None
    zone = ZoneInfo(parts.timezone)
    time = TimeRange()
    try:
        time = _time(parts, wanted, zone)
        hits = parts.events.search(wanted.q, who.scope, time, _PAGE, wanted.after or None, READ)
        buckets = list(parts.events.histogram(wanted.q, who.scope, time, 60))
        total = sum(bucket.count for bucket in buckets)
    except QueryError as error:
        failed = Told.of(error)
    unknown = [] if hits.events or failed else unknown_fields(wanted.q, parts.events.fields(who.scope))
    nearest = None if hits.events or failed or unknown else _nearest(parts, who, wanted.q, time, zone)
    following = wanted.model_dump() | {"after": hits.next} if hits.next else {}
    return looks.page(
        request, "events.html", who, status=400 if failed else 200, hits=hits, bars=_bars(buckets, zone), total=total, wanted=wanted,
        spans=list(_SPANS), failed=failed, unknown=unknown, nearest=nearest, following=following, zone=parts.timezone, at=parts.now(),
        time=time)


@router.get("/{event_id}")
def show(parts: Given, looks: Looks, request: Request, who: Reader, event_id: str) -> Response:
    """One event, every field."""
    event = parts.events.get(event_id, who.scope)
    time = event.get("@timestamp")
    near = around(event, time, ZoneInfo(parts.timezone)) if isinstance(time, int) else []
    return looks.page(request, "event.html", who, event_id=event_id, event=event, near=near)


def _time(parts: Parts, wanted: Wanted, zone: ZoneInfo) -> TimeRange:
    """The span that is asked for. Raises QueryError."""
    if wanted.since or wanted.until:
        return span_of(wanted.since, wanted.until, zone)
    return TimeRange(parts.now() - _SPANS[wanted.span]) if _SPANS[wanted.span] else TimeRange()


def _nearest(parts: Parts, who: Principal, query: str, time: TimeRange, zone: ZoneInfo) -> Nearest | None:
    if time.start is None and time.end is None:
        return None
    near = parts.events.nearest(query, who.scope, time.start or -_EVER, time.end or _EVER)
    if near is None:
        return None
    day = day_of(near, zone)
    return Nearest(local(near, zone)[:10], parts.events.count(query, who.scope, day), local(day.start, zone), local(day.end, zone))


def _bars(buckets: list[Bucket], zone: ZoneInfo) -> list[tuple[int, int, int, int, str, str]]:
    """(x, height, count, start, and its span as the form has it) of each bar of a histogram 60 high."""
    top = max((bucket.count for bucket in buckets), default=0) or 1
    return [(10 * at, -(-60 * bucket.count // top), bucket.count, bucket.start,
             local(bucket.start, zone), local(bucket.start + max(1_000_000, bucket.width + 999_999), zone)) for at, bucket in enumerate(buckets)]
