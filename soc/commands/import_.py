"""`soc import`: bring log files in, safe to repeat and to interrupt; list, show and undo what was brought in."""
from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from typer.core import TyperGroup

from collectors.archive import Limits, Walk
from soc.commands.centre import Centre, Options, open_centre
from soc.commands.gateway import answering_gateway, socket_of
from soc.commands.import_progress import Bar, Lines, Note
from soc.commands.import_run import Importer, Judged, Outcome, survey
from soc.commands.import_run import Options as Reading
from soc.commands.import_undo import Steps, undo_import
from soc.commands.output import fail, many, quiet, say, show
from soc.errors import InputRefused, StoreError
from soc.event import UNASSIGNED, Lane, Scope, from_micros
from soc.ingest.deliver import GatewayClient
from soc.ingest.imports import INTERRUPTED, REFUSED, RUNNING, UNDONE, Import, ImportFile, ImportStore

__all__ = ["app", "wait_until_judged"]

_STALLED = 600.0


class DefaultGroup(TyperGroup):
    """Takes anything that is no sub-command as the paths of `files`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["files", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=DefaultGroup, subcommand_metavar="PATH... | COMMAND [ARGS]...", no_args_is_help=True, add_completion=False,
    rich_markup_mode="rich",
    help="Bring log files in: [bold]soc import PATH...[/] (the same as `soc import files`, whose --help shows the options).",
)

_For = Annotated[str, typer.Option("--for", hidden=True, help="Whom the console does this for.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("files")
def files(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(
        metavar="PATH", help="Files (.evtx .jsonl .ndjson .json .log .raw and others named directly), archives "
        "(.zip .tar .tar.gz ...), compressed files (.gz .zst .bz2 .xz), folders, or - for standard input.")],
    agency: Annotated[str, typer.Option("--agency", help="The agency that the records belong to.")] = UNASSIGNED,
    format: Annotated[str, typer.Option("--format", help="Read every record with this parser.")] = "auto",
    timezone: Annotated[str, typer.Option("--timezone", help="Zone of times that name none (IANA, e.g. Asia/Ho_Chi_Minh).")] = "",
    year: Annotated[int | None, typer.Option(
        "--year", min=1970, max=2199, help="Year of times that name none; else the file's own time, else now, decides.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once all is delivered; do not wait for the rules.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be imported.")] = False,
    as_json: _Json = False,
    actor: _For = "",
    note: Annotated[Path | None, typer.Option("--note", hidden=True, help="Keep a file of how far it is.")] = None,
) -> None:
    """Import log files. Run it again after an interruption: it goes on where it stopped, and nothing is doubled."""
    if as_json:
        quiet()
    centre = open_centre(ctx)
    reading = Reading(agency, format, _zone(timezone, centre), year)
    _check(centre, reading)
    store = ImportStore(centre.state)
    stdin = cast(BinaryIO, sys.stdin.buffer) if "-" in paths else None
    spool = centre.data / "tmp"
    walk = Walk(paths, spool, time.time(), stdin=stdin, limits=Limits(disk=centre.config.disk.refuse))
    if dry_run:
        _survey(walk, store, as_json)
        return
    options: Options = ctx.find_root().obj
    with ExitStack() as stack:
        stack.enter_context(_terminated_as_interrupt())
        plain = as_json or not sys.stderr.isatty()
        report: Bar | Lines | Note = (Note(note.absolute(), walk.total, time.monotonic) if note is not None else
                                      Lines(time.monotonic) if plain else Bar(walk.total, time.monotonic))
        client = stack.enter_context(answering_gateway(options, centre, report.waiting))
        _audit(centre, actor, "import.begin", "", {"inputs": paths[:20], "agency": agency})
        began = time.monotonic()
        with report:
            outcome = _run(centre, store, client, walk, reading, report, paths, actor or centre.actor)
            seconds = time.monotonic() - began
            stored = dead = 0
            judged = True
            if outcome.touched and not no_wait:
                wanted = {each: store.get(each, Scope.everything()).records for each in outcome.touched}
                stored, dead, judged = wait_until_judged(_judged(centre), wanted, report)
    _audit(centre, actor, "import.end", outcome.import_id, {"state": outcome.state, "records": outcome.records})
    _finish(outcome, seconds, stored, dead, as_json=as_json, judged=judged and not no_wait)


def _run(
    centre: Centre, store: ImportStore, client: GatewayClient, walk: Walk, reading: Reading, report: Bar | Lines | Note,
    paths: Sequence[str], actor: str,
) -> Outcome:
    importer = Importer(store=store, delivery=client, options=reading, report=report)
    with closing(cast(Any, iter(walk))) as found:
        try:
            inputs = [each if each == "-" else os.path.abspath(each) for each in paths]
            return importer.run(found, actor=actor, inputs=inputs, now=_now(), clock=_now, pid=os.getpid(),
                                alive=lambda other: _state(other) == RUNNING)
        except KeyboardInterrupt:
            fail("interrupted: what was acknowledged is kept", "run the same command again to continue", code=130)
        except StoreError as fault:
            fail(fault.message, fault.remedy or "run the same command again to continue")


def wait_until_judged(
    judged: Judged, wanted: Mapping[str, int], report: Bar | Lines | Note, *, clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[int, int, bool]:
    """Wait until so many records of each import are stored and the rules have seen them: (stored, dead letters, whether).

    Gives up, saying so, when nothing has moved for ten minutes or the user interrupts.
    """
    last, moved = (-1, -1), clock()
    stored = dead = 0
    try:
        while True:
            found = [judged(each, records) for each, records in sorted(wanted.items())]
            stored, dead = sum(f[0] for f in found), sum(f[1] for f in found)
            if all(f[2] for f in found):
                return stored, dead, True
            report.judging(stored, dead)
            if (stored, dead) != last:
                last, moved = (stored, dead), clock()
            elif clock() - moved > _STALLED:
                say("Nothing has moved for ten minutes: see `soc doctor`. The import itself is complete and safe.")
                return stored, dead, False
            sleep(0.2)
    except KeyboardInterrupt:
        say("Not waiting any longer: everything is delivered and safe; it will be evaluated when the server runs.")
        return stored, dead, False


@app.command("list")
def list_(
    ctx: typer.Context,
    agency: Annotated[str, typer.Option("--agency", help="Only imports for this agency.")] = "",
    state: Annotated[str, typer.Option("--state", help="running, interrupted, done, failed, undoing or undone.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 100,
    as_json: _Json = False,
) -> None:
    """List imports, newest first. Works with the server running or stopped."""
    centre = open_centre(ctx, create=False)
    rows = [_row(each) for each in ImportStore(centre.state).list(Scope.everything(), agency=agency, state=state, limit=limit)]
    show(rows, ["id", "started", "state", "agency", "actor", "read", "refused", "skipped", "records", "duplicates", "bad"],
         as_json=as_json, empty="No imports yet.")


@app.command("show")
def show_(
    ctx: typer.Context,
    import_id: Annotated[str, typer.Argument(metavar="ID", help="The import's id.")],
    state: Annotated[str, typer.Option("--state", help="Only files read, duplicate, refused, skipped or reading.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most files.")] = 1000,
    as_json: _Json = False,
) -> None:
    """Show an import: its files with what became of each, records, dead letters, time span, alerts."""
    centre = open_centre(ctx, create=False)
    store = ImportStore(centre.state)
    found = store.get(import_id, Scope.everything())
    of_files = [_file_row(each) for each in store.files(import_id, Scope.everything(), state=state, limit=limit)]
    facts = _row(found) | _stored(centre, import_id) | {"files": of_files}
    if as_json:
        show([facts], [], as_json=True)
        return
    for key, value in facts.items():
        if key not in ("files", "options") and value not in (None, ""):
            typer.echo(f"{key + ':':<14} {value}")
    for key, value in found.options.items():
        if value and key != "pid":
            typer.echo(f"{key + ':':<14} {', '.join(value) if isinstance(value, list) else value}")
    show(of_files, ["name", "state", "kind", "bytes", "records", "sent", "duplicates", "bad", "cut", "reason"], as_json=False)


@app.command("undo")
def undo(
    ctx: typer.Context,
    import_id: Annotated[str, typer.Argument(metavar="ID", help="The import's id.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: _Json = False,
    actor: _For = "",
) -> None:
    """Take an import back: its events, dead letters and alerts go, and the same files may be imported anew."""
    if as_json:
        quiet()
    centre = open_centre(ctx, create=False)
    store = ImportStore(centre.state)
    found = store.get(import_id, Scope.everything())
    if _state(found) == RUNNING:
        fail(f"import {import_id} is running", "stop it first (Ctrl-C where it runs)")
    if found.state == UNDONE:
        if as_json:
            show([{"id": import_id, "events": 0, "alerts": 0}], [], as_json=True)
        say(f"Import {import_id} was undone before{_when(found)}: nothing is left of it. Its files can be imported anew.")
        return
    if not yes and not typer.confirm(f"Undo import {import_id} ({many(found.records, 'record')} of {many(found.read, 'file')})?", err=True):
        fail("nothing was undone")
    with closing(GatewayClient(socket_of(centre), patience=30.0)) as client:
        events, alerts = undo_import(import_id, store, Steps(centre, client), now=_now())
    _audit(centre, actor, "import.undo", import_id, {"events": events, "alerts": alerts})
    if as_json:
        show([{"id": import_id, "events": events, "alerts": alerts}], [], as_json=True)
    say(f"Undone: {many(events, 'event')} and {many(alerts, 'alert')} of import {import_id} are gone.")


def _when(found: Import) -> str:
    return f", on {from_micros(found.finished):%Y-%m-%d at %H:%M} UTC" if found.finished else ""


# ---- the centre around it


def _judged(centre: Centre) -> Judged:
    from soc.detect.ledger import Ledger

    ledger = Ledger(centre.state)

    def look(import_id: str, records: int) -> tuple[int, int, bool]:
        seen = centre.manifest.import_seen(import_id)
        if seen is None:
            return 0, 0, False
        done = seen.records >= records and ledger.positions().get(Lane(seen.lane), 0) >= seen.last
        return seen.events, seen.dead, done

    return look


def _check(centre: Centre, reading: Reading) -> None:
    """Refuse an agency or format that there is not, before anything is read."""
    if reading.agency != UNASSIGNED:
        from soc.access.agencies import AgencyStore

        AgencyStore(centre.access).get(reading.agency, Scope.everything(), at=_now())
    if reading.format != "auto":
        from soc.normalise.records import check_format

        check_format(reading.format)


def _zone(given: str, centre: Centre) -> str:
    name = given or centre.config.centre.timezone
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputRefused(f"there is no time zone {name!r}", remedy="an IANA name such as Asia/Ho_Chi_Minh") from None
    return name


def _audit(centre: Centre, actor: str, action: str, object: str, detail: dict[str, Any]) -> None:
    from soc.access.audit import Audit

    Audit(centre.access).record(actor or centre.actor, action, object, detail, now=_now())


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM ends an import as Ctrl-C does: with everything written down."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ---- how it shows


def _survey(walk: Walk, store: ImportStore, as_json: bool) -> None:
    with closing(cast(Any, iter(walk))) as found:
        rows = [_file_row(file) for file in survey(found, store, _now())]
    show(rows, ["name", "state", "kind", "bytes", "records", "bad", "reason"], as_json=as_json, empty="Nothing to import.")
    say(f"Would import {many(sum(r['state'] == 'read' for r in rows), 'file')}. Nothing was imported.")


def _finish(outcome: Outcome, seconds: float, stored: int, dead: int, *, as_json: bool, judged: bool) -> None:
    """Say what the import brought; leave with 1 if nothing at all could be read."""
    name = outcome.import_id
    if as_json:
        facts = {key: value for key, value in asdict(outcome).items() if key not in ("import_id", "left", "touched")}
        refusals = [{"name": file.name, "reason": file.reason} for file in outcome.left if file.state == REFUSED]
        show([{"id": name} | facts | {"stored": stored, "dead_letters": dead, "judged": judged, "seconds": round(seconds, 3),
                                      "refusals": refusals}], [], as_json=True)
    else:
        rate = outcome.records / seconds if seconds > 0 else 0
        say(f"Import {name}: {many(outcome.read, 'file')}, {many(outcome.records, 'record')} in {seconds:,.1f} s ({rate:,.0f}/s), "
            f"{outcome.duplicates:,} known already.")
        if outcome.continued:
            say(f"{many(outcome.continued, 'record')} went to earlier imports that had been interrupted.")
        if dead:
            say(f"{many(dead, 'record became a dead letter', 'records became dead letters')}: soc deadletters list --import {name}.")
        if outcome.bad or outcome.cut:
            say(f"{many(outcome.bad, 'record')} could not be read, {outcome.cut:,} cut at 1 MiB: soc import show {name}.")
        if outcome.skipped:
            say(f"{many(outcome.skipped, 'file was skipped as no log', 'files were skipped as no logs')}: soc import show {name} --state skipped.")
        if outcome.refused:
            say(f"{many(outcome.refused, 'FILE WAS REFUSED', 'FILES WERE REFUSED')}: soc import show {name} --state refused.")
    if not outcome.read:
        fail("nothing could be read", f"soc import show {outcome.import_id} lists why")


def _stored(centre: Centre, import_id: str) -> dict[str, object]:
    """What the store and the alerts hold of an import."""
    seen = centre.manifest.import_seen(import_id)
    facts: dict[str, object] = {"stored": 0, "dead_letters": 0, "first_event": None, "last_event": None}
    if seen is not None:
        facts = {
            "stored": seen.events, "dead_letters": seen.dead,
            "first_event": seen.min_time and from_micros(seen.min_time).isoformat(),
            "last_event": seen.max_time and from_micros(seen.max_time).isoformat(),
        }
    from alerts.store import AlertFilters, AlertStore

    return facts | {"alerts": AlertStore(centre.state).count(Scope.everything(), AlertFilters(import_id=import_id))}


def _row(found: Import) -> dict[str, Any]:
    return asdict(found) | {
        "started": from_micros(found.started).isoformat(timespec="seconds"),
        "finished": None if found.finished is None else from_micros(found.finished).isoformat(timespec="seconds"),
        "state": _state(found), "options": dict(found.options),
    }


def _state(found: Import) -> str:
    """An import that says it runs while its process is gone was interrupted."""
    if found.state != RUNNING:
        return found.state
    pid = found.options.get("pid")
    try:
        os.kill(int(pid or 0) or -1, 0) if pid else None
    except (ProcessLookupError, OverflowError, ValueError):
        return INTERRUPTED
    except PermissionError:
        return RUNNING
    return RUNNING if pid else INTERRUPTED


def _file_row(file: ImportFile) -> dict[str, Any]:
    return {key: value for key, value in asdict(file).items() if key not in ("import_id", "head", "base", "id")}


def _now() -> int:
    return time.time_ns() // 1000

