"""`/api/v1/demonstration`: what was planted in the demonstration and whether it was found; taking it away."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from alerts.outputs import iso
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.parts import Given
from soc.console.ranges import JSON

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/demonstration", tags=["demonstration"])

Keeper = Annotated[Principal, Depends(requires(Permission.IMPORTS_WRITE))]


@router.get("")
def get(parts: Given, who: Keeper) -> JSON:
    """Whether there is one, and every attack planted in its past with the alerts that found it; `public`: only SigmaHQ's rules find it,
    and `anew`: they came later than the past, so it was played again for them."""
    return JSON({
        "there": parts.demonstration.there(),
        "planted": [{
            "id": one.planted.id, "title": {"vi": one.planted.title_vi, "en": one.planted.title_en}, "rules": list(one.planted.rules),
            "public": one.planted.public, "begins": iso(one.planted.begins), "ends": iso(one.planted.ends), "alerts": list(one.alerts),
            "anew": one.anew,
        } for one in parts.demonstration.findings()]})


@router.delete("")
def remove(parts: Given, who: Keeper) -> JSON:
    """Take it away: its events, dead letters, alerts, rules and agencies, and nothing else. `kept` are agencies that hold something of yours."""
    gone = parts.demonstration.remove(actor=who.actor, now=parts.now())
    return JSON({"events": gone.events, "alerts": gone.alerts, "rules": gone.rules, "agencies": list(gone.agencies), "kept": list(gone.kept)})
