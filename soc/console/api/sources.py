"""`/api/v1/sources`: what may send, and shutting it off. Making one, with its token, is `soc source add`."""
from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from alerts.outputs import iso
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.access.sources import Source
from soc.console.callers import requires
from soc.console.parts import Given
from soc.console.ranges import JSON, Limit, Strict, Text

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/sources", tags=["sources"])

Reader = Annotated[Principal, Depends(requires(Permission.SOURCES_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.SOURCES_WRITE))]


class Wanted(Strict):
    """A list of sources."""

    kind: Text | None = None
    agency: Text | None = None
    limit: Limit = 1000


@router.get("")
def list_(parts: Given, who: Reader, wanted: Annotated[Wanted, Query()]) -> JSON:
    """Sources by id, disabled ones too; tokens are never shown."""
    found = parts.sources.list(who.scope, limit=wanted.limit, kind=wanted.kind, agency=wanted.agency)
    return JSON({"sources": [_out(source) for source in found]})


@router.get("/{source_id}")
def get(parts: Given, who: Reader, source_id: str) -> JSON:
    """One source."""
    return JSON(_out(parts.sources.get(source_id, who.scope)))


@router.post("/{source_id}/disable")
def disable(parts: Given, who: Writer, source_id: str) -> JSON:
    """Take nothing more from it."""
    now = parts.now()
    parts.sources.disable(source_id, who.scope, now=now)
    parts.audit.record(who.actor, "source.disable", source_id, now=now)
    return JSON(_out(parts.sources.get(source_id, who.scope)))


@router.post("/{source_id}/enable")
def enable(parts: Given, who: Writer, source_id: str) -> JSON:
    """Take from it again, under the token it had."""
    parts.sources.enable(source_id, who.scope)
    parts.audit.record(who.actor, "source.enable", source_id, now=parts.now())
    return JSON(_out(parts.sources.get(source_id, who.scope)))


def _out(source: Source) -> dict[str, Any]:
    return {
        "id": source.id, "name": source.name, "kind": source.kind, "agency": source.agency, "agencies": list(source.agencies),
        "format": source.format, "timezone": source.timezone, "year": source.year, "lane": source.lane.value,
        "retention": source.retention, "addresses": list(source.addresses), "enabled": source.enabled,
        "created": iso(source.created), "rotated": iso(source.rotated),
    }
