"""Alembic's entry into the access tree: runs on the connection it is handed, inside that transaction."""
from __future__ import annotations

from soc.migrations.upgrade import run

run()
