"""The event store of one machine: DuckDB in memory over the manifest's cuts and segments.

Answers as `soc.store.reference` says, bounded in time and memory. Rows are found first, by the columns that the search
names; only those of the page are read whole.
"""
from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from soc.ecs import kind_of
from soc.errors import NotFoundError, QueryError, StoreError
from soc.event import Event, Scope, parse_event_id
from soc.store.columns import KV, field_of
from soc.store.damage import damage
from soc.store.embedded_engine import Engine, FileFault, Session, Watchdog
from soc.store.embedded_files import Indexes, Part, Source, costly, overlaps, portions, select, slices, sources
from soc.store.embedded_rows import Piece, Rows
from soc.store.embedded_sql import statement
from soc.store.eventstore import Bucket, Hits, TimeRange, TopValue
from soc.store.page import MAX_PAGE, Key, bucket_width, date_text, filled, identified
from soc.store.query import parse
from soc.store.query_sql import needed
from soc.store.query_tree import EVERYTHING, Clause, Identity
from soc.store.segment import SegmentRow

__all__ = ["EmbeddedStore", "Manifest"]

_log = logging.getLogger(__name__)

IDLE = 300.0
"""Seconds without a question after which DuckDB is let go."""

_BASE = frozenset({"@timestamp", "organization.id", "host.name", "soc.stream_hash", "soc.n", "soc.sub"})
_FOOTER_CELLS = 400_000
_FIRST = 500_000
_SLICE = 4_000
_ALL = 4_000_000_000
_VALUES = 2_000_000
_AT_ONCE = 3
_HOUR = 3_600_000_000
_ALWAYS = TimeRange()

_T = TypeVar("_T")


class Manifest(Protocol):
    """What the store needs of `soc.store.manifest.Manifest`."""

    def snapshot(self) -> Any: ...


class _Moved(Exception):
    """A file went away under the question: it is asked again of the new manifest."""


@dataclass(slots=True)
class _Question:
    """One question on its way: where it runs, what it may see, and what it found broken."""

    session: Session
    engine: Engine
    segments: tuple[SegmentRow, ...]
    root: Clause
    scope: Scope
    damaged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    key: Key
    part: Part
    row: int


