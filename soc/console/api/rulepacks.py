"""`/api/v1/rulepacks`: the packs, and bringing one in: the public release from its address, or a zip in the body."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.parts import Given
from soc.console.ranges import JSON, Strict
from soc.console.rulepacks import PUBLIC_PACK

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/rulepacks", tags=["rules"])

Reader = Annotated[Principal, Depends(requires(Permission.RULES_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.RULES_WRITE))]


class Named(Strict):
    """The name that a pack gets; a pack of the same name is replaced."""

    name: Annotated[str, Field(pattern=r"^\w[\w .+-]{0,99}$")] = PUBLIC_PACK


@router.get("")
def state(parts: Given, who: Reader) -> JSON:
    """The packs; in `work` how far the one is that is being brought in, or what became of the last; where the public release is."""
    return JSON(parts.packs.state())


@router.post("/fetch", status_code=202)
def fetch(parts: Given, who: Writer) -> JSON:
    """Fetch the public release from `rules.release_url` and take it in, in the background; `work` tells how far it is."""
    parts.packs.fetch()
    parts.audit.record(who.actor, "rulepack.fetch", PUBLIC_PACK, now=parts.now())
    return JSON(parts.packs.state(), 202)


@router.post("", status_code=202, openapi_extra={
    "requestBody": {"required": True, "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}})
async def take(parts: Given, request: Request, who: Writer, asked: Annotated[Named, Query()]) -> JSON:
    """Take in the zip of the body (at most 64 MiB), as `soc rules import` would, in the background; `work` tells how far it is."""
    await parts.packs.take(request.stream(), asked.name)
    parts.audit.record(who.actor, "rulepack.upload", asked.name, now=parts.now())
    return JSON(parts.packs.state(), 202)
