"""Alerts say when a match was judged late."""
from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column

revision = "alerts_0002"
down_revision = "alerts_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `late` to `alerts`."""
    op.add_column("alerts", Column("late", BigInteger, nullable=False, server_default="0"))