class EmbeddedStore:
    """Implements `soc.store.eventstore.EventStore`; safe for several threads. `timeout` is seconds a question."""

    def __init__(self, data: Path, manifest: Manifest, *, memory_limit: str = "256MB", threads: int = 2, timeout: float = 10.0,
                 clock: Callable[[], float] = time.time) -> None:
        self._data = data.resolve()
        self._manifest = manifest
        self._memory_limit, self._threads, self._timeout, self._clock = memory_limit, threads, timeout, clock
        self._indexes, self._rows = Indexes(self._data), Rows(self._data, threads)
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._engine: Engine | None = None
        self._watchdog = Watchdog()
        self._used = 0.0
        self._idle: threading.Timer | None = None
        self._bad: dict[str, str] = {}
        self._fields: tuple[int, dict[Scope, tuple[str, ...]]] = (-1, {})

    # ---- the questions

    def search(self, query: str, scope: Scope, within: TimeRange, limit: int = 100, after: str | None = None,
               fields: Collection[str] = ()) -> Hits:
        """One page, newest first; damaged files are left out and named. Raises QueryError, StoreError."""
        if not 1 <= limit <= MAX_PAGE:
            raise QueryError(f"a page holds 1 to {MAX_PAGE:,} events")
        key = Key.read(after) if after else None
        root = parse(query).root

        def ask(question: _Question) -> Hits:
            found = self._page(question, within, limit + 1, key)
            events = self._read(question, found[:limit], frozenset(fields))
            following = found[limit - 1].key.cursor() if len(found) > limit else None
            return Hits(tuple(events), following, damaged=tuple(sorted(question.damaged)))

        return self._ask(root, scope, ask)

    def count(self, query: str, scope: Scope, within: TimeRange) -> int:
        """How many events. Raises QueryError, StoreError."""
        def ask(question: _Question) -> int:
            total = 0
            parts = self._parts(question, within)
            if question.root == EVERYTHING and scope.agencies is None and scope.hosts is None:
                inside = {p.segment.id: p.segment for p in parts if _covers(within, p.segment)}
                total = sum(segment.rows for segment in inside.values())
                parts = [p for p in parts if not _covers(within, p.segment)]
            for rows in self._aggregate(question, parts, within, "count(*)", "", frozenset()):
                total += sum(row[0] for row in rows)
            return total

        return self._ask(parse(query).root, scope, ask)

    def histogram(self, query: str, scope: Scope, within: TimeRange, buckets: int = 60) -> Sequence[Bucket]:
        """Counts over time; an open end is the first or last event found. Raises QueryError, StoreError."""
        def ask(question: _Question) -> list[Bucket]:
            start, end = within.start, within.end
            parts = self._parts(question, within)
            if start is None or end is None:
                spans = [row for rows in self._aggregate(question, parts, within, "epoch_us(min({at})), epoch_us(max({at}))", "", frozenset())
                         for row in rows if row[0] is not None]
                if not spans:
                    return []
                start = min(row[0] for row in spans) if start is None else start
                end = max(row[1] for row in spans) + 1 if end is None else end
            if end <= start:
                return []
            width = bucket_width(start, end, buckets)
            counts: Counter[int] = Counter()
            for rows in self._aggregate(question, parts, TimeRange(start, end), f"(epoch_us({{at}}) - ({start})) // {width} AS b, count(*)",
                                        "GROUP BY b", frozenset()):
                for bucket, count in rows:
                    counts[bucket] += count
            return filled(start, end, width, counts)

        return self._ask(parse(query).root, scope, ask)

    def top(self, query: str, scope: Scope, within: TimeRange, field: str, size: int = 10) -> Sequence[TopValue]:
        """The most frequent values of a field, and in how many events. Raises QueryError, StoreError."""
        def ask(question: _Question) -> list[TopValue]:
            counts: Counter[str] = Counter()
            for rows in self._aggregate(question, self._parts(question, within, field), within, "{values} AS v, count(*)", "GROUP BY v",
                                        frozenset({field, field + "[]", KV}), field):
                for value, count in rows:
                    if value is not None:
                        counts[value] += count
                if len(counts) > _VALUES:
                    raise StoreError(f"{field} has more than {_VALUES:,} different values here", remedy="narrow the time range or the search")
            best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:size]
            date = kind_of(field) == "date"
            return [TopValue(date_text(value) if date else value, count) for value, count in best]

        return self._ask(parse(query).root, scope, ask)

    def fields(self, scope: Scope) -> Sequence[str]:
        """The fields of the files that hold any event within the scope. Raises StoreError."""
        def ask(question: _Question) -> tuple[str, ...]:
            names: set[str] = set()
            for group in self._groups(question, self._parts(question, _ALWAYS)):
                if scope.agencies is None and scope.hosts is None:
                    seen = group
                else:
                    seen = [part for source, rows in self._ran(question, group, _ALWAYS, "DISTINCT {file}", "", frozenset())
                            for part in [source.parts[row[0]] for row in rows]]
                names.update(field_of(name) for part in seen for name in part.segment.columns if name != KV)
                loose = [replace(part, kv=True) for part in seen if KV in part.segment.columns]
                if loose:
                    keys = "DISTINCT unnest(list_transform({kv}, lambda entry: entry.key))"
                    for _, rows in self._ran(question, loose, _ALWAYS, keys, "", frozenset({KV})):
                        names.update(row[0] for row in rows)
            return tuple(sorted(names))

        generation = self._snapshot().generation
        if self._fields[0] != generation:
            self._fields = (generation, {})
        known = self._fields[1].get(scope)
        if known is None:
            known = self._fields[1][scope] = self._ask(EVERYTHING, scope, ask)
        return known

    def get(self, event_id: str, scope: Scope) -> Event:
        """One event, whole. Raises NotFoundError, StoreError."""
        try:
            identity = Identity(*parse_event_id(event_id))
        except ValueError:
            raise NotFoundError(f"no event {event_id[:80]!r} here", remedy="an event id looks like 018f2b6c5d7e-0011223344556677-2a") from None
        read_at = identity.read_ms * 1000

        def ask(question: _Question) -> Event | None:
            parts = self._parts(question, _ALWAYS)
            near = [p for p in parts if p.segment.min_ingested - _HOUR <= read_at <= p.segment.max_ingested + _HOUR]
            for some in (near, [p for p in parts if p not in near]):
                found = self._page(question, _ALWAYS, 1, None, some)
                if found:
                    return self._read(question, found)[0]
            return None

        event = self._ask(identity, scope, ask)
        if event is None:
            raise NotFoundError(f"no event {event_id[:80]!r} here", remedy="it may have expired; soc events search finds what is kept")
        return event

    def nearest(self, query: str, scope: Scope, start: int, end: int) -> int | None:
        """The time (µs) of the hit outside [start, end) that lies closest to it; None if there is none. Raises as search."""
        def ask(question: _Question) -> int | None:
            earlier = self._outermost(question, TimeRange(None, start), newest=True)
            later = self._outermost(question, TimeRange(end, None), newest=False)
            both = [at for at in (earlier, later) if at is not None]
            return min(both, key=lambda at: (start - at if at < start else at - end + 1, at), default=None)

        return self._ask(parse(query).root, scope, ask)

    def close(self) -> None:
        """Let DuckDB go; the next question starts it again."""
        self._rows.close()
        with self._lock:
            self._drop()
            if self._idle is not None:
                self._idle.cancel()
                self._idle = None

    # ---- how they are asked

    def _ask(self, root: Clause, scope: Scope, ask: Callable[[_Question], _T]) -> _T:
        """Run a question on the store as it is now; once more, on the new one, when its files went away meanwhile."""
        if not self._slots.acquire(timeout=self._timeout):
            raise StoreError("too many searches are running", remedy="try again in a moment")
        try:
            damaged: dict[str, str] = {}
            for _ in range(5):
                snapshot = self._snapshot()
                segments = tuple(s for s in snapshot.segments if s.id not in self._bad)
                damaged.update((s.path, self._bad[s.id]) for s in snapshot.segments if s.id in self._bad)
                engine = self._ready(segments)
                with engine.session(self._timeout) as session:
                    try:
                        return ask(_Question(session, engine, segments, root, scope, damaged))
                    except _Moved:
                        continue
            raise StoreError("the store's files keep changing under the search", remedy="try again")
        finally:
            self._slots.release()

    def _snapshot(self) -> Any:
        with self._lock:
            return self._manifest.snapshot()

    def _ready(self, segments: Sequence[SegmentRow]) -> Engine:
        """The engine of exactly these segments; cuts come as tables, so only compaction and retention change it."""
        paths = frozenset(str(self._data / s.path) for s in segments if s.kind != "cut")
        with self._lock:
            self._used = time.monotonic()
            if self._engine is None or self._engine.paths != paths:
                self._drop()
                self._engine = Engine(paths, self._watchdog, memory_limit=self._memory_limit, threads=self._threads)
            if self._idle is None:
                self._watch(IDLE)
            return self._engine

    def _watch(self, seconds: float) -> None:
        self._idle = threading.Timer(seconds, self._rest)
        self._idle.daemon = True
        self._idle.start()

    def _rest(self) -> None:
        with self._lock:
            left = self._used + IDLE - time.monotonic()
            self._idle = None
            if left > 1:
                self._watch(left)
            else:
                self._drop()
                self._rows.close()

    def _drop(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _parts(self, question: _Question, within: TimeRange, also: str = "") -> list[Part]:
        if question.scope.agencies == frozenset() or question.scope.hosts == frozenset():
            return []
        return select(question.segments, question.root, within, self._indexes, frozenset({also}) if also else frozenset())

    def _page(self, question: _Question, within: TimeRange, limit: int, after: Key | None, parts: Sequence[Part] | None = None) -> list[_Row]:
        """The first `limit` rows behind `after`, newest files first, until no file left can hold a newer one."""
        if after is not None:
            within = TimeRange(within.start, after.at + 1 if within.end is None else min(within.end, after.at + 1))
        waiting = sorted(self._parts(question, within) if parts is None else parts, key=lambda p: -p.segment.max_time)
        if costly(question.root):
            found: list[_Row] = []
            for slice_ in slices(waiting, within, _SLICE):
                inside = [p for p in waiting if overlaps(p.segment, slice_)]
                found += self._newest(question, slice_, limit - len(found), after, inside)
                if len(found) >= limit:
                    break
            return found
        return self._newest(question, within, limit, after, waiting)

    def _newest(self, question: _Question, within: TimeRange, limit: int, after: Key | None, waiting: Sequence[Part]) -> list[_Row]:
        """The same for one stretch of time; `waiting` by falling time."""
        found: list[_Row] = []
        done = 0
        for portion in portions(waiting, _FIRST):
            what = "epoch_us({at}), {hash}, {n}, {sub}, {file}, {row}"
            order = f"ORDER BY {{at}} DESC, {{hash}}, {{n}} DESC, {{sub}} DESC LIMIT {limit}"
            for source, rows in self._ran(question, portion, within, what, order, frozenset(), after):
                found += [_Row(Key.of(at, digest, n, sub), source.parts[file], row) for at, digest, n, sub, file, row in rows]
            found = sorted(found, key=lambda row: row.key)[:limit]
            done += len(portion)
            if len(found) == limit and done < len(waiting) and waiting[done].segment.max_time < found[-1].key.at:
                break
        return found

    def _outermost(self, question: _Question, within: TimeRange, *, newest: bool) -> int | None:
        parts = sorted(self._parts(question, within), key=lambda p: -p.segment.max_time if newest else p.segment.min_time)
        best: int | None = None
        for portion in portions(parts, _FIRST):
            edge = portion[0].segment
            if best is not None and (edge.max_time <= best if newest else edge.min_time >= best):
                break
            for _, rows in self._ran(question, portion, within, f"epoch_us({'max' if newest else 'min'}({{at}}))", "", frozenset()):
                for (at,) in rows:
                    if at is not None and (best is None or (at > best if newest else at < best)):
                        best = at
        return best

    def _read(self, question: _Question, found: Sequence[_Row], fields: frozenset[str] = frozenset()) -> list[Event]:
        """The events of found rows, in their order; whole, or only some fields of them."""
        wanted: dict[str, tuple[Part, list[int]]] = {}
        for row in found:
            wanted.setdefault(row.part.segment.id, (row.part, []))[1].append(row.row)
        pieces: list[Piece] = []
        for part, rows in wanted.values():
            with self._faults(question, [part]):
                pieces += self._rows.pieces(part.segment, sorted(rows))
        events: dict[tuple[str, int], Event] = {}
        for piece, read in self._rows.all(pieces, fields):
            question.session.check()
            with self._faults(question, [wanted[piece.segment.id][0]]):
                events.update(((piece.segment.id, row), identified(event)) for row, event in zip(piece.rows, read(), strict=True))
        return [event for row in found if (event := events.get((row.part.segment.id, row.row))) is not None
                and row.part.segment.path not in question.damaged]

    def _aggregate(self, question: _Question, parts: Sequence[Part], within: TimeRange, what: str, tail: str, also: frozenset[str],
                   values_of: str = "") -> Iterator[list[tuple[Any, ...]]]:
        for portion in portions(parts, _ALL):
            for _, rows in self._ran(question, portion, within, what, tail, also, None, values_of):
                yield rows

    def _groups(self, question: _Question, parts: Sequence[Part]) -> Iterator[list[Part]]:
        for portion in portions(parts, _ALL):
            question.session.check()
            yield portion

    def _ran(self, question: _Question, portion: Sequence[Part], within: TimeRange, what: str, tail: str, also: frozenset[str],
             after: Key | None = None, values_of: str = "") -> Iterator[tuple[Source, list[tuple[Any, ...]]]]:
        """SELECT `what` ... `tail` of each source of a portion; a damaged file is left out and the rest read again."""
        wanted = _BASE | needed(question.root) | also
        pending = [p for p in portion if p.segment.path not in question.damaged]
        while pending:
            answers: list[tuple[Source, list[tuple[Any, ...]]]] = []
            with self._faults(question, pending) as fault:
                for source in sources(pending, frozenset(wanted), self._data):
                    sql, values = statement(source, question.root, question.scope, within, what, tail, after, values_of)
                    if sql:
                        answers.append((source, question.session.rows(sql, values, source.tables)))
                    self._remember(question.engine, source)
            if not fault:
                yield from answers
                return
            pending = [p for p in pending if p.segment.path not in question.damaged]

    def _remember(self, engine: Engine, source: Source) -> None:
        """DuckDB keeps footers for the next search; beyond a bound it starts afresh."""
        cells = 0
        for part in source.parts:
            if part.segment.kind != "cut":
                cells = engine.touch(part.segment.path, len(part.segment.columns) * (1 + part.segment.rows // 16_384))
        if cells > _FOOTER_CELLS:
            with self._lock:
                if self._engine is engine:
                    self._drop()

    @contextmanager
    def _faults(self, question: _Question, parts: Sequence[Part]) -> Iterator[list[str]]:
        """Finds out which of `parts` made a read fail: yields a list that then holds their paths.

        Raises _Moved if one is gone and the manifest says so too, StoreError if no file is to blame.
        """
        blamed: list[str] = []
        try:
            yield blamed
        except (FileFault, OSError, IndexError, pa.ArrowException) as fault:
            broken = [(part.segment, reason) for part in parts if (reason := damage(part.segment, self._data))]
            standing = {segment.id for segment in self._snapshot().segments}
            if any(segment.id not in standing for segment, _ in broken):
                raise _Moved from fault
            if not broken:
                raise StoreError(f"the search failed: {fault}", remedy="soc store verify looks for damage") from fault
            for segment, reason in broken:
                _log.warning("damaged file left out of a search", extra={"path": segment.path, "reason": reason})
                blamed.append(segment.path)
                question.damaged[segment.path] = reason
                self._quarantine(segment, reason)

    def _quarantine(self, segment: SegmentRow, reason: str) -> None:
        self._bad[segment.id] = reason
        quarantine = getattr(self._manifest, "quarantine", None)
        if quarantine is not None and segment.sha256:
            with self._lock:
                try:
                    quarantine(segment.id, reason, int(self._clock() * 1_000_000))
                except StoreError as fault:
                    _log.warning("damaged file could not be quarantined", extra={"path": segment.path, "fault": str(fault)})


def _covers(within: TimeRange, segment: SegmentRow) -> bool:
    return (within.start is None or segment.min_time >= within.start) and (within.end is None or segment.max_time < within.end)
