"""`soc source`: who may send logs, under which token or from which addresses."""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from soc.access.agencies import AgencyStore
from soc.access.audit import Audit
from soc.access.sources import KINDS, Source, SourceStore
from soc.commands.centre import Centre, open_centre
from soc.commands.output import quiet, say, show
from soc.commands.source_relay import app as relay
from soc.commands.source_wait import AS, OVER_OPTION, TO, await_first, lines, lines_of, print_lines, wait
from soc.errors import InputRefused
from soc.event import UNASSIGNED, Lane, Scope, from_micros, to_micros
from soc.ingest.shipperlines import kind_of_shipper
from soc.secret import Secret

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Log sources that may send, and their tokens.", rich_markup_mode="rich")
app.command("lines")(lines)
app.command("wait")(wait)
app.add_typer(relay, name="relay")

_Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The source's id: a-z, 0-9, dot, dash, underscore.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_COLUMNS = ["id", "name", "kind", "agency", "format", "lane", "addresses", "enabled"]


@app.command("add")
def add(
    ctx: typer.Context,
    source: _Source,
    name: Annotated[str, typer.Option("--name", help="What people call it; the id if not given.")] = "",
    kind: Annotated[str, typer.Option("--kind", help=f"How it sends: {' or '.join(KINDS)}; ndjson, or what --as needs, if not given.")] = "",
    agency: Annotated[str, typer.Option("--agency", help="The agency its records belong to.")] = UNASSIGNED,
    permit: Annotated[list[str] | None, typer.Option("--permit", help="Agency its records may name instead; repeat it.")] = None,
    format: Annotated[str, typer.Option("--format", help="The parser; auto lets each record choose.")] = "auto",
    timezone: Annotated[str, typer.Option("--timezone", help="Zone of times without one; the centre's if not given.")] = "",
    year: Annotated[int | None, typer.Option("--year", help="Year of times without one; inferred if not given.")] = None,
    lane: Annotated[Lane, typer.Option("--lane", help="live, or bulk for what may wait.")] = Lane.LIVE,
    retention: Annotated[str, typer.Option("--retention", help="Retention class, as configured.")] = "default",
    address: Annotated[list[str] | None, typer.Option(
        "--address", help="Host or network it sends from, e.g. 10.1.2.0/24; needed for syslog; repeat it.")] = None,
    shipper: AS = "",
    over: OVER_OPTION = "",
    to: TO = "",
    waits: Annotated[bool, typer.Option("--wait", help="Then wait up to five minutes for its first event, and show it.")] = False,
    as_json: _Json = False,
) -> None:
    """Let something send, and print its token, once, with lines to copy. Works with the server running or stopped."""
    from soc.normalise.records import check_format

    check_format(format)
    kind = kind or (kind_of_shipper(shipper) if shipper else "ndjson")
    centre = open_centre(ctx)
    _check(centre, [agency, *(permit or [])], retention)
    zone, now, sources = timezone or centre.config.centre.timezone, _now(), SourceStore(centre.state)
    if shipper or over:  # what cannot be printed is refused before anything is made
        lines_of(centre, Source(source, name, kind), shipper, over, to)
    with centre.access.write() as audited:
        made, token = sources.create(
            source, name, now=now, kind=kind, agency=agency, agencies=permit or (), format=format, timezone=zone, year=year,
            lane=lane, retention=retention, addresses=address or (),
        )
        detail = {"kind": kind, "agency": agency, "agencies": made.agencies, "addresses": made.addresses}
        Audit(centre.access).record(centre.actor, "source.add", source, detail, now=now, connection=audited)
    _hand_over(centre, made, token, as_json, (shipper, over, to))
    if waits:
        await_first(centre, made, 300.0, as_json=as_json, since=made.created)


