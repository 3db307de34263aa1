"""Imports as pages: the list with what is being brought in, a place to drop a file on, and one with its files."""
from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response

from alerts.store import AlertFilters
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.api.imports import cancel_upload, undo_upload
from soc.console.callers import requires
from soc.console.pages.parts import Looks
from soc.console.pages.render import see
from soc.console.parts import Given
from soc.console.ranges import Strict, Text

__all__ = ["router"]

router = APIRouter(prefix="/imports", include_in_schema=False)

Reader = Annotated[Principal, Depends(requires(Permission.IMPORTS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.IMPORTS_WRITE))]
_SHOWN = 10


class Button(Strict):
    """A button."""

    csrf: Text = ""


@router.get("")
def list_(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """The list."""
    return looks.page(
        request, "imports.html", who, imports=parts.imports.list(who.scope, limit=200), uploads=parts.uploads.list(who.scope)[:_SHOWN],
        agencies=parts.agencies.list(who.scope, at=parts.now()), may_write=who.may(Permission.IMPORTS_WRITE), at=parts.now(),
        most=parts.uploads.most)


@router.get("/work")
def work(parts: Given, looks: Looks, request: Request, who: Reader) -> Response:
    """How far the files are that were dropped: the part of the page that renews itself."""
    return looks.page(request, "import_work.html", who, uploads=parts.uploads.list(who.scope)[:_SHOWN], may_write=who.may(Permission.IMPORTS_WRITE))


@router.post("/uploads/{upload_id}/cancel")
def cancel(parts: Given, who: Writer, upload_id: str, form: Annotated[Button, Form()]) -> Response:
    """Stop one."""
    cancel_upload(parts, who, upload_id)
    return see("/imports")


@router.get("/{import_id}")
def show(parts: Given, looks: Looks, request: Request, who: Reader, import_id: str) -> Response:
    """One import."""
    found = parts.imports.get(import_id, who.scope)
    return looks.page(
        request, "import.html", who, found=found, files=parts.imports.files(import_id, who.scope), seen=parts.seen(found.id),
        alerts=parts.alerts.count(who.scope, AlertFilters(import_id=found.id)), may_write=who.may(Permission.IMPORTS_WRITE))


@router.post("/{import_id}/undo")
def undo(parts: Given, who: Writer, import_id: str, form: Annotated[Button, Form()]) -> Response:
    """Take it back."""
    undo_upload(parts, who, import_id)
    return see(f"/imports/{import_id}")
