"""`/api/v1/imports`: what was imported, file by file; importing a file that is sent, and taking an import back."""
from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from alerts.outputs import iso
from alerts.store import AlertFilters
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.parts import Given, Parts
from soc.console.ranges import JSON, Limit, Strict, Text
from soc.console.uploads import Upload
from soc.errors import InputRefused
from soc.event import UNASSIGNED
from soc.ingest.imports import UNDONE, Import

__all__ = ["cancel_upload", "import_out", "router", "undo_upload"]

router = APIRouter(prefix="/api/v1/imports", tags=["imports"])

Reader = Annotated[Principal, Depends(requires(Permission.IMPORTS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.IMPORTS_WRITE))]


class Wanted(Strict):
    """A list of imports."""

    agency: Text = ""
    state: Text = ""
    limit: Limit = 100


class Sent(Strict):
    """A file that is sent: its name, which says what it is, and the agency that its records belong to."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    agency: Text = UNASSIGNED


class WantedFiles(Strict):
    """A list of an import's files."""

    state: Text = ""
    limit: Limit = 1000


@router.get("")
def list_(parts: Given, who: Reader, wanted: Annotated[Wanted, Query()]) -> JSON:
    """Imports, newest first."""
    found = parts.imports.list(who.scope, agency=wanted.agency, state=wanted.state, limit=wanted.limit)
    return JSON({"imports": [import_out(one) for one in found]})


@router.post("", status_code=202, openapi_extra={
    "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}})
async def take(parts: Given, request: Request, who: Writer, asked: Annotated[Sent, Query()]) -> JSON:
    """Import the file of the body (at most `console.upload`) as `soc import` would, in the background; `/uploads` tells how far it is."""
    if not who.scope.allows(asked.agency) or asked.agency not in parts.agencies.tree(parts.now()):
        raise InputRefused(f"no agency {asked.agency[:64]!r}", remedy="add it first, or name one of yours")
    upload = await parts.uploads.take(request.stream(), asked.name, agency=asked.agency, actor=who.actor)
    parts.audit.record(who.actor, "import.upload", upload.name, {"bytes": upload.size, "agency": upload.agency}, now=parts.now())
    return JSON(upload.shown(), 202)


@router.get("/uploads")
def uploads(parts: Given, who: Reader) -> JSON:
    """Files sent since the console started, the newest first: waiting, working, done, failed or cancelled."""
    return JSON({"uploads": [one.shown() for one in parts.uploads.list(who.scope)]})


@router.post("/uploads/{upload_id}/cancel")
def cancel(parts: Given, who: Writer, upload_id: str) -> JSON:
    """Stop one; what was received is kept, and sending the file again goes on with it."""
    return JSON(cancel_upload(parts, who, upload_id).shown())


@router.post("/{import_id}/undo", status_code=202)
def undo(parts: Given, who: Writer, import_id: str) -> JSON:
    """Take an import back, in the background: its events, dead letters and alerts go; its `state` tells."""
    return JSON(import_out(undo_upload(parts, who, import_id)), 202)


@router.get("/{import_id}")
def get(parts: Given, who: Reader, import_id: str) -> JSON:
    """One import, with how many alerts it raised."""
    found = parts.imports.get(import_id, who.scope)
    return JSON(import_out(found) | {"alerts": parts.alerts.count(who.scope, AlertFilters(import_id=found.id))})


@router.get("/{import_id}/files")
def files(parts: Given, who: Reader, import_id: str, wanted: Annotated[WantedFiles, Query()]) -> JSON:
    """Its files: read, refused and skipped, with the reason."""
    found = parts.imports.files(import_id, who.scope, state=wanted.state, limit=wanted.limit)
    return JSON({"files": [
        {
            "name": one.name, "state": one.state, "reason": one.reason, "kind": one.kind, "bytes": one.bytes,
            "sha256": one.sha256, "records": one.records, "sent": one.sent, "duplicates": one.duplicates, "bad": one.bad,
            "cut": one.cut,
        }
        for one in found
    ]})


def cancel_upload(parts: Parts, who: Principal, upload_id: str) -> Upload:
    """Stop an upload. Raises NotFoundError."""
    found = parts.uploads.cancel(upload_id, who.scope)
    parts.audit.record(who.actor, "import.cancel", found.name, now=parts.now())
    return found


def undo_upload(parts: Parts, who: Principal, import_id: str) -> Import:
    """Begin to take an import back. Raises NotFoundError, DuplicateError, InputRefused while it runs."""
    found = parts.imports.get(import_id, who.scope)
    if any(one.import_id == import_id and one.state == "working" for one in parts.uploads.list(who.scope)):
        raise InputRefused("this import is running", remedy="cancel it first")
    if found.state != UNDONE:
        parts.uploads.undo(import_id, who.actor)
    return found


def import_out(found: Import) -> dict[str, Any]:
    """An import as the API shows it."""
    facts = asdict(found) | {"started": iso(found.started), "finished": iso(found.finished) if found.finished else None}
    del facts["options"]
    return facts
