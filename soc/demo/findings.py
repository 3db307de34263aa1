"""What was planted in the demonstration's past, and whether it was found: the ground truth beside the alerts."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from alerts.store import AlertFilters, AlertStore
from soc.database import Database
from soc.demo.record import ends_of, truth_of
from soc.demo.story import Planted
from soc.event import Scope
from soc.ingest.imports import Import

__all__ = ["Finding", "findings"]

_ABOUT: Final = 1_000_000
"""Microseconds: log lines know their time by the second or millisecond only."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One planted attack; `alerts` are the ids of those that its rules raised about its time.

    `anew`: its rules came after the past, and these are the alerts of the attack as it was played again for them.
    """

    planted: Planted
    alerts: tuple[str, ...]
    anew: bool = False


def findings(found: Import, state: Database) -> Sequence[Finding]:
    """Every planted attack of a demonstration, by time."""
    store = AlertStore(state)
    result = []
    for planted in truth_of(found):
        ids = _raised(store, found, planted, planted.begins - _ABOUT, planted.ends + _ABOUT)
        again = _raised(store, found, planted, ends_of(found), None) if planted.public and not ids else ()
        result.append(Finding(planted, ids or again, bool(again)))
    return sorted(result, key=lambda finding: finding.planted.begins)


def _raised(store: AlertStore, found: Import, planted: Planted, since: int, until: int | None) -> tuple[str, ...]:
    filters = [AlertFilters(rule_id=rule, import_id=found.id, since=since, until=until) for rule in planted.rules]
    return tuple(alert.id for each in filters for alert in store.list(Scope.everything(), each, 100).alerts)
