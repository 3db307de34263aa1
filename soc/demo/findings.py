"""What was planted in the demonstration's past, and whether it was found: the ground truth beside the alerts."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from alerts.store import AlertFilters, AlertStore
from soc.database import Database
from soc.demo.record import truth_of
from soc.demo.story import Planted
from soc.event import Scope
from soc.ingest.imports import Import

__all__ = ["Finding", "findings"]

_ABOUT: Final = 1_000_000
"""Microseconds: log lines know their time by the second or millisecond only."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One planted attack; `alerts` are the ids of those that its rules raised about its time."""

    planted: Planted
    alerts: tuple[str, ...]


def findings(found: Import, state: Database) -> Sequence[Finding]:
    """Every planted attack of a demonstration, by time."""
    store = AlertStore(state)
    result = []
    for planted in truth_of(found):
        ids = tuple(
            alert.id for rule in planted.rules
            for alert in store.list(Scope.everything(), AlertFilters(rule_id=rule, import_id=found.id), 100).alerts
            if alert.first_seen <= planted.ends + _ABOUT and alert.last_seen >= planted.begins - _ABOUT)
        result.append(Finding(planted, ids))
    return sorted(result, key=lambda finding: finding.planted.begins)
