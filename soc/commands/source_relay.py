"""`soc source relay`: whose the records are that one relay carries for many agencies."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soc.access.relay import RelayRule, check_relay
from soc.commands.output import say, show
from soc.event import Scope, from_micros, to_micros

if TYPE_CHECKING:
    from soc.access.sources import Source
    from soc.commands.centre import Centre

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Rules that split a relay's records among agencies; the first that fits counts.",
                  rich_markup_mode="rich")

_Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The relay's id.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_COLUMNS = ["rule", "host", "address", "agency"]


@app.command("add")
def add(
    ctx: typer.Context,
    source: _Source,
    agency: Annotated[str, typer.Option("--agency", help="The agency that gets the records.")],
    host: Annotated[str, typer.Option("--host", help="Host name in the message; * any characters, ? one.")] = "",
    address: Annotated[str, typer.Option("--address", help="Address or network: of the host, if that is an address, else of the relay.")] = "",
    at: Annotated[int, typer.Option("--at", min=1, help="Its place among the rules; the last if not given.")] = 1_000_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show what it would make of what came so far.")] = False,
    as_json: _Json = False,
) -> None:
    """Give what a relay carries of a host or network to an agency, from now on; what came before stays as it is."""
    from soc.access.agencies import AgencyStore
    from soc.errors import InputRefused

    centre, found = _opened(ctx, source)
    if agency not in AgencyStore(centre.access).tree(_now()):
        raise InputRefused(f"no agency {agency!r}", remedy=f"add it first: soc agency add {agency}")
    rules = list(found.relay)
    rules.insert(at - 1, RelayRule(agency, host, address))
    if dry_run:
        _preview(centre, found, check_relay(rules), as_json)
    else:
        _keep(centre, found, rules, as_json)


@app.command("remove")
def remove(
    ctx: typer.Context, source: _Source, rule: Annotated[int, typer.Argument(min=1, help="Its number in the list.")], as_json: _Json = False,
) -> None:
    """Take a rule away; those behind it move up."""
    from soc.errors import NotFoundError

    centre, found = _opened(ctx, source)
    if rule > len(found.relay):
        raise NotFoundError(f"{source} has no rule {rule}", remedy=f"soc source relay list {source} numbers them")
    _keep(centre, found, [one for number, one in enumerate(found.relay, 1) if number != rule], as_json)


@app.command("list")
def list_(ctx: typer.Context, source: _Source, as_json: _Json = False) -> None:
    """List a relay's rules in their order."""
    _show(_opened(ctx, source)[1], as_json)


@app.command("preview")
def preview(ctx: typer.Context, source: _Source, as_json: _Json = False) -> None:
    """Show what the rules make of the newest 10,000 records that came: per rule how many, and what no rule fits."""
    centre, found = _opened(ctx, source)
    _preview(centre, found, found.relay, as_json)


@app.command("history")
def history(ctx: typer.Context, source: _Source, as_json: _Json = False) -> None:
    """Show which versions of the rules are kept, the newest first: when, by whom, and what they were."""
    from soc.access.sources import SourceStore

    centre, found = _opened(ctx, source)
    rows = [{"version": edit.version, "at": from_micros(edit.at).isoformat(timespec="seconds"), "by": edit.by,
             "rules": [f"{rule} → {rule.agency}" for rule in edit.rules]}
            for edit in SourceStore(centre.state).relay_edits(found.id, Scope.everything())]
    show(rows, ["version", "at", "by", "rules"], as_json=as_json, empty=f"The rules of {found.id} were never changed.")


@app.command("restore")
def restore(
    ctx: typer.Context, source: _Source, version: Annotated[int, typer.Argument(min=0, help="Its number in the history.")], as_json: _Json = False,
) -> None:
    """Put the rules of an earlier version back, as a new version."""
    from soc.access.sources import SourceStore

    centre, found = _opened(ctx, source)
    edit = SourceStore(centre.state).relay_edit(found.id, Scope.everything(), version)
    _keep(centre, found, edit.rules, as_json, put_back=version)


def _opened(ctx: typer.Context, source: str) -> tuple[Centre, Source]:
    from soc.access.sources import SourceStore
    from soc.commands.centre import open_centre

    centre = open_centre(ctx)
    return centre, SourceStore(centre.state).get(source, Scope.everything())


def _keep(centre: Centre, source: Source, rules: Sequence[RelayRule], as_json: bool, *, put_back: int | None = None) -> None:
    from soc.access.audit import Audit
    from soc.access.sources import SourceStore

    with centre.access.write() as audited:
        kept = SourceStore(centre.state).split(
            source.id, Scope.everything(), rules, now=_now(), by=centre.actor, version=source.relay_version)
        detail: dict[str, object] = {"version": kept.relay_version, "rules": [f"{rule} → {rule.agency}" for rule in kept.relay]}
        if put_back is not None:
            detail["put_back"] = put_back
        Audit(centre.access).record(centre.actor, "source.relay", source.id, detail, now=_now(), connection=audited)
    _show(kept, as_json)


def _show(source: Source, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [{"rule": number, "host": rule.host, "address": rule.address, "agency": rule.agency}
                                  for number, rule in enumerate(source.relay, 1)]
    show(rows, _COLUMNS, as_json=as_json, empty=f"No rules: all records of {source.id} belong to {source.agency}.")


def _preview(centre: Centre, source: Source, rules: Sequence[RelayRule], as_json: bool) -> None:
    from soc.ingest.relaypreview import preview_relay

    found = preview_relay(centre.store, source, rules, Scope.everything())
    rows: list[dict[str, Any]] = [{
        "rule": number if share.rule else "none fits", "host": share.rule.host if share.rule else "",
        "address": share.rule.address if share.rule else "", "agency": share.agency, "records": share.records,
        "hosts": ", ".join(f"{host or '(none)'} {count}" for host, count in share.hosts.most_common(5)),
    } for number, share in enumerate(found.shares, 1)]
    show(rows, [*_COLUMNS, "records", "hosts"], as_json=as_json)
    if not as_json:
        say(f"Of the newest {found.seen:,} records of {source.id}.")


def _now() -> int:
    return to_micros(datetime.now(UTC))
