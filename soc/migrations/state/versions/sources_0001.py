"""Sources: what may send, and how what they send is read."""
from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, String

revision = "sources_0001"
down_revision = None
branch_labels = ("sources",)
depends_on = None


def upgrade() -> None:
    """Create `sources`."""
    op.create_table(
        "sources",
        Column("id", String(64), primary_key=True),
        Column("name", String(200), nullable=False),
        Column("kind", String(16), nullable=False),
        Column("agency", String(64), nullable=False),
        Column("agencies", JSON, nullable=False),
        Column("format", String(64), nullable=False),
        Column("timezone", String(64), nullable=False),
        Column("year", Integer),
        Column("lane", String(8), nullable=False),
        Column("retention", String(64), nullable=False),
        Column("addresses", JSON, nullable=False),
        Column("enabled", Boolean, nullable=False),
        Column("token_hash", String(64), nullable=False, unique=True),
        Column("created", BigInteger, nullable=False),
        Column("rotated", BigInteger, nullable=False),
        Column("disabled", BigInteger),
    )
