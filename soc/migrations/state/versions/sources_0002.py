"""Sources: the rules by which a relay's records are split among agencies."""
from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, Column

revision = "sources_0002"
down_revision = "sources_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `sources.relay`; what is there splits nothing."""
    op.add_column("sources", Column("relay", JSON, nullable=False, server_default="[]"))
