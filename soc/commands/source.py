"""`soc source`: who may send logs, under which token or from which addresses."""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from soc.access.agencies import AgencyStore
from soc.access.audit import Audit
from soc.access.sources import KINDS, Source, SourceStore
from soc.commands.centre import Centre, open_centre
from soc.commands.output import say, show
from soc.errors import ConfigError, InputRefused
from soc.event import UNASSIGNED, Lane, Scope, from_micros, to_micros
from soc.secret import Secret
from soc.tls import tls_for

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Log sources that may send, and their tokens.", rich_markup_mode="rich")

INGEST_PATH = "/ingest/v1/events"
"""Where the gateway takes lines."""

_Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The source's id: a-z, 0-9, dot, dash, underscore.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_COLUMNS = ["id", "name", "kind", "agency", "format", "lane", "addresses", "enabled"]


@app.command("add")
def add(
    ctx: typer.Context,
    source: _Source,
    name: Annotated[str, typer.Option("--name", help="What people call it; the id if not given.")] = "",
    kind: Annotated[str, typer.Option("--kind", help=f"How it sends: {' or '.join(KINDS)}.")] = "ndjson",
    agency: Annotated[str, typer.Option("--agency", help="The agency its records belong to.")] = UNASSIGNED,
    permit: Annotated[list[str] | None, typer.Option("--permit", help="Agency its records may name instead; repeat it.")] = None,
    format: Annotated[str, typer.Option("--format", help="The parser; auto lets each record choose.")] = "auto",
    timezone: Annotated[str, typer.Option("--timezone", help="Zone of times without one; the centre's if not given.")] = "",
    year: Annotated[int | None, typer.Option("--year", help="Year of times without one; inferred if not given.")] = None,
    lane: Annotated[Lane, typer.Option("--lane", help="live, or bulk for what may wait.")] = Lane.LIVE,
    retention: Annotated[str, typer.Option("--retention", help="Retention class, as configured.")] = "default",
    address: Annotated[list[str] | None, typer.Option(
        "--address", help="Host or network it sends from, e.g. 10.1.2.0/24; needed for syslog; repeat it.")] = None,
    as_json: _Json = False,
) -> None:
    """Let something send, and print its token, once, with lines to copy. Works with the server running or stopped."""
    from soc.normalise.records import check_format

    check_format(format)
    centre = open_centre(ctx)
    _check(centre, [agency, *(permit or [])], retention)
    zone, now, sources = timezone or centre.config.centre.timezone, _now(), SourceStore(centre.state)
    with centre.access.write() as audited:
        made, token = sources.create(
            source, name, now=now, kind=kind, agency=agency, agencies=permit or (), format=format, timezone=zone, year=year,
            lane=lane, retention=retention, addresses=address or (),
        )
        detail = {"kind": kind, "agency": agency, "agencies": made.agencies, "addresses": made.addresses}
        Audit(centre.access).record(centre.actor, "source.add", source, detail, now=now, connection=audited)
    _hand_over(centre, made, token, as_json)


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
def rotate(ctx: typer.Context, source: _Source, as_json: _Json = False) -> None:
    """Give a source a fresh token; the old one is worthless within a second."""
    centre = open_centre(ctx)
    now, sources = _now(), SourceStore(centre.state)
    with centre.access.write() as audited:
        token = sources.rotate(source, Scope.everything(), now=now)
        Audit(centre.access).record(centre.actor, "source.rotate", source, now=now, connection=audited)
    _hand_over(centre, sources.get(source, Scope.everything()), token, as_json)


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


def _hand_over(centre: Centre, source: Source, token: Secret, as_json: bool) -> None:
    """Print the token, and on stderr what to do with it."""
    if as_json:
        show([_row(source) | {"token": token.reveal()}], ["id", "token"], as_json=True)
        return
    for line in _lines(centre, source):
        say(line)
    typer.echo(token.reveal())


def _lines(centre: Centre, source: Source) -> list[str]:
    gateway, syslog = centre.reached.gateway, centre.reached.syslog
    if source.kind == "syslog":
        target = _reachable(syslog.host)
        return [
            f"Source {source.id} takes syslog over TCP from {', '.join(source.addresses)}.",
            f"rsyslog, in /etc/rsyslog.d/90-soc.conf:\n  *.* action(type=\"omfwd\" target=\"{target}\" port=\"{syslog.port}\""
            " protocol=\"tcp\" TCP_Framing=\"octet-counted\" queue.type=\"LinkedList\" queue.filename=\"soc\""
            " action.resumeRetryCount=\"-1\")",
            "Its token, for batches over HTTPS. Keep it now: it is not shown again.",
        ]
    scheme, trust = _transport(centre)
    return [
        f"Source {source.id}. Send one JSON object a line:",
        f"  curl{trust} -H \"Authorization: Bearer $SOC_TOKEN\" -H 'Content-Type: application/x-ndjson' "
        f"--data-binary @events.jsonl {scheme}://{_reachable(gateway.host)}:{gateway.port}{INGEST_PATH}",
        "Its token (SOC_TOKEN). Keep it now: it is not shown again.",
    ]


def _transport(centre: Centre) -> tuple[str, str]:
    """The URL's scheme, and curl's option for our own authority. What is wrong with TLS is `serve`'s to say, not ours."""
    try:
        files = tls_for(centre.reached, centre.data, centre.reached.gateway.host, "gateway")
    except ConfigError:
        return "https", ""
    if files is None:
        return "http", ""
    return "https", f" --cacert {files.authority}" if files.authority else ""


def _reachable(host: str) -> str:
    return "THIS-MACHINE" if host in ("0.0.0.0", "::", "") else host


def _row(source: Source) -> dict[str, object]:
    return {
        "id": source.id, "name": source.name, "kind": source.kind, "agency": source.agency, "agencies": list(source.agencies),
        "format": source.format, "timezone": source.timezone, "year": source.year, "lane": source.lane.value,
        "retention": source.retention, "addresses": list(source.addresses), "enabled": source.enabled,
        "created": from_micros(source.created).isoformat(), "rotated": from_micros(source.rotated).isoformat(),
    }


def _now() -> int:
    return to_micros(datetime.now(UTC))
