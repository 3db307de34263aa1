"""`/api/v1/imports`: what was imported, file by file. Importing and undoing are `soc import`: they read this machine's files."""
from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from alerts.outputs import iso
from alerts.store import AlertFilters
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.parts import Given
from soc.console.ranges import JSON, Limit, Strict, Text
from soc.ingest.imports import Import

__all__ = ["import_out", "router"]

router = APIRouter(prefix="/api/v1/imports", tags=["imports"])

Reader = Annotated[Principal, Depends(requires(Permission.IMPORTS_READ))]


class Wanted(Strict):
    """A list of imports."""

    agency: Text = ""
    state: Text = ""
    limit: Limit = 100


class WantedFiles(Strict):
    """A list of an import's files."""

    state: Text = ""
    limit: Limit = 1000


@router.get("")
def list_(parts: Given, who: Reader, wanted: Annotated[Wanted, Query()]) -> JSON:
    """Imports, newest first."""
    found = parts.imports.list(who.scope, agency=wanted.agency, state=wanted.state, limit=wanted.limit)
    return JSON({"imports": [import_out(one) for one in found]})


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


def import_out(found: Import) -> dict[str, Any]:
    """An import as the API shows it."""
    facts = asdict(found) | {"started": iso(found.started), "finished": iso(found.finished) if found.finished else None}
    del facts["options"]
    return facts
