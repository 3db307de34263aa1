"""`soc demo`: what is planted in the demonstration and whether it was found; taking it away."""
from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import Annotated

import typer

from soc.commands.centre import open_centre
from soc.commands.gateway import socket_of
from soc.commands.output import fail, many, quiet, say, show
from soc.event import from_micros

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich",
                  help="The demonstration that `soc serve --demo` plays on an empty data folder: what is planted in it; take it away.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("status")
def status(ctx: typer.Context, as_json: _Json = False) -> None:
    """What was planted in its past, and which alerts found it. Works with the server running or stopped."""
    from soc.demo.findings import findings
    from soc.demo.record import playing
    from soc.ingest.imports import ImportStore

    centre = open_centre(ctx, create=False)
    found = playing(ImportStore(centre.state))
    if found is None:
        fail("there is no demonstration in this data folder", "`soc serve --demo` plays one if the folder is empty")
    rows = [{
        "attack": one.planted.id, "from": from_micros(one.planted.begins).isoformat(timespec="seconds"),
        "what": one.planted.title_vi if centre.config.centre.language == "vi" else one.planted.title_en,
        "rules": "public" if one.planted.public else "ours", "alerts": list(one.alerts),
        "found": "yes, played anew" if one.anew else "yes" if one.alerts else "no: needs the public rules" if one.planted.public else "no",
    } for one in findings(found, centre.state)]
    show(rows, ["attack", "from", "what", "rules", "found"], as_json=as_json)


@app.command("remove")
def remove(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: _Json = False,
) -> None:
    """Take it away: its events, dead letters, alerts, rules and agencies, and nothing else. Works with the server running or stopped."""
    from soc.demo import pack
    from soc.demo.record import demonstrations
    from soc.demo.removal import invented
    from soc.demo.removal import remove as take_away
    from soc.ingest.deliver import GatewayClient
    from soc.ingest.imports import UNDONE, ImportStore

    if as_json:
        quiet()
    centre = open_centre(ctx, create=False)
    past = demonstrations(ImportStore(centre.state))
    there = any(one.state != UNDONE for one in past) or bool(past and pack.there(centre.state))
    if not there and not invented(centre.access, time.time_ns() // 1000):
        if as_json:
            show([{"events": 0, "alerts": 0, "rules": 0, "agencies": [], "kept": []}], [], as_json=True)
        say("There is no demonstration in this data folder.")
        return
    if not yes and not typer.confirm("Take the demonstration away, with its events and alerts?", err=True):
        fail("nothing was removed")
    with ExitStack() as stack:
        client = stack.enter_context(closing(GatewayClient(socket_of(centre), patience=30.0))) if centre.running else None
        gone = take_away(state=centre.state, access=centre.access, manifest=centre.manifest, gateway=client, actor=centre.actor,
                         now=time.time_ns() // 1000)
    if as_json:
        show([{"events": gone.events, "alerts": gone.alerts, "rules": gone.rules, "agencies": list(gone.agencies), "kept": list(gone.kept)}], [],
             as_json=True)
    say(f"The demonstration is gone: {many(gone.events, 'event')}, {many(gone.alerts, 'alert')}, {many(gone.rules, 'rule')}, "
        f"{len(gone.agencies)} agencies.")
    if gone.kept:
        say(f"Kept, as people, senders or imports of yours belong to them: {', '.join(gone.kept)}.")
