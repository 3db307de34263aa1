"""`soc agency`: the agencies being watched, a tree valid in time."""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from soc.access.agencies import AgencyStore
from soc.commands.centre import open_centre
from soc.commands.output import fail, say, show
from soc.event import Scope, from_micros, to_micros

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The agencies being watched.", rich_markup_mode="rich")

_Agency = Annotated[str, typer.Argument(help="The agency's id: a-z, 0-9, dot, dash, underscore.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("add")
def add(
    ctx: typer.Context,
    agency: _Agency,
    name: Annotated[str, typer.Option("--name", help="Its name in Vietnamese; the id if not given.")] = "",
    name_en: Annotated[str, typer.Option("--name-en", help="Its name in English; the Vietnamese one if not given.")] = "",
    parent: Annotated[str | None, typer.Option("--parent", help="The agency it stands under.")] = None,
) -> None:
    """Add an agency. Works with the server running or stopped."""
    centre = open_centre(ctx)
    AgencyStore(centre.access).add(agency, name or agency, name_en, parent=parent, actor=centre.actor, now=_now())
    say(f"Added {agency}.")


@app.command("list")
def list_(
    ctx: typer.Context,
    under: Annotated[str | None, typer.Option("--under", help="Only this agency and those under it.")] = None,
    at: Annotated[datetime | None, typer.Option("--at", help="As the tree stood then (UTC).")] = None,
    closed: Annotated[bool, typer.Option("--closed", help="Those that have ended too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 1000,
    as_json: _Json = False,
) -> None:
    """List agencies with the one each stands under."""
    agencies = AgencyStore(open_centre(ctx).access)
    moment = _now() if at is None else to_micros(at.replace(tzinfo=at.tzinfo or UTC))
    scope = Scope.everything() if under is None else Scope.of(agencies.tree(moment).subtree([under]))
    rows = [
        {
            "id": each.id, "name": each.name_vi, "name_en": each.name_en, "parent": each.parent,
            "valid_from": from_micros(each.valid_from).isoformat(),
            "valid_to": None if each.valid_to is None else from_micros(each.valid_to).isoformat(),
        }
        for each in agencies.list(scope, at=moment, closed=closed)[:limit]
    ]
    show(rows, ["id", "name", "name_en", "parent"], as_json=as_json, empty="No agencies.")


@app.command("move")
def move(
    ctx: typer.Context,
    agency: _Agency,
    parent: Annotated[str | None, typer.Option("--parent", help="The agency it stands under from now on.")] = None,
    top: Annotated[bool, typer.Option("--top", help="It stands under none from now on.")] = False,
) -> None:
    """Put an agency, with all under it, elsewhere from now on; the past stays as it was."""
    if (parent is None) == (not top):
        fail("say where to: --parent ID, or --top", code=2)
    centre = open_centre(ctx)
    AgencyStore(centre.access).move(agency, parent, actor=centre.actor, now=_now())
    say(f"Moved {agency} " + (f"under {parent}." if parent else "to the top."))


@app.command("rename")
def rename(
    ctx: typer.Context,
    agency: _Agency,
    name: Annotated[str, typer.Option("--name", help="Its name in Vietnamese.")],
    name_en: Annotated[str, typer.Option("--name-en", help="Its name in English; unchanged if not given.")] = "",
) -> None:
    """Give an agency another name; its id stays."""
    centre = open_centre(ctx)
    AgencyStore(centre.access).rename(agency, name, name_en, actor=centre.actor, now=_now())
    say(f"Renamed {agency}.")


def _now() -> int:
    return to_micros(datetime.now(UTC))
