"""The rule packs of a centre, each with how many rules it brought and how many of them run."""
from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, select

from soc.database import Database
from soc.detect.ruletables import REFUSALS, RULES

__all__ = ["PackRow", "packs"]


@dataclass(frozen=True, slots=True)
class PackRow:
    """One pack; `refused` counts the faults of its last import, `imported` is the newest import of a rule of it, µs UTC."""

    name: str
    rules: int
    enabled: int
    refused: int
    imported: int


def packs(database: Database) -> list[PackRow]:
    """Every pack that has rules, by name."""
    on = func.sum(case((RULES.c.enabled, 1), else_=0))
    rules = select(RULES.c.pack, func.count(), on, func.max(RULES.c.imported)).group_by(RULES.c.pack).order_by(RULES.c.pack)
    faults = select(REFUSALS.c.pack, func.count()).group_by(REFUSALS.c.pack)
    with database.read() as connection:
        refused = {row[0]: int(row[1]) for row in connection.execute(faults).all()}
        return [PackRow(row[0], int(row[1]), int(row[2]), refused.get(row[0], 0), int(row[3])) for row in connection.execute(rules).all()]
