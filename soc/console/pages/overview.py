"""The first page: what the rules found last, as a picture and as a list, and what to begin with; and the list of the API's routes."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response

from alerts.model import Alert, State
from alerts.store import AlertFilters
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.pages.alerts import DUTY
from soc.console.pages.parts import Looks
from soc.console.pages.rulepacks import missed_of
from soc.console.pages.timespan import day_of, local
from soc.console.parts import TRIAL, Given, Parts
from soc.console.rulepacks import OWN_PACK
from soc.demo import pack
from soc.demo.record import ACTOR
from soc.event import from_micros, to_micros

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.ALERTS_READ))]
Self = Annotated[Principal, Depends(requires(Permission.ACCOUNT_OWN))]
_DAYS: Final = 7
_WIDTH: Final = 3 * 3_600_000_000
_BARS: Final = _DAYS * 24 * 3_600_000_000 // _WIDTH
_HIGH: Final = 60
_SEVERITIES: Final = (("high", ("critical", "high")), ("medium", ("medium",)), ("other", None))
"""Colours of a bar from the bottom up, and the levels that each stands for; None: the rest."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Alerts first seen from `start` (microseconds UTC) on; `pieces` are (colour, y, height, count), `since` and `until` as forms have them."""

    x: int
    start: int
    count: int
    pieces: Sequence[tuple[str, float, float, int]]
    since: str
    until: str


@dataclass(frozen=True, slots=True)
class Picture:
    """The alerts of the last days as bars, the most in one bar, and the start of each day."""

    bars: Sequence[Bar]
    most: int
    days: Sequence[int]


@dataclass(frozen=True, slots=True)
class Step:
    """Something to begin with that is not done yet; `name` finds its words."""

    name: str
    path: str
    unseen: int = 0
    planted: int = 0


@router.get("/")
def overview(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """Counts and the newest open alerts."""
    return looks.page(request, "overview.html", who, counts=parts.alerts.counts(who.scope, DUTY), alerts=_newest(parts, who), at=parts.now(),
                      may_try=who.may(Permission.SOURCES_WRITE), steps=_steps(parts, who), picture=_picture(parts, who))


@router.get("/newest")
def newest(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """The newest open alerts alone: the part of the page that renews itself."""
    return looks.page(request, "newest.html", who, alerts=_newest(parts, who), at=parts.now())


@router.get("/api")
def reference(looks: Looks, request: Request, who: Self) -> Response:
    """The API's routes, from its OpenAPI document."""
    document = request.app.openapi()
    routes = [
        {"method": method.upper(), "path": path, "summary": operation.get("description", operation.get("summary", "")),
         "tag": (operation.get("tags") or [""])[0],
         "parameters": [parameter["name"] for parameter in operation.get("parameters", [])]}
        for path, operations in document["paths"].items() for method, operation in operations.items()
    ]
    return looks.page(request, "reference.html", who, routes=routes)


def _steps(parts: Parts, who: Principal) -> list[Step]:
    """What somebody who may can begin with and has not: public rules, a source, a file."""
    steps = []
    missed = missed_of(parts) if who.may(Permission.RULES_WRITE) else None
    if missed is not None and (missed.unseen or {row.name for row in parts.packs.rows()} <= {OWN_PACK, pack.PACK}):
        steps.append(Step("rules", "/rulepacks", len(missed.unseen), missed.planted))
    if who.may(Permission.SOURCES_WRITE) and all(source.id == TRIAL for source in parts.sources.list(who.scope, limit=2)):
        steps.append(Step("source", "/sources/new"))
    if who.may(Permission.IMPORTS_WRITE) and all(found.actor == ACTOR for found in parts.imports.list(who.scope, limit=2)):
        steps.append(Step("import", "/imports"))
    return steps


def _picture(parts: Parts, who: Principal) -> Picture | None:
    """The alerts of the last seven days of the centre's zone, today whole; None if there are none."""
    zone = ZoneInfo(parts.timezone)
    today = from_micros(day_of(parts.now(), zone).start or 0)
    start = to_micros(today - timedelta(days=_DAYS - 1))
    spans = parts.alerts.over_time(who.scope, start, _WIDTH, _BARS, DUTY)
    most = max(sum(span.values()) for span in spans)
    if not most:
        return None
    bars = [Bar(10 * n, at, sum(span.values()), _pieces(span, most), local(at, zone), local(at + _WIDTH, zone))
            for n, span in enumerate(spans) for at in (start + n * _WIDTH,)]
    return Picture(bars, most, [start + day * 24 * 3_600_000_000 for day in range(_DAYS)])


def _pieces(span: Mapping[str, int], most: int) -> list[tuple[str, float, float, int]]:
    pieces, top, rest = [], float(_HIGH), dict(span)
    for colour, levels in _SEVERITIES:
        count = sum(rest.pop(level, 0) for level in (levels or list(rest)))
        height = _HIGH * count / most
        top -= height
        if count:
            pieces.append((colour, round(top, 2), round(height, 2), count))
    return pieces


def _newest(parts: Parts, who: Principal) -> Sequence[Alert]:
    still_open = AlertFilters(origin=DUTY, state=[state.value for state in State if state is not State.CLOSED])
    return parts.alerts.list(who.scope, still_open, 20).alerts
