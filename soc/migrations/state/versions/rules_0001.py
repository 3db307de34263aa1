"""Rules: packs with source and compiled form, what was refused of them, and the versions of the enabled set."""
from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, LargeBinary, String, Text

revision = "rules_0001"
down_revision = None
branch_labels = ("rules",)
depends_on = None


def upgrade() -> None:
    """Create `rules`, `rule_refusals`, `rule_sets`."""
    op.create_table(
        "rules",
        Column("rule_id", String(64), primary_key=True),
        Column("pack", String(128), nullable=False),
        Column("path", Text, nullable=False),
        Column("line", Integer, nullable=False),
        Column("version", String(64), nullable=False),
        Column("title", String(256), nullable=False),
        Column("level", String(16), nullable=False),
        Column("status", String(16), nullable=False),
        Column("author", String(256), nullable=False),
        Column("product", String(128), nullable=False),
        Column("category", String(128), nullable=False),
        Column("service", String(128), nullable=False),
        Column("tags", JSON, nullable=False),
        Column("entity", String(128), nullable=False),
        Column("source", Text, nullable=False),
        Column("format", Integer, nullable=False),
        Column("compiled", LargeBinary),
        Column("enabled", Boolean, nullable=False),
        Column("reason_off", String(256), nullable=False),
        Column("imported", BigInteger, nullable=False),
    )
    op.create_table(
        "rule_refusals",
        Column("pack", String(128), primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("path", Text, nullable=False),
        Column("line", Integer, nullable=False),
        Column("reason", Text, nullable=False),
        Column("at", BigInteger, nullable=False),
    )
    op.create_table(
        "rule_sets",
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("version", String(64), nullable=False),
        Column("rules", Integer, nullable=False),
        Column("at", BigInteger, nullable=False),
    )
