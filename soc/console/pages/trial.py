"""Try it now: a harmless line to paste, and its alert on the open page, with the seconds from written to received to judged."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from pydantic import Field

from alerts.store import AlertFilters
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.parts import TRIAL, Given, Parts
from soc.console.ranges import Strict, Text
from soc.errors import NotFoundError

__all__ = ["router"]

router = APIRouter(prefix="/try", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.ALERTS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.SOURCES_WRITE))]
RULE = "7c0d3a52-6f0e-5b7e-9a51-2f3d8c1e4b90"
"""Of rules/linux/soc_try_it.yml."""


class Button(Strict):
    """The button."""

    csrf: Text = ""


class Since(Strict):
    """When the line was given, in microseconds since 1970 UTC."""

    since: Annotated[int, Field(ge=0, lt=1 << 62)] = 0


@router.post("")
def begin(parts: Given, looks: Looks, request: Request, who: Writer, form: Annotated[Button, Form()]) -> Response:
    """Give the line, with a token of its own; the one before is no longer good."""
    now = parts.now()
    try:
        parts.sources.get(TRIAL, who.scope)
        token = parts.sources.rotate(TRIAL, who.scope, now=now)
        parts.sources.enable(TRIAL, who.scope)
    except NotFoundError:
        _, token = parts.sources.create(TRIAL, "Try it now", now=now)
    parts.audit.record(who.actor, "source.rotate", TRIAL, now=now)
    reach = parts.reach("")
    trust = f" --cacert {reach.ca}" if reach.ca and reach.https else ""
    line = (f'echo "<14>1 $(date +%Y-%m-%dT%H:%M:%S.%3N%:z) $(hostname) soc-try - - - SOC try it now" | curl{trust} '
            f'-H "Authorization: Bearer {token.reveal()}" -H "Content-Type: application/x-ndjson" --data-binary @- {reach.url}/ingest/v1/events')
    return looks.page(request, "trial.html", who, line=line, since=now, found=None, back="/")


@router.get("/state")
def state(parts: Given, looks: Looks, request: Request, who: Reader, asked: Annotated[Since, Query()]) -> Response:
    """Whether its alert is there: the part of the page that renews itself."""
    return looks.page(request, "trial_state.html", who, found=_found(parts, who, asked.since), since=asked.since)


def _found(parts: Parts, who: Principal, since: int) -> dict[str, object] | None:
    for alert in parts.alerts.list(who.scope, AlertFilters(rule_id=RULE), 5).alerts:
        newest = parts.alerts.evidence(who.scope, alert.id)[-1:]
        for one in newest:
            written, received = one.event_time, one.event.get("event.created")
            if isinstance(received, int) and received >= since:
                return {"alert": alert, "received": max(0.0, (received - written) / 1e6), "judged": max(0.0, (alert.updated_at - received) / 1e6)}
    return None
