"""Imports: what was taken from where, and how the records of each content are numbered."""
from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Integer, String, Text

from soc.database import SERIAL

revision = "imports_0001"
down_revision = None
branch_labels = ("imports",)
depends_on = None


def upgrade() -> None:
    """Create `imports` and `import_files`."""
    op.create_table(
        "imports",
        Column("id", String(32), primary_key=True),
        Column("started", BigInteger, nullable=False),
        Column("finished", BigInteger),
        Column("actor", String(200), nullable=False),
        Column("agency", String(64), nullable=False),
        Column("options", JSON, nullable=False),
        Column("state", String(16), nullable=False),
        Column("note", Text, nullable=False),
    )
    op.create_index("ix_imports_started", "imports", ["started"])
    op.create_table(
        "import_files",
        Column("id", SERIAL, primary_key=True),
        Column("import_id", String(32), nullable=False),
        Column("name", Text, nullable=False),
        Column("state", String(16), nullable=False),
        Column("reason", Text, nullable=False),
        Column("kind", String(16), nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("sha256", String(64), nullable=False),
        Column("head", String(80), nullable=False),
        Column("stream", String(64), nullable=False),
        Column("base", Integer, nullable=False),
        Column("read_at", BigInteger, nullable=False),
        Column("file_time", BigInteger, nullable=False),
        Column("start", BigInteger, nullable=False),
        Column("records", BigInteger, nullable=False),
        Column("sent", BigInteger, nullable=False),
        Column("duplicates", BigInteger, nullable=False),
        Column("bad", BigInteger, nullable=False),
        Column("cut", BigInteger, nullable=False),
    )
    op.create_index("ix_import_files_import_id", "import_files", ["import_id"])
    op.create_index("ix_import_files_sha256", "import_files", ["sha256"])
    op.create_index("ix_import_files_head", "import_files", ["head"])
