"""What whoever set the centre up chose for it: its name, its language."""
from __future__ import annotations

from alembic import op
from sqlalchemy import Column, String

revision = "access_0002"
down_revision = "access_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; a centre that was set up before has nothing in it."""
    op.create_table("centre_choices", Column("key", String(32), primary_key=True), Column("value", String(200), nullable=False))
