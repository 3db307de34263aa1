"""Rules: what kind of Sigma document each is, and the name that others refer to it by."""
from __future__ import annotations

from alembic import op
from sqlalchemy import Column, String

revision = "rules_0002"
down_revision = "rules_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `rules.kind` and `rules.name`; what is there are detection rules."""
    op.add_column("rules", Column("kind", String(16), nullable=False, server_default="rule"))
    op.add_column("rules", Column("name", String(256), nullable=False, server_default=""))
