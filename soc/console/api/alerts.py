"""`/api/v1/alerts`: list, one with history and evidence, and everything a person does to one."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from alerts.model import Disposition, State
from alerts.outputs import alert_out, evidence_out, history_out
from alerts.store import AlertFilters
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.parts import Given, Parts
from soc.console.ranges import JSON, Limit, Span, Strict, Text, within
from soc.errors import InputRefused
from soc.event import Origin

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/alerts", tags=["alerts"])

Reader = Annotated[Principal, Depends(requires(Permission.ALERTS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.ALERTS_WRITE))]
Reason = Annotated[str, Field(min_length=1, max_length=10_000)]


class Wanted(Span):
    """A list of alerts; what is not given does not narrow. The span is that of the alert's events."""

    state: list[State] | None = None
    rule_id: Text | None = None
    agency: Text | None = None
    entity: Text | None = None
    level: list[Text] | None = None
    origin: Origin | None = None
    import_id: Text | None = None
    assignee: Text | None = None
    escalated: bool | None = None
    limit: Limit = 100
    after: Annotated[str, Field(max_length=200)] | None = Field(default=None, description="The `next` of the page before.")

    def filters(self) -> AlertFilters:
        """The same, as the store has it."""
        span = within(self)
        return AlertFilters(
            state=self.state, rule_id=self.rule_id, agency=self.agency, entity=self.entity, level=self.level,
            origin=self.origin.value if self.origin else None, import_id=self.import_id, assignee=self.assignee,
            escalated=self.escalated, since=span.start, until=span.end)


class Transition(Strict):
    """Where an alert goes; closing needs the rest."""

    to: State
    disposition: Disposition | None = None
    reason: Annotated[str, Field(max_length=10_000)] = ""


class Closing(Strict):
    """What an alert turned out to be, and why."""

    disposition: Disposition
    reason: Reason


class Assignment(Strict):
    """The name of a user; empty for nobody."""

    assignee: Annotated[str, Field(max_length=200)]


class Escalation(Strict):
    """The flag."""

    escalated: bool


class Comment(Strict):
    """What somebody says about an alert."""

    text: Reason


@router.get("")
def list_(parts: Given, who: Reader, wanted: Annotated[Wanted, Query()]) -> JSON:
    """Alerts, the latest seen first."""
    page = parts.alerts.list(who.scope, wanted.filters(), wanted.limit, wanted.after)
    return JSON({"alerts": [alert_out(alert) for alert in page.alerts], "next": page.next})


@router.get("/counts")
def counts(parts: Given, who: Reader) -> JSON:
    """How many by state; by level those that are not closed; and what exceptions kept from alerting."""
    return JSON({**parts.alerts.counts(who.scope), "excepted": parts.alerts.excepted(who.scope)})


@router.get("/{alert_id}")
def get(parts: Given, who: Reader, alert_id: str) -> JSON:
    """One alert, by any id it ever had."""
    return JSON(alert_out(parts.alerts.get(who.scope, alert_id)))


@router.get("/{alert_id}/history")
def history(parts: Given, who: Reader, alert_id: str) -> JSON:
    """What people did to it."""
    return JSON({"history": [history_out(entry) for entry in parts.alerts.history(who.scope, alert_id)]})


@router.get("/{alert_id}/evidence")
def evidence(parts: Given, who: Reader, alert_id: str) -> JSON:
    """The kept sample of its events, in full, with what matched."""
    return JSON({"evidence": [evidence_out(one) for one in parts.alerts.evidence(who.scope, alert_id)]})


@router.get("/{alert_id}/events")
def event_ids(parts: Given, who: Reader, alert_id: str, limit: Annotated[int, Query(ge=1, le=100_000)] = 1000) -> JSON:
    """Ids of all its events, the earliest first."""
    return JSON({"events": list(parts.alerts.event_ids(who.scope, alert_id, limit))})


@router.post("/{alert_id}/transition")
def transition(parts: Given, who: Writer, alert_id: str, asked: Transition) -> JSON:
    """Move it to another state; 409 if there is no way from where it is."""
    moved = parts.alerts.transition(
        who.scope, alert_id, asked.to, actor=who.actor, now=parts.now(), disposition=asked.disposition or "", reason=asked.reason)
    return JSON(alert_out(moved))


@router.post("/{alert_id}/close")
def close(parts: Given, who: Writer, alert_id: str, asked: Closing) -> JSON:
    """Close it."""
    closed = parts.alerts.close(
        who.scope, alert_id, disposition=asked.disposition, reason=asked.reason, actor=who.actor, now=parts.now())
    return JSON(alert_out(closed))


@router.post("/{alert_id}/assign")
def assign(parts: Given, who: Writer, alert_id: str, asked: Assignment) -> JSON:
    """Put it into somebody's hands."""
    name = known_user(parts, asked.assignee)
    return JSON(alert_out(parts.alerts.assign(who.scope, alert_id, name, actor=who.actor, now=parts.now())))


@router.post("/{alert_id}/escalate")
def escalate(parts: Given, who: Writer, alert_id: str, asked: Escalation) -> JSON:
    """Set or clear its flag."""
    return JSON(alert_out(parts.alerts.escalate(who.scope, alert_id, asked.escalated, actor=who.actor, now=parts.now())))


@router.post("/{alert_id}/comments")
def comment(parts: Given, who: Writer, alert_id: str, asked: Comment) -> JSON:
    """Say something about it."""
    return JSON(alert_out(parts.alerts.comment(who.scope, alert_id, asked.text, actor=who.actor, now=parts.now())))


def known_user(parts: Parts, name: str) -> str:
    """The name as that user writes it ("" stays). Raises InputRefused if there is no such user who may log in."""
    if not name:
        return ""
    user = parts.doors.users.by_name(name)
    if user is None or not user.enabled:
        raise InputRefused(
            "there is no such user to assign it to",
            remedy="give the login name of somebody who may log in, or leave it empty for nobody")
    return user.name
