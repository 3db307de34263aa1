"""Alerts as they leave the centre: the one shape of the API and of `soc alerts --json`. Times are ISO 8601 UTC."""
from __future__ import annotations

from datetime import UTC
from typing import Any

from alerts.model import Alert
from alerts.store import Evidence, HistoryEntry
from soc.ecs import kind_of
from soc.event import Event, from_micros

__all__ = ["alert_out", "event_out", "evidence_out", "history_out", "iso"]


def alert_out(alert: Alert) -> dict[str, Any]:
    """Every field of an alert that people and programs may rely on."""
    return {
        "id": alert.id, "rule_id": alert.rule_id, "rule_version": alert.rule_version, "title": alert.title, "level": alert.level,
        "tags": list(alert.tags), "agency": alert.agency, "entity": alert.entity, "entity_kind": alert.entity_kind,
        "origin": alert.origin, "import_id": alert.import_id, "first_seen": iso(alert.first_seen),
        "last_seen": iso(alert.last_seen), "count": alert.count, "state": alert.state.value, "disposition": alert.disposition,
        "reason": alert.reason, "assignee": alert.assignee, "escalated": alert.escalated, "linked_to": alert.linked_to,
        "created_at": iso(alert.created_at), "updated_at": iso(alert.updated_at), "late_seconds": round(alert.late / 1e6, 1),
    }


def history_out(entry: HistoryEntry) -> dict[str, Any]:
    """One line of an alert's history."""
    return {"at": iso(entry.at), "actor": entry.actor, "action": entry.action, "detail": dict(entry.detail)}


def evidence_out(evidence: Evidence) -> dict[str, Any]:
    """One matched event and why it matched."""
    return {
        "event_id": evidence.event_id, "event_time": iso(evidence.event_time), "rule_version": evidence.rule_version,
        "atoms": [{"field": atom.field, "test": atom.test, "literal": atom.literal} for atom in evidence.atoms],
        "event": event_out(evidence.event), "related": [event_out(event) for event in evidence.related],
    }


def event_out(event: Event) -> dict[str, Any]:
    """An event's fields by name, dates as ISO 8601."""
    return {
        name: iso(value) if kind_of(name) == "date" and isinstance(value, int) else value for name, value in sorted(event.items())
    }


def iso(micros: int) -> str:
    """Microseconds since 1970 UTC as ISO 8601 with a Z; a time no calendar has, as the number."""
    try:
        return from_micros(micros).astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return str(micros)
