"""The ledger: how far the detectors are, which rule set saw which positions, and what is still to be seen."""
from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String, Text

revision = "ledger_0001"
down_revision = None
branch_labels = ("ledger",)
depends_on = None


def upgrade() -> None:
    """Create `cursors`, `ledger_spans`, `ledger_gaps`."""
    op.create_table(
        "cursors",
        Column("consumer", String(64), primary_key=True),
        Column("lane", String(8), primary_key=True),
        Column("sequence", BigInteger, nullable=False),
        Column("updated", BigInteger, nullable=False),
    )
    op.create_table(
        "ledger_spans",
        Column("version", String(64), primary_key=True),
        Column("lane", String(8), primary_key=True),
        Column("first", BigInteger, primary_key=True, autoincrement=False),
        Column("last", BigInteger, nullable=False),
        Column("began", BigInteger, nullable=False),
        Column("ended", BigInteger, nullable=False),
    )
    op.create_table(
        "ledger_gaps",
        Column("rule_id", String(64), primary_key=True),
        Column("lane", String(8), primary_key=True),
        Column("first", BigInteger, primary_key=True, autoincrement=False),
        Column("last", BigInteger, nullable=False),
        Column("reason", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("at", BigInteger, nullable=False),
    )
