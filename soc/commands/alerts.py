"""`soc alerts`: what the rules found, closing and reopening it. Works with the server running or stopped."""
from __future__ import annotations

import time
from typing import Annotated

import typer

from alerts.model import Disposition, State, TransitionRefused
from alerts.outputs import alert_out, evidence_out, history_out
from alerts.store import AlertFilters, AlertStore
from soc.commands.centre import open_centre
from soc.commands.output import fail, quiet, say, show
from soc.event import Origin, Scope

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="What the rules found.", rich_markup_mode="rich")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Id = Annotated[str, typer.Argument(help="The alert's id, as `soc alerts list` shows it.")]
_PAGE = 1000


@app.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[list[State] | None, typer.Option("--state", help="Only alerts in this state; may be repeated.")] = None,
    rule: Annotated[str | None, typer.Option("--rule", help="Only alerts of the rule of this id.")] = None,
    agency: Annotated[str | None, typer.Option("--agency", help="Only alerts of this agency.")] = None,
    entity: Annotated[str | None, typer.Option("--entity", help="Only alerts about this host, user or address.")] = None,
    level: Annotated[list[str] | None, typer.Option("--level", help="Only alerts of this level; repeat it for several.")] = None,
    origin: Annotated[Origin | None, typer.Option("--origin", help="Only alerts of this origin.")] = None,
    import_id: Annotated[str | None, typer.Option("--import", help="Only alerts that this import raised.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows.")] = 1000,
    as_json: _Json = False,
) -> None:
    """List alerts, the latest seen first."""
    store = AlertStore(open_centre(ctx).state)
    filters = AlertFilters(
        state=[one.value for one in state] if state else None, rule_id=rule, agency=agency, entity=entity, level=level or None,
        origin=origin.value if origin else None, import_id=import_id)
    rows: list[dict[str, object]] = []
    after = None
    while len(rows) < limit:
        page = store.list(Scope.everything(), filters, min(_PAGE, limit - len(rows)), after)
        rows += [alert_out(alert) for alert in page.alerts]
        after = page.next
        if after is None:
            break
    show(rows, ["last_seen", "level", "title", "entity", "agency", "count", "state", "id"], as_json=as_json, empty="No alerts.")


@app.command("show")
def show_(ctx: typer.Context, alert_id: _Id, as_json: _Json = False) -> None:
    """Show one alert with its history and the sample of events kept as evidence."""
    if as_json:
        quiet()
    store, scope = AlertStore(open_centre(ctx).state), Scope.everything()
    alert = store.get(scope, alert_id)
    history = [history_out(entry) for entry in store.history(scope, alert.id)]
    evidence = [evidence_out(one) for one in store.evidence(scope, alert.id)]
    if as_json:
        show([alert_out(alert) | {"history": history, "evidence": evidence}], ["id"], as_json=True)
        return
    facts = [{"field": name, "value": value} for name, value in alert_out(alert).items() if value not in ("", [])]
    show(facts, ["field", "value"], as_json=False, title=alert.title)
    if history:
        show(history, ["at", "actor", "action", "detail"], as_json=False, title="History")
    rows = [
        {
            "event_time": one["event_time"], "event_id": one["event_id"],
            "matched": "; ".join(f"{atom['field']} {atom['test']} {atom['literal']}" for atom in one["atoms"]),
        }
        for one in evidence
    ]
    show(rows, ["event_time", "event_id", "matched"], as_json=False, title=f"Evidence ({len(evidence)} of {alert.count})")


@app.command("close")
def close(
    ctx: typer.Context,
    alert_id: _Id,
    disposition: Annotated[Disposition, typer.Option("--disposition", help="What it turned out to be.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence.")],
) -> None:
    """Close an alert."""
    centre = open_centre(ctx)
    try:
        closed = AlertStore(centre.state).close(
            Scope.everything(), alert_id, disposition=disposition, reason=reason, actor=centre.actor, now=time.time_ns() // 1000)
    except TransitionRefused as refused:
        fail(refused.message, f"soc alerts reopen {alert_id} first")
    say(f"Closed {closed.id}: {closed.disposition}.")


@app.command("reopen")
def reopen(
    ctx: typer.Context, alert_id: _Id,
    reason: Annotated[str, typer.Option("--reason", help="Why, in a sentence; kept in its history.")] = "",
) -> None:
    """Open a closed alert again; what it was closed as stays in its history."""
    centre = open_centre(ctx)
    store, now = AlertStore(centre.state), time.time_ns() // 1000
    opened = store.transition(Scope.everything(), alert_id, State.REOPENED, actor=centre.actor, now=now)
    if reason.strip():
        store.comment(Scope.everything(), alert_id, reason, actor=centre.actor, now=now)
    say(f"Reopened {opened.id}.")
