"""Alerts: evidence of a correlation shows the other events of its window."""
from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text

revision = "alerts_0003"
down_revision = "alerts_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `alert_evidence.related`: a JSON list of events."""
    op.add_column("alert_evidence", Column("related", Text, nullable=False, server_default="[]"))
