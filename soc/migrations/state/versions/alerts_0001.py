"""Alerts, what they were made of, and what people did to them."""
from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Text

revision = "alerts_0001"
down_revision = None
branch_labels = ("alerts",)
depends_on = None

SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create `alerts`, `alert_matches`, `alert_evidence`, `alert_history`, `alert_former_ids`, `excepted_matches`."""
    op.create_table(
        "alerts",
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
    )
    op.create_index("ix_alerts_key", "alerts", ["key", "last_seen"])
    op.create_index("ix_alerts_last_seen", "alerts", ["last_seen", "id"])
    op.create_index("ix_alerts_import_id", "alerts", ["import_id"])
    op.create_index("ix_alerts_rule_id", "alerts", ["rule_id"])
    op.create_table(
        "alert_matches",
        Column("event_id", Text, primary_key=True),
        Column("rule_id", Text, primary_key=True),
        Column("alert", BigInteger, nullable=False),
        Column("event_time", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_alert_matches_alert", "alert_matches", ["alert", "event_time"])
    op.create_table(
        "alert_evidence",
        Column("alert", BigInteger, primary_key=True, autoincrement=False),
        Column("event_id", Text, primary_key=True),
        Column("event_time", BigInteger, nullable=False),
        Column("rule_version", Text, nullable=False),
        Column("event", Text, nullable=False),
        Column("atoms", Text, nullable=False),
    )
    op.create_table(
        "alert_history",
        Column("id", SERIAL, primary_key=True),
        Column("alert", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("actor", Text, nullable=False),
        Column("action", String(16), nullable=False),
        Column("detail", Text, nullable=False),
    )
    op.create_index("ix_alert_history_alert", "alert_history", ["alert", "id"])
    op.create_table(
        "alert_former_ids",
        Column("id", String(32), primary_key=True),
        Column("alert", BigInteger, nullable=False),
    )
    op.create_index("ix_alert_former_ids_alert", "alert_former_ids", ["alert"])
    op.create_table(
        "excepted_matches",
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
    )
    op.create_index("ix_excepted_matches_excepted_by", "excepted_matches", ["excepted_by"])
    op.create_index("ix_excepted_matches_import_id", "excepted_matches", ["import_id"])
