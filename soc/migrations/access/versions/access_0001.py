"""Agencies, users, sessions, API tokens, set-up, login attempts and the audit chain."""
from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Text

revision = "access_0001"
down_revision = None
branch_labels = ("access",)
depends_on = None

_SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables and the agency `unassigned`."""
    _agencies()
    _people()
    _credentials()
    op.create_table(
        "audit",
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("at", BigInteger, nullable=False),
        Column("actor", String(200), nullable=False),
        Column("action", String(100), nullable=False),
        Column("object", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("prev_hash", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
    )
    op.create_table(
        "audit_head",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("seq", BigInteger, nullable=False),
        Column("hash", String(64), nullable=False),
    )


def _agencies() -> None:
    agencies = op.create_table(
        "agencies",
        Column("id", String(64), primary_key=True),
        Column("name_vi", String(200), nullable=False),
        Column("name_en", String(200), nullable=False),
        Column("valid_from", BigInteger, nullable=False),
        Column("valid_to", BigInteger),
    )
    places = op.create_table(
        "agency_places",
        Column("id", _SERIAL, primary_key=True),
        Column("agency", String(64), nullable=False),
        Column("parent", String(64)),
        Column("valid_from", BigInteger, nullable=False),
        Column("valid_to", BigInteger),
    )
    op.create_index("ix_agency_places_agency", "agency_places", ["agency"])
    op.bulk_insert(agencies, [{"id": "unassigned", "name_vi": "Chưa phân bổ", "name_en": "Unassigned", "valid_from": 0}])
    op.bulk_insert(places, [{"agency": "unassigned", "valid_from": 0}])


def _people() -> None:
    op.create_table(
        "users",
        Column("id", String(32), primary_key=True),
        Column("name", String(64), nullable=False),
        Column("name_key", String(128), nullable=False, unique=True),
        Column("roles", Text, nullable=False),
        Column("agencies", Text, nullable=False),
        Column("password_hash", String(200), nullable=False),
        Column("enabled", Boolean, nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("password_changed", BigInteger, nullable=False),
    )
    op.create_table(
        "login_attempts",
        Column("key", String(64), primary_key=True),
        Column("failures", Integer, nullable=False),
        Column("last", BigInteger, nullable=False),
        Column("blocked_until", BigInteger, nullable=False),
    )
    op.create_index("ix_login_attempts_last", "login_attempts", ["last"])


def _credentials() -> None:
    op.create_table(
        "sessions",
        Column("token_hash", String(64), primary_key=True),
        Column("user", String(32), nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("seen", BigInteger, nullable=False),
        Column("source", String(64), nullable=False),
    )
    op.create_index("ix_sessions_user", "sessions", ["user"])
    op.create_table(
        "api_tokens",
        Column("id", String(32), primary_key=True),
        Column("user", String(32), nullable=False),
        Column("name", String(100), nullable=False),
        Column("token_hash", String(64), nullable=False, unique=True),
        Column("scopes", Text, nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("expires", BigInteger, nullable=False),
        Column("used", BigInteger),
        Column("revoked", BigInteger),
    )
    op.create_index("ix_api_tokens_user", "api_tokens", ["user"])
    op.create_table(
        "setup_tokens",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("token_hash", String(64), nullable=False),
        Column("expires", BigInteger, nullable=False),
        Column("used", BigInteger),
    )
