"""The first page: what the rules found last; and the list of the API's routes."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from alerts.model import Alert, State
from alerts.store import AlertFilters
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.pages.alerts import DUTY
from soc.console.pages.parts import Looks
from soc.console.parts import Given, Parts

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.ALERTS_READ))]
Self = Annotated[Principal, Depends(requires(Permission.ACCOUNT_OWN))]


@router.get("/")
def overview(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """Counts and the newest open alerts."""
    return looks.page(request, "overview.html", who, counts=parts.alerts.counts(who.scope, DUTY), alerts=_newest(parts, who), at=parts.now(),
                      may_try=who.may(Permission.SOURCES_WRITE))


@router.get("/newest")
def newest(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """The newest open alerts alone: the part of the page that renews itself."""
    return looks.page(request, "newest.html", who, alerts=_newest(parts, who), at=parts.now())


@router.get("/api")
def reference(looks: Looks, request: Request, who: Self) -> Response:
    """The API's routes, from its OpenAPI document."""
    document = request.app.openapi()
    routes = [
        {"method": method.upper(), "path": path, "summary": operation.get("description", operation.get("summary", "")),
         "tag": (operation.get("tags") or [""])[0],
         "parameters": [parameter["name"] for parameter in operation.get("parameters", [])]}
        for path, operations in document["paths"].items() for method, operation in operations.items()
    ]
    return looks.page(request, "reference.html", who, routes=routes)


def _newest(parts: Parts, who: Principal) -> Sequence[Alert]:
    still_open = AlertFilters(origin=DUTY, state=[state.value for state in State if state is not State.CLOSED])
    return parts.alerts.list(who.scope, still_open, 20).alerts
