"""`soc events`: search and count what was logged. Works with the server running or stopped."""
from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from soc.event import Scope
from soc.store.eventstore import TimeRange

if TYPE_CHECKING:
    from soc.commands.centre import Centre

__all__ = ["app", "moment"]

app = typer.Typer(no_args_is_help=True, help="Search and count events.", rich_markup_mode="rich")

_Query = Annotated[str, typer.Argument(help="What to look for, e.g. 'event.code:4625 source.ip:10.0.0.0/8'; without it every event.")]
_From = Annotated[str, typer.Option("--from", help="From this time on: 2026-05-01, 2026-05-01T10:00+07:00 (UTC without an offset), -1h, now.")]
_To = Annotated[str, typer.Option("--to", help="Before this time; written as --from.")]
_Agency = Annotated[list[str] | None, typer.Option("--agency", help="Only events of this agency and those under it; may be repeated.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_AGO = re.compile(r"-\s*(\d{1,9})\s*(s|m|h|d|w)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PAGE = 1000
_HEADS = ("time", "host", "dataset", "code", "id")
_FIELDS = ("host.name", "event.dataset", "event.code", "message", "event.original")


@app.command("search")
def search(
    ctx: typer.Context,
    query: _Query = "",
    start: _From = "",
    end: _To = "",
    agency: _Agency = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most events.")] = 100,
    as_json: _Json = False,
) -> None:
    """Show events, newest first."""
    from alerts.outputs import event_out
    from soc.commands.output import quiet, say, show, show_records

    if as_json:
        quiet()
    centre, scope, within = _asked(ctx, agency, start, end)
    found: list[dict[str, object]] = []
    damaged: set[str] = set()
    after: str | None = None
    while len(found) < limit:
        hits = centre.store.search(query, scope, within, min(_PAGE, limit - len(found)), after, () if as_json else _FIELDS)
        found += [event_out(event) for event in hits.events]
        damaged.update(hits.damaged)
        after = hits.next
        if after is None:
            break
    if not found and not as_json:
        _say_unknown(centre, query, scope)
        _say_nearest(centre, query, scope, within)
    if as_json:
        show(found, _HEADS, as_json=True)
    else:
        show_records([_row(event) for event in found], _HEADS, "text", empty="No events.")
    if after is not None:
        say(f"There are more; these are the newest {len(found):,}. Raise --limit, or narrow the search.")
    for path in sorted(damaged):
        say(f"Left out: {path} is damaged. See `soc store verify`.")


@app.command("count")
def count(
    ctx: typer.Context, query: _Query = "", start: _From = "", end: _To = "", agency: _Agency = None,
    as_json: _Json = False,
) -> None:
    """Print how many events there are: one number."""
    from soc.commands.output import quiet, show

    quiet()
    centre, scope, within = _asked(ctx, agency, start, end)
    number = centre.store.count(query, scope, within)
    if as_json:
        show([{"count": number}], ["count"], as_json=True)
    else:
        typer.echo(number)


@app.command("top")
def top(
    ctx: typer.Context,
    field: Annotated[str, typer.Argument(help="The field whose values are counted, e.g. source.ip.")],
    query: _Query = "",
    start: _From = "",
    end: _To = "",
    agency: _Agency = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most values.")] = 10,
    as_json: _Json = False,
) -> None:
    """Show the most frequent values of a field, and in how many events each stands."""
    from soc.commands.output import show

    centre, scope, within = _asked(ctx, agency, start, end)
    rows = [{"value": one.value, "count": one.count} for one in centre.store.top(query, scope, within, field, limit)]
    show(rows, ["count", "value"], as_json=as_json, empty="" if rows else _none_has(centre, scope, field))


@app.command("histogram")
def histogram(
    ctx: typer.Context,
    query: _Query = "",
    start: _From = "",
    end: _To = "",
    agency: _Agency = None,
    limit: Annotated[int, typer.Option("--limit", "--buckets", min=1, max=1000, help="Into how many stretches the time is cut.")] = 24,
    as_json: _Json = False,
) -> None:
    """Show how many events there were over time."""
    from alerts.outputs import iso
    from soc.commands.output import show

    centre, scope, within = _asked(ctx, agency, start, end)
    buckets = centre.store.histogram(query, scope, within, limit)
    most = max((bucket.count for bucket in buckets), default=0)
    rows: list[dict[str, object]] = [
        {"start": iso(bucket.start), "seconds": bucket.width / 1e6, "count": bucket.count} for bucket in buckets]
    if not as_json:
        for row, bucket in zip(rows, buckets, strict=True):
            row["bar"] = "█" * (-(-40 * bucket.count // most) if most else 0)
    show(rows, ["start", "count", "bar"], as_json=as_json, empty="No events.")


@app.command("fields")
def fields(
    ctx: typer.Context, agency: _Agency = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most names.")] = 10_000, as_json: _Json = False,
) -> None:
    """List the fields that events have."""
    from soc.commands.output import show
    from soc.ecs import kind_of

    centre, scope, _ = _asked(ctx, agency, "", "")
    rows = [{"field": name, "type": kind_of(name)} for name in centre.store.fields(scope)[:limit]]
    show(rows, ["field", "type"], as_json=as_json, empty="No events yet.")


@app.command("show")
def show_(
    ctx: typer.Context,
    event_id: Annotated[str, typer.Argument(help="The event's id, as `soc events search` shows it.")],
    as_json: _Json = False,
) -> None:
    """Show one event whole."""
    from alerts.outputs import event_out
    from soc.commands.centre import open_centre
    from soc.commands.output import quiet, show

    if as_json:
        quiet()
    event = event_out(open_centre(ctx).store.get(event_id, Scope.everything()))
    if as_json:
        show([event], ["event.id"], as_json=True)
    else:
        show([{"field": name, "value": event[name]} for name in sorted(event)], ["field", "value"], as_json=False)


def moment(text: str, now: int) -> int | None:
    """A time on the command line in microseconds UTC: ISO 8601, "-90m" before `now`, "now"; None for "".

    Raises QueryError.
    """
    from soc.store.query_values import date_span

    bare = text.strip()
    if not bare:
        return None
    if bare == "now":
        return now
    if ago := _AGO.fullmatch(bare):
        return now - int(ago.group(1)) * _UNITS[ago.group(2)] * 1_000_000
    return date_span(bare, 0)[0]


def _asked(ctx: typer.Context, agency: list[str] | None, start: str, end: str) -> tuple[Centre, Scope, TimeRange]:
    """What the common options say. Raises QueryError, NotFoundError (no such agency)."""
    from soc.commands.centre import open_centre
    from soc.errors import QueryError

    now = time.time_ns() // 1000
    within = TimeRange(moment(start, now), moment(end, now))
    if within.start is not None and within.end is not None and within.end < within.start:
        raise QueryError("--to lies before --from")
    centre = open_centre(ctx)
    return centre, _scope(centre, agency, now), within


def _scope(centre: Centre, agency: list[str] | None, now: int) -> Scope:
    if not agency:
        return Scope.everything()
    from soc.access.agencies import AgencyStore
    from soc.errors import NotFoundError
    from soc.event import UNASSIGNED

    tree = AgencyStore(centre.access).tree(now)
    for one in agency:
        if one not in tree and one != UNASSIGNED:
            raise NotFoundError(f"no agency {one!r}", remedy="see `soc agency list`")
    return Scope.of(tree.subtree([one for one in agency if one in tree]) | ({UNASSIGNED} & set(agency)))


def _none_has(centre: Centre, scope: Scope, field: str) -> str:
    from soc.store.query_fields import nearest_field

    known = centre.store.fields(scope)
    return f"None of these events has {field}." if field in known else _no_field(field, nearest_field(field, known))


def _say_unknown(centre: Centre, query: str, scope: Scope) -> None:
    """Name each field of the search that no event has."""
    from soc.commands.output import say
    from soc.store.query_fields import unknown_fields

    for name, near in unknown_fields(query, centre.store.fields(scope)):
        say(_no_field(name, near))


def _no_field(name: str, near: str) -> str:
    return f"No event has the field {name!r}; " + (f"did you mean {near!r}?" if near else "`soc events fields` lists those that events have.")


def _say_nearest(centre: Centre, query: str, scope: Scope, within: TimeRange) -> None:
    """Say when there is something, if it is only the time that finds nothing."""
    from alerts.outputs import iso
    from soc.commands.output import say

    if within.start is None and within.end is None:
        return
    start, end = within.start or -(1 << 62), within.end or 1 << 62
    if (near := centre.store.nearest(query, scope, start, end)) is not None:
        say(f"The nearest event outside that time is of {iso(near)}.")


def _row(event: dict[str, object]) -> dict[str, object]:
    return {
        "time": event.get("@timestamp"), "host": event.get("host.name"), "dataset": event.get("event.dataset"), "code": event.get("event.code"),
        "text": event.get("message") or event.get("event.original"), "id": event.get("event.id"),
    }
