"""Alerts as pages: the list, and one with its history, its events and what can be done."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from pydantic import Field

from alerts.model import TRANSITIONS, Alert, Disposition, State
from alerts.store import AlertFilters
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.api.alerts import known_user
from soc.console.callers import requires
from soc.console.pages.matched import texts_of
from soc.console.pages.parts import Looks
from soc.console.pages.render import see
from soc.console.pages.timespan import around, span_of
from soc.console.parts import Given, Parts
from soc.console.ranges import Strict, Text
from soc.errors import InputRefused
from soc.event import Origin

__all__ = ["DUTY", "router"]

router = APIRouter(prefix="/alerts", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.ALERTS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.ALERTS_WRITE))]
LEVELS = ("critical", "high", "medium", "low", "informational")
DUTY = (Origin.LIVE.value, Origin.DEMONSTRATION.value)
"""Origins of the alerts that somebody on duty has to look at: what is going on, not what was brought in to be looked through."""
_PAGE = 50
_FEW = 5


class Wanted(Strict):
    """The filter form: empty fields do not narrow; without a state, what is not closed; without an origin or import, what duty is."""

    state: Literal["", "open"] | State = "open"
    level: Literal["", "critical", "high", "medium", "low", "informational"] = ""
    origin: Literal["duty", "all"] | Origin = "duty"
    rule_id: Text = ""
    entity: Text = ""
    agency: Text = ""
    import_id: Text = ""
    since: Annotated[str, Field(max_length=40)] = ""
    until: Annotated[str, Field(max_length=40)] = ""
    after: Annotated[str, Field(max_length=200)] = ""

    def filters(self, zone: ZoneInfo) -> AlertFilters:
        """The same, as the store has it; times without one are of that zone. Raises QueryError for what is no time."""
        time = span_of(self.since, self.until, zone)
        states = {"": None, "open": [state.value for state in State if state is not State.CLOSED]}
        origins = {"duty": None if self.import_id else DUTY, "all": None} | {one: [one.value] for one in Origin}
        return AlertFilters(
            origin=origins[self.origin],
            state=states.get(self.state, [self.state]), level=[self.level] if self.level else None, rule_id=self.rule_id or None,
            entity=self.entity or None, agency=self.agency or None, import_id=self.import_id or None, since=time.start, until=time.end)


class Work(Strict):
    """What a person does to an alert; `do` says what."""

    csrf: Text = ""
    do: Annotated[str, Field(max_length=20)]
    to: State | None = None
    disposition: Disposition | None = None
    text: Annotated[str, Field(max_length=10_000)] = ""


@dataclass(frozen=True, slots=True)
class Others:
    """Other alerts that have something in common with one: `name` and `value` filter the list to them."""

    name: str
    value: str
    count: int
    alerts: Sequence[Alert]


@router.get("")
def list_(parts: Given, looks: Looks, request: Request, who: Reader, wanted: Annotated[Wanted, Query()]) -> Response:
    """The list."""
    filters = wanted.filters(ZoneInfo(parts.timezone))
    page = parts.alerts.list(who.scope, filters, _PAGE, wanted.after or None)
    total = parts.alerts.count(who.scope, filters)
    following = wanted.model_dump() | {"after": page.next} if page.next else {}
    return looks.page(
        request, "alerts.html", who, alerts=page.alerts, total=total, wanted=wanted, following=following, states=list(State),
        origins=["all", *Origin], levels=LEVELS, agencies=parts.agencies.list(who.scope, at=parts.now(), closed=True),
        at=parts.now(), zone=parts.timezone,
        renewed="" if wanted.after else "/alerts/newest?" + urlencode(wanted.model_dump(exclude={"after"}, mode="json")))


@router.get("/newest")
def newest(parts: Given, looks: Looks, request: Request, who: Reader, wanted: Annotated[Wanted, Query()]) -> Response:
    """The first page of the list alone, which renews itself."""
    return looks.page(request, "newest.html", who, alerts=parts.alerts.list(who.scope, wanted.filters(ZoneInfo(parts.timezone)), _PAGE).alerts,
                      at=parts.now())


@router.get("/{alert_id}")
def show(parts: Given, looks: Looks, request: Request, who: Reader, alert_id: str) -> Response:
    """One alert."""
    alert = parts.alerts.get(who.scope, alert_id)
    return looks.page(
        request, "alert.html", who, alert=alert, history=parts.alerts.history(who.scope, alert.id),
        evidence=parts.alerts.evidence(who.scope, alert.id), matched=lambda one: texts_of(one.atoms, one.event), dispositions=list(Disposition),
        ways=sorted(TRANSITIONS[alert.state] - {State.CLOSED}), may_close=State.CLOSED in TRANSITIONS[alert.state],
        may_write=who.may(Permission.ALERTS_WRITE), others=_others(parts, who, alert),
        around=partial(around, zone=ZoneInfo(parts.timezone)) if who.may(Permission.EVENTS_READ) else None)


@router.post("/{alert_id}")
def work(parts: Given, who: Writer, alert_id: str, form: Annotated[Work, Form()]) -> Response:
    """Do it, and see the alert again."""
    store, now = parts.alerts, parts.now()
    if form.do == "transition" and form.to is not None:
        alert = store.transition(
            who.scope, alert_id, form.to, actor=who.actor, now=now, disposition=form.disposition or "", reason=form.text)
    elif form.do == "assign":
        alert = store.assign(who.scope, alert_id, known_user(parts, form.text.strip()), actor=who.actor, now=now)
    elif form.do == "comment":
        alert = store.comment(who.scope, alert_id, form.text, actor=who.actor, now=now)
    elif form.do in ("escalate", "calm"):
        alert = store.escalate(who.scope, alert_id, form.do == "escalate", actor=who.actor, now=now)
    else:
        raise InputRefused("an alert can be moved, assigned, escalated or commented on", remedy="use the buttons of the alert's page")
    return see(f"/alerts/{alert.id}")


def _others(parts: Parts, who: Principal, alert: Alert) -> list[Others]:
    """Of the same rule, and about the same entity: how many, and the latest few."""
    found = []
    for name, value in (("rule_id", alert.rule_id), ("entity", alert.entity)):
        filters = AlertFilters(rule_id=value) if name == "rule_id" else AlertFilters(entity=value)
        count = parts.alerts.count(who.scope, filters) - 1 if value else 0
        if count > 0:
            near = [one for one in parts.alerts.list(who.scope, filters, _FEW + 1).alerts if one.id != alert.id]
            found.append(Others(name, value, count, near[:_FEW]))
    return found
