"""`/api/v1/openapi.json`: this API, described for programs."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.ranges import JSON

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["reference"])

Self = Annotated[Principal, Depends(requires(Permission.ACCOUNT_OWN))]


@router.get("/openapi.json")
def openapi(request: Request, who: Self) -> JSON:
    """The OpenAPI document."""
    return JSON(request.app.openapi())
