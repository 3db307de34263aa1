"""The rows of correlations in the state database: which base match counts in which group, and the events they are shown by.

Everything is read and written in sets, within the caller's transaction.
"""
from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from soc.database import STATE
from soc.event import Event, Lane, Origin, Position

__all__ = ["COUNTS", "EVENTS", "ROWS", "Base", "Kept", "Usage", "Writes", "expire", "forget_import", "load", "load_events", "still_matched", "usage",
           "write"]

ROWS = Table(
    "correlation_rows", STATE,
    Column("state", String(32), primary_key=True),
    Column("grp", String(32), primary_key=True),
    Column("event_time", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, primary_key=True),
    Column("ref", Integer, primary_key=True, autoincrement=False),
    Column("value", Text, nullable=False),
    Column("agency", Text, nullable=False),
    Column("matched", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("import_id", Text, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_correlation_rows_expires", "expires"),
    Index("ix_correlation_rows_event", "event_id"),
    sqlite_with_rowid=False,
)
"""`state` is a correlation in one meaning, `ref` the place in its `rules`; `matched` is the agency of the match that this row completes
("": none); `via` the events a correlation below was shown by."""

EVENTS = Table(
    "correlation_events", STATE,
    Column("event_id", Text, primary_key=True),
    Column("expires", BigInteger, nullable=False),
    Column("import_id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_correlation_events_expires", "expires"),
)
"""The full events of kept rows, once each, as deflated JSON."""

COUNTS = Table(
    "correlation_counts", STATE,
    Column("state", String(32), primary_key=True),
    Column("grp", String(32), primary_key=True),
    Column("stretch", BigInteger, primary_key=True, autoincrement=False),
    Column("dropped", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_correlation_counts_expires", "expires"),
)
"""How many base matches beyond the cap each stretch (event time // timespan) of a group has counted."""

_CHUNK: Final = 150
"""Parts of an OR per query: SQLite takes expressions 1,000 deep."""
_IDS: Final = 2_000
_EXPIRED: Final = 5_000
_BETWEEN: Final = "\x1f"
_T = TypeVar("_T")


@dataclass(slots=True)
class Kept:
    """A row of a group: stored, or new and about to be."""

    time: int
    event_id: str
    ref: int
    value: str
    agency: str
    matched: str = ""
    via: tuple[str, ...] = ()
    stored: bool = True


@dataclass(frozen=True, slots=True)
class Base:
    """An event as a match needs it: the event, and where it came from."""

    event: Event
    agency: str
    position: Position
    origin: Origin
    import_id: str


@dataclass(slots=True)
class Writes:
    """What one pass over one correlation changes. Expiry times are µs UTC."""

    added: list[tuple[str, str, Kept, str, int]]
    changed: list[tuple[str, str, Kept]]
    removed: list[tuple[str, str, Kept]]
    dropped: dict[tuple[str, str, int], tuple[int, int]]
    events: dict[str, tuple[Base, int]]

    @classmethod
    def none(cls) -> Writes:
        """Nothing yet."""
        return cls([], [], [], {}, {})


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a correlation's past is kept: groups, rows, and matches counted beyond the cap."""

    groups: int
    rows: int
    dropped: int


def load(connection: Connection, state: str, spans: Mapping[str, Sequence[tuple[int, int]]]) -> dict[str, list[Kept]]:
    """The rows of these groups whose event time lies strictly within one of the group's spans."""
    found: dict[str, list[Kept]] = {group: [] for group in spans}
    c = ROWS.c
    columns = (c.grp, c.event_time, c.event_id, c.ref, c.value, c.agency, c.matched, c.via)
    wanted = [(group, begin, end) for group, parts in spans.items() for begin, end in parts]
    for part in _chunks(wanted, _CHUNK):
        near = or_(*(and_(c.grp == group, c.event_time > _bounded(begin), c.event_time < _bounded(end)) for group, begin, end in part))
        for row in connection.execute(select(*columns).where(c.state == state, near)):
            found[row.grp].append(Kept(row.event_time, row.event_id, row.ref, row.value, row.agency, row.matched,
                                       tuple(row.via.split(_BETWEEN)) if row.via else ()))
    return found


def load_events(connection: Connection, ids: Iterable[str]) -> dict[str, Base]:
    """The kept events of these ids, as far as they are kept."""
    found: dict[str, Base] = {}
    for part in _chunks(sorted(set(ids)), _IDS):
        for row in connection.execute(select(EVENTS.c.event_id, EVENTS.c.body).where(EVENTS.c.event_id.in_(part))):
            found[row.event_id] = _unpacked(row.body)
    return found


def still_matched(connection: Connection, state: str, ids: Iterable[str]) -> set[str]:
    """Those of these events that some row of the correlation still matches, by another rule or in another group."""
    found: set[str] = set()
    for part in _chunks(sorted(set(ids)), _IDS):
        found |= set(connection.scalars(select(ROWS.c.event_id).where(ROWS.c.event_id.in_(part), ROWS.c.state == state, ROWS.c.matched != "")))
    return found


def write(connection: Connection, writes: Writes) -> None:
    """Write what a pass has changed."""
    key = and_(*(ROWS.c[name] == bindparam(f"of_{name}") for name in ("state", "grp", "event_time", "event_id", "ref")))
    if writes.removed:
        connection.execute(delete(ROWS).where(key), [_key(*one) for one in writes.removed])
    if writes.added:
        connection.execute(insert(ROWS), [
            {"state": state, "grp": group, "event_time": row.time, "event_id": row.event_id, "ref": row.ref, "value": row.value,
             "agency": row.agency, "matched": row.matched, "via": _BETWEEN.join(row.via), "import_id": import_id, "expires": expires}
            for state, group, row, import_id, expires in writes.added])
    if writes.changed:
        connection.execute(update(ROWS).where(key).values(matched=bindparam("now_matched")),
                           [_key(*one) | {"now_matched": one[2].matched} for one in writes.changed])
    _write_events(connection, writes.events)
    _drop_events(connection, [row.event_id for _, _, row in writes.removed])
    _write_counts(connection, writes.dropped)


def expire(connection: Connection, now: int) -> int:
    """Delete up to a few thousand rows of each table whose time has come; returns how many went."""
    gone = 0
    for table in (ROWS, EVENTS, COUNTS):
        due = table.c.expires < now
        beyond = connection.execute(select(table.c.expires).where(due).order_by(table.c.expires).offset(_EXPIRED).limit(1)).scalar()
        gone += connection.execute(delete(table).where(due if beyond is None else table.c.expires <= beyond)).rowcount
    return gone


def forget_import(connection: Connection, import_id: str) -> None:
    """Delete what an import has left here, within the caller's transaction."""
    if import_id:
        for table in (ROWS, EVENTS):
            connection.execute(delete(table).where(table.c.import_id == import_id))


def usage(connection: Connection, state: str) -> Usage:
    """How much is kept of one correlation."""
    rows, groups = connection.execute(
        select(func.count(), func.count(ROWS.c.grp.distinct())).where(ROWS.c.state == state)).one()
    dropped = connection.execute(select(func.coalesce(func.sum(COUNTS.c.dropped), 0)).where(COUNTS.c.state == state)).scalar_one()
    return Usage(int(groups), int(rows), int(dropped))


def _write_events(connection: Connection, events: Mapping[str, tuple[Base, int]]) -> None:
    known: dict[str, int] = {}
    for part in _chunks(sorted(events), _IDS):
        for row in connection.execute(select(EVENTS.c.event_id, EVENTS.c.expires).where(EVENTS.c.event_id.in_(part))):
            known[row.event_id] = row.expires
    longer = [{"of": identity, "until": events[identity][1]} for identity, until in known.items() if events[identity][1] > until]
    if longer:
        connection.execute(update(EVENTS).where(EVENTS.c.event_id == bindparam("of")).values(expires=bindparam("until")), longer)
    new = [{"event_id": identity, "expires": expires, "import_id": base.import_id, "body": _packed(base)}
           for identity, (base, expires) in events.items() if identity not in known]
    if new:
        connection.execute(insert(EVENTS), new)


def _drop_events(connection: Connection, ids: Sequence[str]) -> None:
    """Delete those of these events that no row needs any more, so that a storm that goes on for days keeps no more than its rows."""
    needed = select(ROWS.c.event_id).where(ROWS.c.event_id == EVENTS.c.event_id).exists()
    for part in _chunks(sorted(set(ids)), _IDS):
        connection.execute(delete(EVENTS).where(EVENTS.c.event_id.in_(part), ~needed))


def _write_counts(connection: Connection, dropped: Mapping[tuple[str, str, int], tuple[int, int]]) -> None:
    this = and_(*(COUNTS.c[name] == bindparam(f"of_{name}") for name in ("state", "grp", "stretch")))
    for (state, group, stretch), (more, expires) in dropped.items():
        values = {"of_state": state, "of_grp": group, "of_stretch": stretch, "more": more, "until": expires}
        grown = connection.execute(
            update(COUNTS).where(this).values(dropped=COUNTS.c.dropped + bindparam("more"), expires=bindparam("until")), values)
        if grown.rowcount == 0:
            connection.execute(insert(COUNTS).values(state=state, grp=group, stretch=stretch, dropped=more, expires=expires))


def _key(state: str, group: str, row: Kept) -> dict[str, Any]:
    return {"of_state": state, "of_grp": group, "of_event_time": row.time, "of_event_id": row.event_id, "of_ref": row.ref}


def _packed(base: Base) -> bytes:
    facts = [base.event, base.agency, base.position.lane.value, base.position.sequence, base.origin.value, base.import_id]
    try:
        text = orjson.dumps(facts)
    except TypeError:  # an integer over 64 bits or half a surrogate pair
        text = json.dumps(facts).encode()
    return zlib.compress(text, 1)


def _unpacked(body: bytes) -> Base:
    text = zlib.decompress(body)
    try:
        facts = orjson.loads(text)
    except ValueError:
        facts = json.loads(text)
    event, agency, lane, sequence, origin, import_id = facts
    return Base(event, agency, Position(Lane(lane), sequence), Origin(origin), import_id)


def _bounded(time: int) -> int:
    return max(-(2**63), min(2**63 - 1, time))


def _chunks(values: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
