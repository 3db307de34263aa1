"""Sources as pages: who sends and when last, adding one with the lines for its program, and what came of it."""
from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from pydantic import Field

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.access.sources import Source
from soc.console.api.sources import NewSource, add_source, lines_of, switch_source
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.pages.render import see
from soc.console.parts import Given, Parts
from soc.console.ranges import Strict, Text
from soc.errors import DuplicateError, InputRefused, SocError
from soc.event import UNASSIGNED
from soc.ingest.heard import heard
from soc.ingest.shipperlines import OVER, SHIPPERS, kind_of_shipper

__all__ = ["router"]

router = APIRouter(prefix="/sources", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.SOURCES_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.SOURCES_WRITE))]
_MOST = 1000
_NOTHING = {"records": 0, "refused": 0, "lost": 0, "last_heard": None}


class Wanted(Strict):
    """The program whose lines are wanted, and its way of syslog."""

    shipper: Text = ""
    over: Text = ""


class Addition(Strict):
    """The form of a new source. `addresses` are separated by commas or spaces."""

    csrf: Text = ""
    name: Annotated[str, Field(max_length=64)] = ""
    agency: Text = UNASSIGNED
    shipper: Text = "rsyslog"
    over: Text = ""
    addresses: Annotated[str, Field(max_length=20_000)] = ""
    host: Text = ""


class Switch(Strict):
    """The button that switches a source on or off."""

    csrf: Text = ""
    on: bool


@router.get("")
def list_(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """The list."""
    found = parts.sources.list(who.scope, limit=_MOST)
    return looks.page(request, "sources.html", who, sources=found, tallies=_tallies(parts), nothing=_NOTHING, at=parts.now(),
                      may_write=who.may(Permission.SOURCES_WRITE))


@router.get("/new")
def form(parts: Given, looks: Looks, request: Request, who: Writer) -> Response:
    """The form of a new source."""
    return _form(parts, looks, request, who, Addition())


@router.post("/new")
def add(parts: Given, looks: Looks, request: Request, who: Writer, asked: Annotated[Addition, Form()]) -> Response:
    """Make it, and show the lines with its token: the only time."""
    try:
        wish = NewSource(id=asked.name or "-", agency=asked.agency, shipper=asked.shipper, host=asked.host,
                         over=asked.over if kind_of_shipper(asked.shipper) == "syslog" else "",
                         addresses=asked.addresses.replace(",", " ").split())
        made, token, lines = add_source(parts, who, wish)
    except (InputRefused, DuplicateError) as refused:
        return _form(parts, looks, request, who, asked, refused=refused)
    return _page(parts, looks, request, who, made, lines=lines, shipper=asked.shipper, over=wish.over, token=token, back=f"/sources/{made.id}")


@router.get("/{source_id}")
def show(parts: Given, looks: Looks, request: Request, who: Reader, source_id: str, wanted: Annotated[Wanted, Query()]) -> Response:
    """One source."""
    source = parts.sources.get(source_id, who.scope)
    if not wanted.shipper:
        return _page(parts, looks, request, who, source)
    try:
        lines = lines_of(parts, source, wanted.shipper, wanted.over, "")
    except InputRefused as refused:
        return _page(parts, looks, request, who, source, shipper=wanted.shipper, over=wanted.over, refused=refused)
    return _page(parts, looks, request, who, source, lines=lines, shipper=wanted.shipper, over=wanted.over)


@router.get("/{source_id}/heard")
def came(parts: Given, looks: Looks, request: Request, who: Reader, source_id: str) -> Response:
    """What came of it: the part of the page that renews itself."""
    return looks.page(request, "source_heard.html", who, **_heard(parts, who, parts.sources.get(source_id, who.scope)))


@router.post("/{source_id}")
def switch(parts: Given, who: Writer, source_id: str, asked: Annotated[Switch, Form()]) -> Response:
    """Switch it, and see it."""
    switch_source(parts, who, source_id, on=asked.on)
    return see(f"/sources/{source_id}")


def _form(parts: Parts, looks: Looks, request: Request, who: Principal, asked: Addition, *, refused: SocError | None = None) -> Response:
    return looks.page(
        request, "source_new.html", who, status=422 if refused else 200, asked=asked, refused=refused, shippers=SHIPPERS, ways=OVER,
        agencies=parts.agencies.list(who.scope, at=parts.now()), back="/sources/new")


def _page(parts: Parts, looks: Looks, request: Request, who: Principal, source: Source, *, shipper: str = "", over: str = "",
          **more: object) -> Response:
    values: dict[str, Any] = {
        "lines": None, "refused": None, "token": "", "shipper": shipper, "over": over, "ways": OVER,
        "shippers": [one for one in SHIPPERS if kind_of_shipper(one) == source.kind],
        "may_write": who.may(Permission.SOURCES_WRITE)}
    return looks.page(request, "source.html", who, source=source, **(values | more | _heard(parts, who, source)))


def _heard(parts: Parts, who: Principal, source: Source) -> dict[str, Any]:
    found = heard(parts.gateway(), parts.events, source.id, who.scope, source.created, strangers=who.scope.agencies is None)
    return {"found": found, "tally": _tallies(parts).get(source.id, _NOTHING), "received": (found.event or {}).get("event.ingested")}


def _tallies(parts: Parts) -> dict[str, dict[str, Any]]:
    """What the gateway counted of each source since it started; `last_heard` in microseconds, None if never."""
    found = parts.gateway().get("sources")
    return {
        source: {**_NOTHING, **tally, "last_heard": int(float(tally.get("last_heard") or 0) * 1e6) or None}
        for source, tally in (found.items() if isinstance(found, dict) else ())}
