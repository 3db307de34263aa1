"""The ledger of detection: which rule set has seen which positions, and what it has still to see.

A span says that every rule of a rule-set version was evaluated over [first, last) of a lane; a gap says that one rule
was not, and why. Spans, gaps, alerts and the cursor are written in one transaction.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, Text, delete, insert, select, update

from soc.database import STATE, Database
from soc.event import Lane

__all__ = ["CONSUMER", "Gap", "Ledger", "Span"]

CONSUMER = "detector"

CURSORS = Table(
    "cursors", STATE,
    Column("consumer", String(64), primary_key=True),
    Column("lane", String(8), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
)
SPANS = Table(
    "ledger_spans", STATE,
    Column("version", String(64), primary_key=True),
    Column("lane", String(8), primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("began", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=False),
)
GAPS = Table(
    "ledger_gaps", STATE,
    Column("rule_id", String(64), primary_key=True),
    Column("lane", String(8), primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Span:
    """Positions [first, last) of a lane that a whole rule-set version has seen; times in µs UTC."""

    version: str
    lane: str
    first: int
    last: int
    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Positions [first, last) of a lane that one rule ("*": every rule) has still to see, and why."""

    rule_id: str
    lane: str
    first: int
    last: int
    reason: str
    attempts: int
    at: int


class Ledger:
    """The detector's book-keeping in the state database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def positions(self) -> dict[Lane, int]:
        """How far every event has been evaluated, per lane."""
        with self._database.read() as c:
            found = c.execute(select(CURSORS.c.lane, CURSORS.c.sequence).where(CURSORS.c.consumer == CONSUMER)).all()
        return {Lane(lane): int(at) for lane, at in found}

    def advance(self, connection: Connection, version: str, lane: Lane, first: int, last: int, now: int) -> None:
        """Note that [first, last) was evaluated by `version`, and move the cursor to `last`."""
        moved = connection.execute(
            update(CURSORS).where(CURSORS.c.consumer == CONSUMER, CURSORS.c.lane == lane.value).values(sequence=last, updated=now))
        if moved.rowcount == 0:
            connection.execute(insert(CURSORS).values(consumer=CONSUMER, lane=lane.value, sequence=last, updated=now))
        joined = connection.execute(
            update(SPANS).where(SPANS.c.version == version, SPANS.c.lane == lane.value, SPANS.c.last == first)
            .values(last=last, ended=now))
        if joined.rowcount == 0:
            connection.execute(insert(SPANS).values(version=version, lane=lane.value, first=first, last=last, began=now, ended=now))

    def note_gaps(self, connection: Connection, gaps: Sequence[Gap]) -> None:
        """Write down what was not evaluated; a gap that continues the last one of its rule and reason joins it."""
        for gap in gaps:
            joined = connection.execute(
                update(GAPS).where(GAPS.c.rule_id == gap.rule_id, GAPS.c.lane == gap.lane, GAPS.c.last == gap.first,
                                   GAPS.c.reason == gap.reason).values(last=gap.last, at=gap.at))
            if joined.rowcount == 0:
                connection.execute(delete(GAPS).where(GAPS.c.rule_id == gap.rule_id, GAPS.c.lane == gap.lane, GAPS.c.first == gap.first))
                connection.execute(insert(GAPS).values(
                    rule_id=gap.rule_id, lane=gap.lane, first=gap.first, last=gap.last, reason=gap.reason, attempts=gap.attempts, at=gap.at))

    def spans(self, limit: int = 1000) -> list[Span]:
        """What was seen by which rule set, newest first."""
        with self._database.read() as c:
            return [Span(*row) for row in c.execute(select(SPANS).order_by(SPANS.c.ended.desc(), SPANS.c.first.desc()).limit(limit)).all()]

    def gaps(self, rule_id: str = "", limit: int = 1000) -> list[Gap]:
        """What has still to be seen, oldest first."""
        query = select(GAPS).order_by(GAPS.c.at, GAPS.c.first).limit(limit)
        if rule_id:
            query = query.where(GAPS.c.rule_id == rule_id)
        with self._database.read() as c:
            return [Gap(*row) for row in c.execute(query).all()]
