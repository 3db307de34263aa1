"""The tables of rules in the state database: what is loaded, and what was refused."""
from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, LargeBinary, String, Table, Text

from soc.database import STATE

__all__ = ["REFUSALS", "RULES"]

RULES = Table(
    "rules", STATE,
    Column("rule_id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("name", String(256), nullable=False),
    Column("pack", String(128), nullable=False),
    Column("path", Text, nullable=False),
    Column("line", Integer, nullable=False),
    Column("version", String(64), nullable=False),
    Column("title", String(256), nullable=False),
    Column("level", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("author", String(256), nullable=False),
    Column("product", String(128), nullable=False),
    Column("category", String(128), nullable=False),
    Column("service", String(128), nullable=False),
    Column("tags", JSON, nullable=False),
    Column("entity", String(128), nullable=False),
    Column("source", Text, nullable=False),
    Column("format", Integer, nullable=False),
    Column("compiled", LargeBinary),
    Column("enabled", Boolean, nullable=False),
    Column("reason_off", String(256), nullable=False),
    Column("imported", BigInteger, nullable=False),
)
REFUSALS = Table(
    "rule_refusals", STATE,
    Column("pack", String(128), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("line", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)