@app.command("list")
def list_(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Option("--kind", help=f"Only {' or '.join(KINDS)}.")] = None,
    agency: Annotated[str | None, typer.Option("--agency", help="Only sources of this agency.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 1000,
    as_json: _Json = False,
) -> None:
    """List sources; never their tokens."""
    found = SourceStore(open_centre(ctx).state).list(Scope.everything(), limit=limit, kind=kind, agency=agency)
    show([_row(each) for each in found], _COLUMNS, as_json=as_json, empty="No sources; `soc source add` makes one.")


@app.command("show")
def show_(ctx: typer.Context, source: _Source, as_json: _Json = False) -> None:
    """Show all of one source."""
    row = _row(SourceStore(open_centre(ctx).state).get(source, Scope.everything()))
    if as_json:
        show([row], _COLUMNS, as_json=True)
    else:
        show([{"setting": key, "value": value} for key, value in row.items()], ["setting", "value"], as_json=False)


@app.command("rotate")
def rotate(ctx: typer.Context, source: _Source, shipper: AS = "", to: TO = "", as_json: _Json = False) -> None:
    """Give a source a fresh token; the old one is worthless within a second."""
    centre = open_centre(ctx)
    now, sources = _now(), SourceStore(centre.state)
    if shipper:
        lines_of(centre, sources.get(source, Scope.everything()), shipper, "", to)
    with centre.access.write() as audited:
        token = sources.rotate(source, Scope.everything(), now=now)
        Audit(centre.access).record(centre.actor, "source.rotate", source, now=now, connection=audited)
    _hand_over(centre, sources.get(source, Scope.everything()), token, as_json, (shipper, "", to))


@app.command("disable")
def disable(ctx: typer.Context, source: _Source) -> None:
    """Take nothing more from a source; what it sent stays."""
    centre = open_centre(ctx)
    with centre.access.write() as audited:
        SourceStore(centre.state).disable(source, Scope.everything(), now=_now())
        Audit(centre.access).record(centre.actor, "source.disable", source, now=_now(), connection=audited)
    say(f"Nothing more is taken from {source}.")


@app.command("enable")
def enable(ctx: typer.Context, source: _Source) -> None:
    """Take from a disabled source again."""
    centre = open_centre(ctx)
    with centre.access.write() as audited:
        SourceStore(centre.state).enable(source, Scope.everything())
        Audit(centre.access).record(centre.actor, "source.enable", source, now=_now(), connection=audited)
    say(f"{source} may send again.")


def _check(centre: Centre, agencies: list[str], retention: str) -> None:
    known = AgencyStore(centre.access).tree(_now())
    for agency in agencies:
        if agency not in known:
            raise InputRefused(f"no agency {agency!r}", remedy=f"add it first: soc agency add {agency}")
    classes = ["default", *centre.config.retention.classes]
    if retention not in classes:
        raise InputRefused(f"no retention class {retention!r}", remedy=f"one of {', '.join(classes)}; see retention.classes")


def _hand_over(centre: Centre, source: Source, token: Secret, as_json: bool, asked: tuple[str, str, str]) -> None:
    """Print the lines that were asked for (program, way, host), or else the token, and on stderr what to do with it."""
    made = lines_of(centre, source, *asked, token.reveal() if asked[0] else "")
    if as_json:
        quiet()
        row = _row(source) | {"token": token.reveal(), "lines": {"file": made.file, "text": made.text, "then": list(made.then)}}
        show([row], ["id", "token"], as_json=True)
        return
    if asked[0]:
        print_lines(made)
        if source.kind != "syslog":
            say("The token stands in these lines. Keep them to yourself: it is not shown again.")
        return
    where = f"takes syslog from {', '.join(source.addresses)}. In {made.file} on it" if source.kind == "syslog" else "sends, for example"
    say(f"Source {source.id} {where}:\n  " + made.text.rstrip().replace("\n", "\n  "))
    say("Other programs: --as. " + ("Its token, for batches over HTTPS." if source.kind == "syslog" else "Its token (SOC_TOKEN).")
        + " Keep it now: it is not shown again.")
    typer.echo(token.reveal())


def _row(source: Source) -> dict[str, object]:
    return {
        "id": source.id, "name": source.name, "kind": source.kind, "agency": source.agency, "agencies": list(source.agencies),
        "format": source.format, "timezone": source.timezone, "year": source.year, "lane": source.lane.value,
        "retention": source.retention, "addresses": list(source.addresses), "enabled": source.enabled,
        "created": from_micros(source.created).isoformat(), "rotated": from_micros(source.rotated).isoformat(),
    }


def _now() -> int:
    return to_micros(datetime.now(UTC))
