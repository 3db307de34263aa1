"""`soc store`: what the event store holds, proof that it is whole, retention, rebuilding a lost manifest."""
from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from soc.commands.centre import Centre, open_centre
from soc.commands.output import fail, say, show

__all__ = ["app"]

app = typer.Typer(help="The event store: status, retention, verification.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Stages, lanes, disk and what lies where. Works with the server running or stopped."""
    from soc.detect.ledger import Ledger
    from soc.health import Health

    centre = open_centre(ctx, create=False)
    report = Health(data=centre.data, config=centre.config, manifest=centre.manifest, ledger=Ledger(centre.state)).report()
    report["running"] = centre.running
    report["events"] = sum(s.rows for s in centre.manifest.snapshot().segments)
    report["bytes"] = sum(s.bytes for s in centre.manifest.snapshot().segments)
    report["partitions"] = _partitions(centre)
    if as_json:
        import json

        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    say(f"{'Running' if centre.running else 'Stopped'}: {report['status']}" + "".join(f"; {r}" for r in report["reasons"]))
    show([{"lane": lane, **facts} for lane, facts in report["lanes"].items()],
         ["lane", "received", "normalised", "judged", "waiting", "seconds_behind"], as_json=False, title="Lanes")
    show(report["partitions"], ["retention", "origin", "import_id", "family", "files", "events", "bytes"], as_json=False,
         title="Store", empty="The store is empty.")
    say(f"Manifest {report['manifest']['head']} {report['manifest']['hash']}")


def _partitions(centre: Centre) -> list[dict[str, Any]]:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for s in centre.manifest.snapshot().segments:
        key = (s.retention, s.origin, s.import_id, s.family)
        row = found.setdefault(key, {"retention": s.retention, "origin": s.origin, "import_id": s.import_id, "family": s.family,
                                     "files": 0, "events": 0, "bytes": 0})
        row["files"] += 1
        row["events"] += s.rows
        row["bytes"] += s.bytes
    return [found[key] for key in sorted(found)]


@app.command()
def verify(ctx: typer.Context, as_json: Json = False) -> None:
    """Read everything and prove it: chain, every file, every journal frame. Names what is wrong; exit 1 if anything is."""
    from soc.event import Lane
    from soc.ingest.journal import verify_journal
    from soc.store.disk import RealDisk
    from soc.store.verify import verify_store

    centre = open_centre(ctx, create=False)
    found = [{"place": f.place, "fault": f.fault} for f in verify_store(centre.data, centre.manifest)]
    for lane in Lane:
        for damage in verify_journal(RealDisk(), centre.data, lane):
            found.append({"place": f"{damage.path.relative_to(centre.data)} offset {damage.offset}",
                          "fault": f"{damage.reason}: records {damage.first} to {damage.last} of the {lane.value} lane"})
    for at, lane_name, loss in centre.manifest.losses():
        found.append({"place": loss.path, "fault": f"lost {time.strftime('%Y-%m-%d', time.gmtime(at / 1e6))}, {lane_name} "
                                                   f"{loss.first}–{loss.last}: {loss.reason}"})
    head = centre.manifest.head()
    show(found, ["place", "fault"], as_json=as_json, title="Faults", empty="Everything is as the manifest says.")
    say(f"Manifest {head.seq} {head.hash}")
    if found:
        raise typer.Exit(1)


@app.command()
def expire(ctx: typer.Context, dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
           as_json: Json = False) -> None:
    """Apply retention now (the running server does so by itself every ten minutes)."""
    from soc.store.retention import due
    from soc.store.retention import expire as apply

    centre = open_centre(ctx, create=False)
    now, config = time.time_ns() // 1000, centre.config.retention
    if dry_run:
        gone = due(centre.manifest.snapshot().segments, config.classes, config.default, now)
        show([{"path": s.path, "events": s.rows, "retention": s.retention} for s in gone], ["path", "events", "retention"],
             as_json=as_json, empty="Nothing is due.")
        return
    files, events = apply(centre.manifest, config.classes, config.default, now)
    show([{"files": files, "events": events}], ["files", "events"], as_json=as_json)


@app.command()
def rebuild(ctx: typer.Context) -> None:
    """Enter files that node.db forgot (it was lost, or an older copy was put back). Needs the server stopped."""
    from soc.opening import reconcile

    centre = open_centre(ctx, create=False)
    if centre.running:
        fail("the server is running", "stop it first; it does this by itself when it starts")
    adopted, damaged = reconcile(centre.data, centre.manifest)
    show([{"adopted": adopted, "damaged": ", ".join(damaged) or "none"}], ["adopted", "damaged"], as_json=False)
