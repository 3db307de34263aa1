"""`/api/v1/health`: lag of every stage and lane, disk, ledger, what is damaged; and `/healthz` for whoever only asks for life."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import public, requires
from soc.console.parts import Given
from soc.console.ranges import JSON

__all__ = ["router"]

router = APIRouter(tags=["health"])

Reader = Annotated[Principal, Depends(requires(Permission.HEALTH_READ))]


@router.get("/api/v1/health")
def health(parts: Given, who: Reader) -> JSON:
    """`status` is ok, warning or failing, with the reasons in words."""
    return JSON(parts.health())


@router.get("/healthz", dependencies=[Depends(public)])
def alive() -> JSON:
    """This process answers; says nothing else."""
    return JSON({"status": "ok"})
