"""Undoing an import: what has to go with it, in which order."""
from __future__ import annotations

import time
from typing import Protocol

from soc.commands.centre import Centre
from soc.event import Scope
from soc.ingest.deliver import Delivery
from soc.ingest.imports import ImportStore

__all__ = ["Steps", "UndoSteps", "undo_import"]


class UndoSteps(Protocol):
    """What has to go with an import, each step safe to repeat."""

    def alerts(self, import_id: str) -> int:
        """Delete its alerts; how many there were."""

    def events(self, import_id: str) -> int:
        """Tombstone its segments, dead letters and kept ranges; how many events there were."""

    def forget(self, import_id: str) -> None:
        """Have a running gateway drop its received ranges."""


def undo_import(import_id: str, store: ImportStore, steps: UndoSteps, *, now: int) -> tuple[int, int]:
    """Undo an import: (events, alerts) that went. Safe to repeat after an interruption. Raises NotFoundError.

    It is marked first, so that the detector raises no alert for it any more; it may be imported anew only at the end.
    """
    store.undoing(import_id, Scope.everything())
    events = steps.events(import_id)
    alerts = steps.alerts(import_id)
    steps.forget(import_id)
    store.undone(import_id, now)
    return events, alerts


class Steps:
    """The same in a centre; `client` reaches its gateway."""

    def __init__(self, centre: Centre, client: Delivery) -> None:
        self._centre, self._client = centre, client

    def alerts(self, import_id: str) -> int:
        """Delete its alerts, all or none."""
        from alerts.store import AlertStore

        with self._centre.state.write() as connection:
            return AlertStore(self._centre.state).delete_import(connection, import_id)

    def events(self, import_id: str) -> int:
        """Tombstone what the manifest holds of it."""
        return self._centre.manifest.undo_import(import_id, self._centre.actor, time.time_ns() // 1000)

    def forget(self, import_id: str) -> None:
        """Without a server nothing holds ranges in memory."""
        if self._centre.running:
            self._client.forget(import_id)
