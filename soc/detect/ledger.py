"""The ledger of detection: which rule set has seen which positions, and what is still to be seen.

One cursor per lane, spans per rule-set version, and coalesced ranges for what deviates: a gap says that one rule (or all)
has not seen [first, last), and why. Spans, gaps, alerts and the cursor are written in one transaction.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Integer, Select, String, Table, Text, delete, func, insert, literal, select, update

from soc.database import SERIAL, STATE, Database
from soc.detect.ranges import Range, minus
from soc.errors import StoreError
from soc.event import Lane
from soc.store.segment import SegmentRow

__all__ = ["CONSUMER", "EVERY_RULE", "FILLED", "LOST", "Closed", "Gap", "Ledger", "Span", "Superseded", "damaged", "pause"]

CONSUMER: Final = "detector"
EVERY_RULE: Final = "*"
FILLED, LOST = "filled", "lost"

CURSORS = Table(
    "cursors", STATE,
    Column("consumer", String(64), primary_key=True),
    Column("lane", String(8), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
)
AHEAD = Table(
    "ledger_ahead", STATE,
    Column("lane", String(8), primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
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
    Column("due", BigInteger, nullable=False, server_default="0"),
    Column("error", Text, nullable=False, server_default=""),
)
CLOSED = Table(
    "ledger_closed", STATE,
    Column("id", SERIAL, primary_key=True),
    Column("rule_id", String(64), nullable=False, index=True),
    Column("lane", String(8), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("outcome", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("version", String(64), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("opened", BigInteger, nullable=False),
    Column("closed", BigInteger, nullable=False),
)

_DAMAGED: Final = "damaged: "
_FIRST_PAUSE, _LONGEST_PAUSE = 10_000_000, 3_600_000_000


class Superseded(StoreError):
    """Another detector has judged these positions meanwhile; nothing of this was kept."""


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
    """Positions [first, last) of a lane that one rule (`EVERY_RULE`: all) has still to see, and why.

    Open since `at`; tried `attempts` times, the last time ending with `error`; not tried again before `due` (µs UTC).
    """

    rule_id: str
    lane: str
    first: int
    last: int
    reason: str
    attempts: int
    at: int
    due: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Closed:
    """A gap that is none any more: `FILLED` late, by the rule set `version`, or `LOST` for good. Times in µs UTC."""

    rule_id: str
    lane: str
    first: int
    last: int
    outcome: str
    reason: str
    version: str
    attempts: int
    opened: int
    closed: int


def pause(attempts: int) -> int:
    """Microseconds to wait after that many failures: 10 s, 20 s, 40 s … an hour."""
    return int(min(_FIRST_PAUSE << min(max(attempts, 1) - 1, 20), _LONGEST_PAUSE))


def damaged(path: str) -> str:
    """The reason of what is not seen because the file at `path` is in quarantine."""
    return _DAMAGED + path


class Ledger:
    """The detectors' book-keeping in the state database. What writes takes the caller's open transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        """Where it is kept."""
        return self._database

    # ---- how far everything is

    def positions(self) -> dict[Lane, int]:
        """How far every event has been evaluated, per lane."""
        with self._database.read() as c:
            found = c.execute(select(CURSORS.c.lane, CURSORS.c.sequence).where(CURSORS.c.consumer == CONSUMER)).all()
        return {Lane(lane): int(at) for lane, at in found}

    def judged(self) -> dict[Lane, list[Range]]:
        """What was judged of each lane, in order: up to its cursor, and what other detectors have judged beyond."""
        with self._database.read() as c:
            found = c.execute(select(CURSORS.c.lane, literal(0), CURSORS.c.sequence).where(CURSORS.c.consumer == CONSUMER)
                              .union_all(select(AHEAD.c.lane, AHEAD.c.first, AHEAD.c.last))).all()
        return {lane: sorted((int(first), int(last)) for name, first, last in found if name == lane.value) for lane in Lane}

    def advance(self, connection: Connection, version: str, lane: Lane, first: int, last: int, now: int, *, shared: bool = False) -> None:
        """Note that [first, last) was evaluated by `version`, and move the cursor from `first` to `last`, and over what was judged ahead.

        Raises Superseded if the cursor does not stand at `first`; where detectors share a lane it may stand before it.
        """
        self.move(connection, lane, first, last, now, shared=shared)
        self.note_span(connection, version, lane, first, last, now)

    def move(self, connection: Connection, lane: Lane, first: int, last: int, now: int, *, shared: bool = False) -> None:
        """Move the cursor from `first` to `last` and on, as `advance` does. Raises Superseded as that does."""
        here = (CURSORS.c.consumer == CONSUMER, CURSORS.c.lane == lane.value)
        found = connection.execute(select(CURSORS.c.sequence).where(*here)).scalar()
        at, ahead = int(found or 0), [(row.first, row.last) for row in connection.execute(_ahead(lane)).all()]
        if at > first or (at < first and not shared) or minus([(first, last)], ahead) != [(first, last)]:
            raise Superseded(f"the detectors' cursor of the {lane} lane stands at {at}, not at {first}", remedy="it is judged from there")
        if at < first:
            connection.execute(insert(AHEAD).values(lane=lane.value, first=first, last=last))
            return
        for begin, end in ahead:
            if begin == last:
                connection.execute(delete(AHEAD).where(AHEAD.c.lane == lane.value, AHEAD.c.first == begin))
                last = end
        values = {"sequence": last, "updated": now}
        new = insert(CURSORS).values(consumer=CONSUMER, lane=lane.value, **values)
        connection.execute(new if found is None else update(CURSORS).where(*here).values(**values))

    def note_span(self, connection: Connection, version: str, lane: Lane, first: int, last: int, now: int) -> None:
        """Note that [first, last) was evaluated by `version`; neighbours of the same version become one."""
        mine = (SPANS.c.version == version, SPANS.c.lane == lane.value)
        after = connection.execute(select(SPANS).where(*mine, SPANS.c.first == last)).first()
        if after is not None:
            connection.execute(delete(SPANS).where(*mine, SPANS.c.first == last))
        end, began, until = (after.last, min(after.began, now), max(after.ended, now)) if after is not None else (last, now, now)
        before = connection.execute(select(SPANS).where(*mine, SPANS.c.last == first)).first()
        if before is None:
            connection.execute(insert(SPANS).values(version=version, lane=lane.value, first=first, last=end, began=began, ended=until))
        else:
            connection.execute(update(SPANS).where(*mine, SPANS.c.first == before.first).values(
                last=end, began=min(before.began, began), ended=max(before.ended, until)))

    def spans(self, versions: Iterable[str] | None = None, limit: int = 1000) -> list[Span]:
        """What was seen by which rule set (of `versions`, if given), newest first."""
        query = select(SPANS).order_by(SPANS.c.ended.desc(), SPANS.c.first.desc()).limit(limit)
        if versions is not None:
            query = query.where(SPANS.c.version.in_(list(versions)))
        with self._database.read() as c:
            return [Span(*row) for row in c.execute(query).all()]

    # ---- gaps

    def note_gaps(self, connection: Connection, gaps: Sequence[Gap]) -> None:
        """Write down what was not evaluated; one that continues an untried gap of its rule and reason joins it."""
        for gap in gaps:
            mine = (GAPS.c.rule_id == gap.rule_id, GAPS.c.lane == gap.lane)
            fresh = (*mine, GAPS.c.reason == gap.reason, GAPS.c.attempts == gap.attempts, GAPS.c.error == gap.error)
            known = connection.execute(select(GAPS).where(*mine, GAPS.c.first < gap.last, GAPS.c.last > gap.first)).all()
            for first, last in minus([(gap.first, gap.last)], [(row.first, row.last) for row in known]):
                after = connection.execute(select(GAPS).where(*fresh, GAPS.c.first == last)).first()
                if after is not None:
                    connection.execute(delete(GAPS).where(*mine, GAPS.c.first == last))
                end, at = (after.last, min(after.at, gap.at)) if after is not None else (last, gap.at)
                joined = connection.execute(update(GAPS).where(*fresh, GAPS.c.last == first).values(last=end))
                if joined.rowcount == 0:
                    _put(connection, replace(gap, first=first, last=end, at=at))

    def gaps(self, rule_id: str = "", limit: int = 1000) -> list[Gap]:
        """What has still to be seen (by one rule, if named), oldest first."""
        query = select(GAPS).order_by(GAPS.c.at, GAPS.c.first, GAPS.c.rule_id).limit(limit)
        if rule_id:
            query = query.where(GAPS.c.rule_id == rule_id)
        with self._database.read() as c:
            return [Gap(*row) for row in c.execute(query).all()]

    def due(self, now: int, limit: int = 10_000) -> list[Gap]:
        """Gaps that may be tried now, oldest first."""
        query = select(GAPS).where(GAPS.c.due <= now).order_by(GAPS.c.at, GAPS.c.first, GAPS.c.rule_id).limit(limit)
        with self._database.read() as c:
            return [Gap(*row) for row in c.execute(query).all()]

    def waiting(self) -> dict[str, tuple[int, int]]:
        """Rule -> (how many gaps, open since when in µs) of every rule that has any."""
        query = select(GAPS.c.rule_id, func.count(), func.min(GAPS.c.at)).group_by(GAPS.c.rule_id)
        with self._database.read() as c:
            return {str(rule): (int(count), int(at)) for rule, count, at in c.execute(query).all()}

    def fill(self, connection: Connection, rule_id: str, lane: str, first: int, last: int, version: str, now: int) -> None:
        """Note that a rule has now seen [first, last), with the rule set `version`: what gaps it had there are closed."""
        for gap in _carve(connection, rule_id, lane, first, last):
            _close(connection, gap, FILLED, gap.reason, version, now)

    def fail(self, connection: Connection, rule_id: str, lane: str, first: int, last: int, error: str, now: int) -> None:
        """Note that filling [first, last) failed: it stands apart from the rest and waits longer each time."""
        for gap in _carve(connection, rule_id, lane, first, last):
            _put(connection, replace(gap, attempts=gap.attempts + 1, error=error, due=now + pause(gap.attempts + 1)))

    def lose(self, connection: Connection, lane: str, first: int, last: int, reason: str, now: int, rule_id: str = "",
             keep: bool = False) -> int:
        """Note that [first, last) is gone for every rule (or one) with a gap there; returns how many gaps that was.

        `keep` leaves the gaps open: other files may still hold some of these positions.
        """
        query = select(GAPS).where(GAPS.c.lane == lane, GAPS.c.first < last, GAPS.c.last > first)
        if rule_id:
            query = query.where(GAPS.c.rule_id == rule_id)
        found = [Gap(*row) for row in connection.execute(query).all()]
        for gap in found:
            low, high = max(first, gap.first), min(last, gap.last)
            pieces = [replace(gap, first=low, last=high)] if keep else _carve(connection, gap.rule_id, lane, low, high)
            for piece in pieces:
                _close(connection, piece, LOST, reason, "", now)
        return len(found)

    def gone(self, connection: Connection, rule_id: str, lane: str, first: int, last: int, reason: str, now: int) -> None:
        """Close the gap of a rule over [first, last), since there is nothing left to see. What is recorded as lost already is not again."""
        of = select(CLOSED.c.first, CLOSED.c.last).where(CLOSED.c.rule_id == rule_id, CLOSED.c.lane == lane, CLOSED.c.outcome == LOST)
        for gap in _carve(connection, rule_id, lane, first, last):
            known = connection.execute(of.where(CLOSED.c.first < gap.last, CLOSED.c.last > gap.first)).all()
            for low, high in minus([(gap.first, gap.last)], [(row.first, row.last) for row in known]):
                _close(connection, replace(gap, first=low, last=high), LOST, reason, "", now)

    def reopen(self, standing: Collection[str], now: int) -> None:
        """What was lost with a damaged file that is among the files `standing` again (paths) is a gap once more."""
        query = select(CLOSED).where(CLOSED.c.outcome == LOST, CLOSED.c.reason.startswith(_DAMAGED))
        with self._database.read() as c:
            found = [row for row in c.execute(query).all() if row.reason.removeprefix(_DAMAGED) in standing]
        if found:
            with self._database.write() as connection:
                for row in found:
                    connection.execute(delete(CLOSED).where(CLOSED.c.id == row.id))
                    reason = f"restored: {row.reason.removeprefix(_DAMAGED)}"
                    self.note_gaps(connection, [Gap(row.rule_id, row.lane, row.first, row.last, reason, 0, now)])

    def expiring(self, now: Callable[[], int]) -> Callable[[Sequence[SegmentRow]], None]:
        """What retention is to call before it removes files: rules that had still to see them never will, and that is noted."""
        def note(gone: Sequence[SegmentRow]) -> None:
            if self.waiting():
                with self._database.write() as connection:
                    for file in gone:
                        self.lose(connection, file.lane, file.first, file.last, "retention removed events before the rule saw them",
                                  now(), keep=True)
        return note

    def hurry(self, connection: Connection, rule_id: str = "") -> None:
        """Let gaps (of one rule, if named) be tried now: their rule works again, or has changed."""
        query = update(GAPS).where(GAPS.c.due > 0).values(due=0)
        connection.execute(query.where(GAPS.c.rule_id == rule_id) if rule_id else query)

    def withdraw(self, connection: Connection, rule_ids: Iterable[str], reason: str, now: int) -> None:
        """Close every gap of rules that are no more: nothing will look at these positions with them."""
        for rule_id in rule_ids:
            for row in connection.execute(select(GAPS).where(GAPS.c.rule_id == rule_id)).all():
                _close(connection, Gap(*row), LOST, reason, "", now)
            connection.execute(delete(GAPS).where(GAPS.c.rule_id == rule_id))

    def forget(self, connection: Connection, rule_ids: Iterable[str]) -> None:
        """Keep no gap of these rules, open or closed: what they were to see is of no concern to anybody."""
        for rule_id in rule_ids:
            connection.execute(delete(GAPS).where(GAPS.c.rule_id == rule_id))
            connection.execute(delete(CLOSED).where(CLOSED.c.rule_id == rule_id))

    def closed(self, rule_id: str = "", limit: int = 1000) -> list[Closed]:
        """Gaps that were filled or lost (of one rule and of all together, if named), the latest first."""
        query = select(*[c for c in CLOSED.c if c.name != "id"]).order_by(CLOSED.c.id.desc()).limit(limit)
        if rule_id:
            query = query.where(CLOSED.c.rule_id.in_([rule_id, EVERY_RULE]))
        with self._database.read() as c:
            return [Closed(*row) for row in c.execute(query).all()]


