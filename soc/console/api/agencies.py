"""`/api/v1/agencies`: the agencies within the caller's scope, now or at another time."""
from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime

from alerts.outputs import iso
from soc.access.agencies import Agency
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.parts import Given, Parts
from soc.console.ranges import JSON, Strict
from soc.event import to_micros

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/agencies", tags=["agencies"])

Reader = Annotated[Principal, Depends(requires(Permission.AGENCIES_READ))]


class When(Strict):
    """At which moment; now if not given."""

    at: AwareDatetime | None = None
    closed: bool = False


@router.get("")
def list_(parts: Given, who: Reader, when: Annotated[When, Query()]) -> JSON:
    """Agencies by id as they stood; with `closed` those ended by then too."""
    return JSON({"agencies": [_out(one) for one in parts.agencies.list(who.scope, at=_moment(parts, when), closed=when.closed)]})


@router.get("/{agency_id}")
def get(parts: Given, who: Reader, agency_id: str, when: Annotated[When, Query()]) -> JSON:
    """One agency."""
    return JSON(_out(parts.agencies.get(agency_id, who.scope, at=_moment(parts, when))))


def _moment(parts: Parts, when: When) -> int:
    return to_micros(when.at) if when.at else parts.now()


def _out(agency: Agency) -> dict[str, Any]:
    return {
        "id": agency.id, "name_vi": agency.name_vi, "name_en": agency.name_en, "parent": agency.parent,
        "valid_from": iso(agency.valid_from), "valid_to": iso(agency.valid_to) if agency.valid_to is not None else None,
    }
