"""Health as pages: the strip of every page, which renews itself, and everything that is known of stages, disk and ledger."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.parts import Given

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Self = Annotated[Principal, Depends(requires(Permission.ACCOUNT_OWN))]
Reader = Annotated[Principal, Depends(requires(Permission.HEALTH_READ))]


@router.get("/strip")
def strip(looks: Looks, request: Request, who: Self) -> Response:
    """The strip alone."""
    return looks.page(request, "strip.html", who)


@router.get("/health")
def health(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """Everything that is known."""
    health = parts.health()
    ledger = health.get("ledger", {})
    troubled = {one for part in (ledger, ledger.get("demonstration") or {})
                for one in [*part.get("isolated", ()), *(gap["rule_id"] for gap in part.get("gaps", ()))]}
    return looks.page(request, "health.html", who, health=health, titles=parts.rules.titles(troubled))