def _ahead(lane: Lane) -> Select[tuple[int, int]]:
    return select(AHEAD.c.first, AHEAD.c.last).where(AHEAD.c.lane == lane.value).order_by(AHEAD.c.first)


def _put(connection: Connection, gap: Gap) -> None:
    connection.execute(insert(GAPS).values(**asdict(gap)))


def _carve(connection: Connection, rule_id: str, lane: str, first: int, last: int) -> list[Gap]:
    """Take [first, last) out of the gaps of a rule; returns what was taken."""
    mine = (GAPS.c.rule_id == rule_id, GAPS.c.lane == lane)
    found = [Gap(*row) for row in connection.execute(select(GAPS).where(*mine, GAPS.c.first < last, GAPS.c.last > first)).all()]
    taken: list[Gap] = []
    for gap in found:
        connection.execute(delete(GAPS).where(*mine, GAPS.c.first == gap.first))
        for low, high in minus([(gap.first, gap.last)], [(first, last)]):
            _put(connection, replace(gap, first=low, last=high))
        taken.append(replace(gap, first=max(gap.first, first), last=min(gap.last, last)))
    return taken


def _close(connection: Connection, gap: Gap, outcome: str, reason: str, version: str, now: int) -> None:
    same = (CLOSED.c.rule_id == gap.rule_id, CLOSED.c.lane == gap.lane, CLOSED.c.outcome == outcome, CLOSED.c.reason == reason,
            CLOSED.c.version == version)
    if connection.execute(select(CLOSED.c.id).where(*same, CLOSED.c.first <= gap.first, CLOSED.c.last >= gap.last)).first():
        return
    joined = connection.execute(update(CLOSED).where(*same, CLOSED.c.last == gap.first).values(
        last=gap.last, closed=now, attempts=gap.attempts))
    if joined.rowcount == 0:
        connection.execute(insert(CLOSED).values(
            rule_id=gap.rule_id, lane=gap.lane, first=gap.first, last=gap.last, outcome=outcome, reason=reason, version=version,
            attempts=gap.attempts, opened=gap.at, closed=now))
