"""Gaps are tried again and closed, rules are set aside through restarts, and it is known which rule was in which set."""
from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String, Text

revision = "ledger_0002"
down_revision = "ledger_0001"
branch_labels = None
depends_on = "rules_0001"

SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Add `due` and `error` to `ledger_gaps`; create `ledger_closed`, `rule_isolation`, `rule_terms`."""
    op.add_column("ledger_gaps", Column("due", BigInteger, nullable=False, server_default="0"))
    op.add_column("ledger_gaps", Column("error", Text, nullable=False, server_default=""))
    op.create_table(
        "ledger_closed",
        Column("id", SERIAL, primary_key=True),
        Column("rule_id", String(64), nullable=False),
        Column("lane", String(8), nullable=False),
        Column("first", BigInteger, nullable=False),
        Column("last", BigInteger, nullable=False),
        Column("outcome", String(8), nullable=False),
        Column("reason", Text, nullable=False),
        Column("version", String(64), nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("opened", BigInteger, nullable=False),
        Column("closed", BigInteger, nullable=False),
    )
    op.create_index("ix_ledger_closed_rule_id", "ledger_closed", ["rule_id"])
    op.create_table(
        "rule_isolation",
        Column("rule_id", String(64), primary_key=True),
        Column("version", String(64), nullable=False),
        Column("kind", String(16), nullable=False),
        Column("error", Text, nullable=False),
        Column("since", BigInteger, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("due", BigInteger, nullable=False),
    )
    op.create_table(
        "rule_terms",
        Column("rule_id", String(64), primary_key=True),
        Column("first_set", BigInteger, primary_key=True, autoincrement=False),
        Column("version", String(64), nullable=False),
        Column("last_set", BigInteger),
    )
    op.execute("INSERT INTO rule_terms (rule_id, first_set, version) SELECT rule_id, (SELECT MAX(number) FROM rule_sets), version"
               " FROM rules WHERE enabled AND EXISTS (SELECT 1 FROM rule_sets)")
