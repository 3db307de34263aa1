"""Sources: which version the rules of a relay are, and the earlier ones, which can be put back."""
from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Integer, String

revision = "sources_0003"
down_revision = "sources_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `sources.relay_version` and create `relay_edits`; the rules that are there are version 0."""
    op.add_column("sources", Column("relay_version", Integer, nullable=False, server_default="0"))
    op.create_table(
        "relay_edits",
        Column("source", String(64), primary_key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("rules", JSON, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("actor", String(200), nullable=False),
    )
