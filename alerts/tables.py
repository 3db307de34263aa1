"""The tables of alerts in the state database, and how an alert becomes a row and back."""
from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import BigInteger, Boolean, Column, Index, Row, String, Table, Text

from alerts.model import Alert, State
from soc.database import SERIAL, STATE

__all__ = ["ALERTS", "EVIDENCE", "EXCEPTED", "FORMER", "HISTORY", "MATCHES", "alert_of", "plain", "row_of"]

ALERTS = Table(
    "alerts", STATE,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String(32), nullable=False, unique=True),
    Column("key", String(32), nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("rule_version", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("agency", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("entity_kind", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("import_id", Text, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
    Column("first_event", Text, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    Column("last_event", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("disposition", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("assignee", Text, nullable=False),
    Column("escalated", Boolean, nullable=False),
    Column("touched", Boolean, nullable=False),
    Column("linked_to", String(32), nullable=False),
    Column("late", BigInteger, nullable=False, server_default="0"),
    Index("ix_alerts_key", "key", "last_seen"),
    Index("ix_alerts_last_seen", "last_seen", "id"),
    Index("ix_alerts_import_id", "import_id"),
    Index("ix_alerts_rule_id", "rule_id"),
)

MATCHES = Table(
    "alert_matches", STATE,
    Column("event_id", Text, primary_key=True),
    Column("rule_id", Text, primary_key=True),
    Column("alert", BigInteger, nullable=False),
    Column("event_time", BigInteger, nullable=False),
    Index("ix_alert_matches_alert", "alert", "event_time"),
    sqlite_with_rowid=False,
)
"""Every match that ever counted: what makes a redelivery change nothing. Event ids lead, so inserts stay near each other."""

EVIDENCE = Table(
    "alert_evidence", STATE,
    Column("alert", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, primary_key=True),
    Column("event_time", BigInteger, nullable=False),
    Column("rule_version", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("atoms", Text, nullable=False),
    Column("related", Text, nullable=False, server_default="[]"),
)

HISTORY = Table(
    "alert_history", STATE,
    Column("id", SERIAL, primary_key=True),
    Column("alert", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_alert_history_alert", "alert", "id"),
)

FORMER = Table(
    "alert_former_ids", STATE,
    Column("id", String(32), primary_key=True),
    Column("alert", BigInteger, nullable=False),
    Index("ix_alert_former_ids_alert", "alert"),
)
"""Ids that an alert had before an earlier match or a merger gave it another; they still find it."""

EXCEPTED = Table(
    "excepted_matches", STATE,
    Column("event_id", Text, primary_key=True),
    Column("rule_id", Text, primary_key=True),
    Column("excepted_by", Text, nullable=False),
    Column("rule_version", Text, nullable=False),
    Column("agency", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("import_id", Text, nullable=False),
    Column("event_time", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("ix_excepted_matches_excepted_by", "excepted_by"),
    Index("ix_excepted_matches_import_id", "import_id"),
)

_LONGEST = 1000
_FIELDS = tuple(column.name for column in ALERTS.columns if column.name not in ("tags", "state"))
_TEXT = frozenset(column.name for column in ALERTS.columns if isinstance(column.type, Text))


def row_of(alert: Alert) -> dict[str, Any]:
    """An alert as the values of its row."""
    values = {name: getattr(alert, name) for name in _FIELDS}
    for name in _TEXT & values.keys():
        values[name] = plain(values[name])
    return values | {"tags": plain(orjson.dumps(list(alert.tags)).decode(), 100_000), "state": alert.state.value}


def alert_of(row: Row[Any]) -> Alert:
    """A row of ALERTS as an alert."""
    values: dict[str, Any] = {name: getattr(row, name) for name in _FIELDS if name != "count"}
    return Alert(**values, count=row._mapping["count"], tags=tuple(orjson.loads(row.tags)), state=State(row.state))


def plain(text: str, longest: int = _LONGEST) -> str:
    """Text that both dialects can hold: no NUL, no lone surrogate, at most `longest` characters."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
