"""Correlations: the base matches they count, the events these are shown by, and what was counted beyond the cap."""
from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Text

revision = "correlations_0001"
down_revision = None
branch_labels = ("correlations",)
depends_on = None


def upgrade() -> None:
    """Create `correlation_rows`, `correlation_events`, `correlation_counts`."""
    op.create_table(
        "correlation_rows",
        Column("state", String(32), primary_key=True),
        Column("grp", String(32), primary_key=True),
        Column("event_time", BigInteger, primary_key=True, autoincrement=False),
        Column("event_id", Text, primary_key=True),
        Column("ref", Integer, primary_key=True, autoincrement=False),
        Column("value", Text, nullable=False),
        Column("agency", Text, nullable=False),
        Column("matched", Text, nullable=False),
        Column("via", Text, nullable=False),
        Column("import_id", Text, nullable=False),
        Column("expires", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_correlation_rows_expires", "correlation_rows", ["expires"])
    op.create_index("ix_correlation_rows_event", "correlation_rows", ["event_id"])
    op.create_table(
        "correlation_events",
        Column("event_id", Text, primary_key=True),
        Column("expires", BigInteger, nullable=False),
        Column("import_id", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
    )
    op.create_index("ix_correlation_events_expires", "correlation_events", ["expires"])
    op.create_table(
        "correlation_counts",
        Column("state", String(32), primary_key=True),
        Column("grp", String(32), primary_key=True),
        Column("stretch", BigInteger, primary_key=True, autoincrement=False),
        Column("dropped", BigInteger, nullable=False),
        Column("expires", BigInteger, nullable=False),
    )
    op.create_index("ix_correlation_counts_expires", "correlation_counts", ["expires"])
