"""`soc source lines` and `soc source wait`: what points a sender at the centre, and the first event that comes of it."""
from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.commands.output import inert, say, show
from soc.event import Scope, from_micros, to_micros
from soc.ingest.shipperlines import OVER, SHIPPERS, Lines

if TYPE_CHECKING:
    from soc.access.sources import Source
    from soc.commands.centre import Centre
    from soc.ingest.heard import Refused

__all__ = ["AS", "OVER_OPTION", "TO", "await_first", "lines", "lines_of", "print_lines", "wait"]

AS = Annotated[str, typer.Option("--as", help=f"Print ready lines for a program: {', '.join(SHIPPERS)}.")]
OVER_OPTION = Annotated[str, typer.Option("--over", help=f"Way of syslog: {', '.join(OVER)}; tls if there are certificates, else tcp.")]
TO = Annotated[str, typer.Option("--to", help="The centre's name or address as the sender reaches it; found out if not given.")]

_JUST_NOW = 60_000_000
"""What came within the last minute counts as an answer: the line may have been sent before the command was typed."""
_EVERY = 0.5
_UNREAD = 15.0
"""Seconds after which records that came and are no event yet are told of."""


def lines(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source's id.")],
    shipper: AS = "",
    over: OVER_OPTION = "",
    to: TO = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the lines that point a sender at the centre. Where they need the token, $SOC_TOKEN stands: only its hash is kept."""
    from soc.access.sources import SourceStore
    from soc.commands.centre import open_centre

    centre = open_centre(ctx)
    found = SourceStore(centre.state).get(source, Scope.everything())
    made = lines_of(centre, found, shipper, over, to)
    if as_json:
        show([{"id": source, "file": made.file, "text": made.text, "then": list(made.then)}], ["file", "text"], as_json=True)
    else:
        print_lines(made)


def wait(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source's id.")],
    seconds: Annotated[float, typer.Option("--for", min=0.1, help="Seconds to wait at most.")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Wait for a source's first event and show it, or say why the last attempt was refused. What came in the last minute counts."""
    from soc.access.sources import SourceStore
    from soc.commands.centre import open_centre

    centre = open_centre(ctx)
    found = SourceStore(centre.state).get(source, Scope.everything())
    await_first(centre, found, seconds, as_json=as_json)


def lines_of(centre: Centre, source: Source, shipper: str, over: str, to: str, token: str = "") -> Lines:
    """The lines for a source; of rsyslog or curl if no program is named. Raises InputRefused: not for this kind of source."""
    from soc.errors import InputRefused
    from soc.ingest.reach import reach_of
    from soc.ingest.shipperlines import kind_of_shipper, lines_for

    shipper = shipper or ("rsyslog" if source.kind == "syslog" else "curl")
    kind = kind_of_shipper(shipper)
    if kind != source.kind:
        raise InputRefused(f"{shipper} sends {kind}, and {source.id} takes {source.kind}",
                           remedy=f"make a source for it: soc source add NAME --as {shipper}")
    return lines_for(shipper, source.id, reach_of(centre.reached, centre.data, to), over=over, token=token)


def print_lines(made: Lines) -> None:
    """The lines on stdout, ready to be kept as a file; where they belong and what to do then on stderr."""
    if made.file:
        say(f"In {made.file} on the sender:")
    typer.echo(made.text, nl=False)
    for step in made.then:
        say(f"then: {step}")


def await_first(centre: Centre, source: Source, seconds: float, *, as_json: bool = False, since: int | None = None) -> None:
    """Show the first event that comes of a source within so many seconds. Ends the command with 1 if none does.

    `since`: microseconds since 1970 UTC from which on what came counts; a minute ago, or its making, if not given.
    """
    from alerts.outputs import event_out
    from soc.ingest.accounting import read_heartbeat
    from soc.ingest.heard import heard

    now = to_micros(datetime.now(UTC))
    since = max(source.created, now - _JUST_NOW) if since is None else since
    if not centre.running:
        say("No server runs on this data folder, so nothing can come: soc serve starts one.")
    say(f"Waiting for the first event of {source.id} …")
    began = time.monotonic()
    told, unread, last = 0.0, False, None
    while True:
        found = heard(read_heartbeat(centre.data / "run" / "gateway.json"), centre.store, source.id, Scope.everything(), since)
        if found.event is not None:
            _show(event_out(found.event), as_json)
            return
        if found.refused is not None:
            last = found.refused
            if last.at > told:
                told = last.at
                say(_refusal(last))
        waited = time.monotonic() - began
        if found.received and waited > _UNREAD and not unread:
            unread = True
            say(f"Records came, but none is an event yet: see soc store status, and soc deadletters list --source {source.id}.")
        if waited >= seconds:
            break
        time.sleep(min(_EVERY, max(0.0, seconds - waited)))
    say(f"Nothing came of {source.id} within {seconds:g} s." + (
        "" if last is not None or found.received else
        " No attempt was refused either: nothing reaches the centre. Is the sender running, and is the port open on the way?"))
    raise typer.Exit(1)


def _refusal(one: Refused) -> str:
    at = from_micros(int(one.at * 1e6)).astimezone().strftime("%H:%M:%S")
    times = f" ({one.count} times)" if one.count > 1 else ""
    return f"{at}: an attempt from {inert(one.peer)} was refused{times}: {one.why}. {one.remedy[:1].upper()}{one.remedy[1:]}."


def _show(event: dict[str, Any], as_json: bool) -> None:
    text = str(event.get("message") or event.get("event.original", ""))
    row = {"time": event.get("@timestamp"), "received": event.get("event.ingested"), "host": event.get("host.name", ""),
           "dataset": event.get("event.dataset", ""), "agency": event.get("organization.id", ""), "text": text}
    if as_json:
        show([event], [], as_json=True)
    else:
        show([row], ["time", "received", "host", "dataset", "agency", "text"], as_json=False)
