"""Imports as pages: the list, and one with its files."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from alerts.store import AlertFilters
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.parts import Given

__all__ = ["router"]

router = APIRouter(prefix="/imports", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.IMPORTS_READ))]


@router.get("")
def list_(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """The list."""
    return looks.page(request, "imports.html", who, imports=parts.imports.list(who.scope, limit=200))


@router.get("/{import_id}")
def show(parts: Given, looks: Looks, request: Request, who: Reader, import_id: str) -> Response:
    """One import."""
    found = parts.imports.get(import_id, who.scope)
    return looks.page(
        request, "import.html", who, found=found, files=parts.imports.files(import_id, who.scope),
        alerts=parts.alerts.count(who.scope, AlertFilters(import_id=found.id)))
