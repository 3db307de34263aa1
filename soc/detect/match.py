"""A match: one rule, one event, before any alert logic; and the seam to whoever takes matches."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from soc.event import Event, Origin, Position

__all__ = ["Atom", "Match", "MatchSink"]


@dataclass(frozen=True, slots=True)
class Atom:
    """Why a rule matched: this field passed this test with this literal (as the rule wrote it)."""

    field: str
    test: str
    literal: str


@dataclass(frozen=True, slots=True)
class Match:
    """Rule × event. Carries the full event, so no later stage needs the store.

    `event_time` is microseconds since 1970 UTC; `entity_kind` is "host", "user" or "address". `late` is 0, or, for a
    position that the rule had to catch up on, the microseconds from receiving the event to judging it. Of a correlation,
    `event` is the one that completed it and `related` a capped sample of the others in its window, oldest first.
    """

    rule_id: str
    rule_version: str
    title: str
    level: str
    tags: tuple[str, ...]
    event_id: str
    event_time: int
    event: Event
    position: Position
    agency: str
    origin: Origin
    import_id: str
    entity: str
    entity_kind: str
    atoms: tuple[Atom, ...] = ()
    excepted_by: str = ""
    late: int = 0
    related: tuple[Event, ...] = ()


class MatchSink(Protocol):
    """Takes matches inside the caller's open write transaction, so that alerts and cursor commit as one.

    Delivering a match again (same rule and event id) changes nothing. `withdraw` takes matches of correlations back, by (rule id,
    event id), that later events have undone; an alert that somebody has touched keeps them.
    """

    def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> None: ...

    def withdraw(self, connection: Connection, matches: Sequence[tuple[str, str]], now: int) -> None: ...
