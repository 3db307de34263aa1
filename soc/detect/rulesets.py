"""The sets of rules that were on, one after the other, and which version of a rule was in which of them.

A set's version is a hash of its rules' ids and versions: what the detectors compare, and what the ledger's spans name. So a
rule's own view of the ledger can be derived.
"""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, insert, or_, select, update

from soc.database import STATE

__all__ = ["SETS", "TERMS", "note_set", "sets_with", "version_now"]

SETS = Table(
    "rule_sets", STATE,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("version", String(64), nullable=False),
    Column("rules", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
)
TERMS = Table(
    "rule_terms", STATE,
    Column("rule_id", String(64), primary_key=True),
    Column("first_set", BigInteger, primary_key=True, autoincrement=False),
    Column("version", String(64), nullable=False),
    Column("last_set", BigInteger),
)
"""Version `version` of a rule was on from rule set `first_set` to `last_set`, both included; still, if that is null."""

_EMPTY: Final = hashlib.sha256(b"").hexdigest()[:32]


def version_now(connection: Connection) -> str:
    """The version of the latest set."""
    return connection.execute(select(SETS.c.version).order_by(SETS.c.number.desc()).limit(1)).scalar() or _EMPTY


def note_set(connection: Connection, rules: Sequence[tuple[str, str]], now: int) -> str:
    """Note that these rules (id, version; by id) are on now, if they are another set than before; returns its version."""
    digest = hashlib.sha256("".join(f"{rule_id} {version}\n" for rule_id, version in rules).encode()).hexdigest()[:32]
    last = connection.execute(select(SETS.c.number, SETS.c.version).order_by(SETS.c.number.desc()).limit(1)).first()
    if last is None or last.version != digest:
        number = (last.number if last else 0) + 1
        connection.execute(insert(SETS).values(number=number, version=digest, rules=len(rules), at=now))
        _renew_terms(connection, number, dict(rules))
    return digest


def sets_with(connection: Connection, rule_id: str, version: str) -> set[str]:
    """The versions of all sets in which this version of the rule was on."""
    joined = select(SETS.c.version).join(
        TERMS, (TERMS.c.first_set <= SETS.c.number) & or_(TERMS.c.last_set.is_(None), TERMS.c.last_set >= SETS.c.number))
    return set(connection.execute(joined.where(TERMS.c.rule_id == rule_id, TERMS.c.version == version).distinct()).scalars())


def _renew_terms(connection: Connection, number: int, on: dict[str, str]) -> None:
    known = {row.rule_id: row for row in connection.execute(select(TERMS).where(TERMS.c.last_set.is_(None))).all()}
    for rule_id, row in known.items():
        if on.get(rule_id) != row.version:
            connection.execute(update(TERMS).where(TERMS.c.rule_id == rule_id, TERMS.c.first_set == row.first_set)
                               .values(last_set=number - 1))
    new = [{"rule_id": rule_id, "first_set": number, "version": version, "last_set": None}
           for rule_id, version in on.items() if rule_id not in known or known[rule_id].version != version]
    if new:
        connection.execute(insert(TERMS), new)
