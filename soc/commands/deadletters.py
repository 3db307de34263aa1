"""`soc deadletters`: records that could not be parsed: list them, look at one, read them again after a fix, discard them."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer

from soc.commands.centre import Options, open_centre
from soc.commands.gateway import answering_gateway
from soc.commands.output import fail, quiet, say, show
from soc.event import Scope, from_micros
from soc.ingest.replay import REPLAYABLE, Replayer
from soc.ingest.replay import replay as deliver
from soc.store.deadletters import DeadLetter, DeadLetters

__all__ = ["app", "replay_letters"]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", help="Records that could not be parsed.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Number = Annotated[int, typer.Argument(metavar="ID", help="The dead letter's number.")]
_PAGE = 1_000
_PATIENCE = 120.0


@app.command("list")
def list_(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Only those with this reason.")] = "",
    source: Annotated[str, typer.Option("--source", help="Only those from this source.")] = "",
    import_id: Annotated[str, typer.Option("--import", help="Only those of this import.")] = "",
    state: Annotated[str, typer.Option("--state", help="dead, replaying, replayed, discarded or all.")] = "dead",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 100,
    as_json: _Json = False,
) -> None:
    """List dead letters, newest first. Works with the server running or stopped."""
    letters = DeadLetters(open_centre(ctx, create=False).manifest)
    wanted = "" if state == "all" else state
    found = letters.list(Scope.everything(), reason=reason, source=source, import_id=import_id, state=wanted, limit=limit)
    show([_row(each) for each in found], ["id", "at", "source", "agency", "reason", "detail", "import_id", "state"],
         as_json=as_json, empty="No dead letters.")
    total = letters.count(Scope.everything(), reason=reason, source=source, import_id=import_id, state=wanted)
    if total > len(found) and not as_json:
        say(f"{len(found):,} of {total:,}; --limit shows more.")


@app.command("show")
def show_(
    ctx: typer.Context, number: _Number,
    raw: Annotated[bool, typer.Option("--raw", help="Only the record, byte for byte.")] = False,
    as_json: _Json = False,
) -> None:
    """Show a dead letter with the record as it came."""
    letters = DeadLetters(open_centre(ctx, create=False).manifest)
    letter, record = letters.get(number, Scope.everything()), letters.raw(number, Scope.everything())
    if raw:
        sys.stdout.buffer.write(record)
        sys.stdout.buffer.flush()
        return
    row = _row(letter) | {"record": record.decode("utf-8", "backslashreplace"), "context": orjson.loads(letters.context(number))}
    if as_json:
        show([row], [], as_json=True)
        return
    show([{"field": key, "value": value} for key, value in row.items() if key != "context"], ["field", "value"], as_json=False)


@app.command("replay")
def replay(
    ctx: typer.Context,
    numbers: Annotated[list[int] | None, typer.Argument(metavar="ID", help="The dead letters' numbers.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="All with this reason.")] = "",
    source: Annotated[str, typer.Option("--source", help="All from this source.")] = "",
    import_id: Annotated[str, typer.Option("--import", help="All of this import.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    as_json: _Json = False,
) -> None:
    """Read dead letters again, after a parser was fixed. What still cannot be parsed stays, with its new reason."""
    chosen = [bool(numbers), bool(reason or source or import_id), everything]
    if sum(chosen) != 1:
        fail("say which: numbers, or --reason/--source/--import, or --all", code=2)
    if as_json:
        quiet()
    centre = open_centre(ctx, create=False)
    letters = DeadLetters(centre.manifest)
    wanted = list(dict.fromkeys(numbers)) if numbers else _all(letters, reason=reason, source=source, import_id=import_id)
    options: Options = ctx.find_root().obj
    parsed = again = 0
    if wanted:
        with answering_gateway(options, centre, lambda why, _: say(f"waiting for the gateway: {why}")) as client:
            parsed, again = replay_letters(letters, wanted, client, clock=time.monotonic, sleep=time.sleep)
    _audit(centre, "deadletters.replay", {"letters": len(wanted), "parsed": parsed, "reason": reason})
    waiting = len(wanted) - parsed - again
    if as_json:
        show([{"replayed": parsed, "dead": again, "waiting": waiting}], [], as_json=True)
    say(f"{parsed:,} of {len(wanted):,} are events now, {again:,} still cannot be parsed"
        + (f", {waiting:,} are not read yet." if waiting else "."))
    if again or waiting:
        raise typer.Exit(1)


@app.command("discard")
def discard(
    ctx: typer.Context,
    numbers: Annotated[list[int], typer.Argument(metavar="ID", help="The dead letters' numbers.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit.")],
) -> None:
    """Give dead letters up: they stay on record but are listed no more."""
    centre = open_centre(ctx, create=False)
    letters = DeadLetters(centre.manifest)
    for number in numbers:
        letters.get(number, Scope.everything())
    moved = letters.move(numbers, "discarded", only=REPLAYABLE)
    _audit(centre, "deadletters.discard", {"letters": numbers[:1000], "why": reason, "discarded": moved})
    say(f"Discarded {moved:,} of {len(numbers):,}.")
    if not moved:
        raise typer.Exit(1)


def replay_letters(
    letters: DeadLetters, numbers: Sequence[int], replayer: Replayer, *, clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> tuple[int, int]:
    """Deliver these dead letters anew and wait for the outcome: (events now, dead again).

    Each is marked before it is delivered, and the normaliser takes a marked one once: an interruption doubles nothing,
    and replaying again goes on. Raises NotFoundError for a number that is none.
    """
    deliver(letters, numbers, replayer)
    waiting, until = set(numbers), clock() + _PATIENCE
    parsed = again = 0
    while waiting and clock() < until:
        for number in sorted(waiting):
            state = letters.get(number, Scope.everything()).state
            if state != "replaying":
                waiting.discard(number)
                parsed, again = parsed + (state == "replayed"), again + (state == "dead")
        if waiting:
            sleep(0.2)
    return parsed, again


def _all(letters: DeadLetters, *, reason: str, source: str, import_id: str) -> list[int]:
    found: list[int] = []
    for state in REPLAYABLE:
        after = 0
        while page := letters.list(
                Scope.everything(), reason=reason, source=source, import_id=import_id, state=state, limit=_PAGE, after=after):
            found += [each.id for each in page]
            after = page[-1].id
    return sorted(found)


def _row(letter: DeadLetter) -> dict[str, Any]:
    return asdict(letter) | {"at": from_micros(letter.at).isoformat(timespec="seconds")}


def _audit(centre: Any, action: str, detail: dict[str, Any]) -> None:
    from soc.access.audit import Audit

    Audit(centre.access).record(centre.actor, action, "", detail, now=time.time_ns() // 1000)
