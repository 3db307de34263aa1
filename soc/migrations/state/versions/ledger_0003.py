"""Several detectors: what one has judged before another is done with what lies in front of it."""
from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, String

revision = "ledger_0003"
down_revision = "ledger_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create `ledger_ahead`."""
    op.create_table(
        "ledger_ahead",
        Column("lane", String(8), primary_key=True),
        Column("first", BigInteger, primary_key=True, autoincrement=False),
        Column("last", BigInteger, nullable=False),
    )
