"""The manifest: which files are the event store, as an append-only hash chain of what happened to them.

The normaliser adds cuts and replaces them by segments; retention and undone imports leave tombstones.
Everything that reads events asks `snapshot()`.
"""
from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import orjson

from soc.errors import DamagedError
from soc.event import Lane
from soc.store.node import NodeDatabase
from soc.store.segment import SegmentRow

__all__ = ["Cut", "Dead", "Head", "ImportSeen", "Loss", "Manifest", "Snapshot"]

_COLUMNS = ("id", "kind", "lane", "first", "last", "family", "retention", "origin", "import_id", "day", "path", "rows", "bytes",
            "sha256", "event_sum", "min_time", "max_time", "min_ingested", "max_ingested", "columns", "tokens")
assert tuple(f.name for f in fields(SegmentRow)) == _COLUMNS
_SELECT = ", ".join(_COLUMNS)
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files that were the store at one generation. `tiers` holds each segment's compaction tier."""

    generation: int
    segments: tuple[SegmentRow, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain, to be printed and checked from outside."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead letter about to be kept (raw already compressed); see `soc.store.deadletters`."""

    sequence: int
    source: str
    agency: str
    origin: str
    import_id: str
    stream: str
    n: int
    reason: str
    detail: str
    context: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Loss:
    """Sequences [first, last) that are lost, where, and why."""

    first: int
    last: int
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportSeen:
    """What the normaliser has seen of an import: counts, event time span (µs) and its last sequence (exclusive)."""

    import_id: str
    lane: str
    records: int
    events: int
    dead: int
    min_time: int | None
    max_time: int | None
    last: int


@dataclass(frozen=True, slots=True)
class Cut:
    """All of positions [first, last) of a lane, about to be committed."""

    lane: Lane
    first: int
    last: int
    segments: Sequence[SegmentRow]
    dead: Sequence[Dead]
    losses: Sequence[Loss]
    imports: Sequence[ImportSeen]


class Manifest:
    """One process's view of the manifest. Threads may share it."""

    def __init__(self, node: NodeDatabase) -> None:
        self.node = node
        self._known: dict[str, SegmentRow] = {}
        self._generation = -1
        self._cached = Snapshot(-1, ())

    @classmethod
    def open(cls, data: Path) -> Manifest:
        """The manifest of a data folder, made if it is new. Raises StoreError."""
        return cls(NodeDatabase(data / "node.db"))

    def close(self) -> None:
        """Close the database."""
        self.node.close()

    # ---- reading

    def generation(self) -> int:
        """The chain's length: it grows with every change."""
        return int(self.node.connection.execute("SELECT COALESCE(MAX(seq), 0) FROM chain").fetchone()[0])

    def snapshot(self) -> Snapshot:
        """The files that are the store now. Cheap when little changed since the last call."""
        with self.node.lock:
            return self._refreshed()

    def _refreshed(self) -> Snapshot:
        generation = self.generation()
        if generation == self._generation:
            return self._cached
        connection = self.node.connection
        connection.execute("BEGIN")
        try:
            generation = self.generation()
            for (gone,) in connection.execute("SELECT id FROM segments WHERE removed > ?", (self._generation,)):
                self._known.pop(gone, None)
            for row in connection.execute(f"SELECT {_SELECT} FROM segments WHERE removed IS NULL AND added > ?", (self._generation,)):
                self._known[row[0]] = _segment(row)
        finally:
            connection.execute("COMMIT")
        self._generation = generation
        self._cached = Snapshot(generation, tuple(self._known.values()))
        return self._cached

    def cursor(self, lane: Lane) -> int:
        """How far the normaliser has got in a lane."""
        found = self.node.rows("SELECT sequence FROM positions WHERE consumer = 'normaliser' AND lane = ?", (lane.value,))
        return int(found[0][0]) if found else 0  # type: ignore[call-overload]

    def next_cut(self, lane: Lane, after: int) -> tuple[int, int] | None:
        """(first, last) of the cut of `lane` that begins at or behind position `after`, in order; None if none yet."""
        found = self.node.rows("SELECT first, last FROM cuts WHERE lane = ? AND last > ? ORDER BY first LIMIT 1", (lane.value, after))
        return (int(found[0][0]), int(found[0][1])) if found else None  # type: ignore[call-overload]

    def waiting_since(self, lane: Lane, after: int) -> int | None:
        """When (µs since 1970 UTC) the oldest cut of `lane` that reaches beyond position `after` was committed; None if none does."""
        found = self.node.rows("SELECT MIN(at) FROM cuts WHERE lane = ? AND last > ?", (lane.value, after))[0][0]
        return None if found is None else int(found)  # type: ignore[call-overload]

    def cut_segments(self, lane: Lane, first: int, last: int) -> list[SegmentRow]:
        """The files of the cut [first, last) that still stand as cuts."""
        rows = self.node.rows(
            f"SELECT {_SELECT} FROM segments WHERE removed IS NULL AND kind = 'cut' AND lane = ? AND first = ? AND last = ? ORDER BY id",
            (lane.value, first, last),
        )
        return [_segment(row) for row in rows]

    def covering(self, lane: Lane, first: int, last: int) -> list[SegmentRow]:
        """The standing files, cuts and compacted ones, that may hold events of positions [first, last), in their order."""
        select = f"SELECT {_SELECT} FROM segments WHERE removed IS NULL AND kind = ? AND lane = ? AND first < ? AND last > ?"
        found = self.node.rows(
            f"{select} AND first >= COALESCE((SELECT MAX(first) FROM segments WHERE removed IS NULL AND kind = 'cut' AND lane = ?"
            " AND first <= ?), 0)", ("cut", lane.value, last, first, lane.value, first))
        found += self.node.rows(select, ("segment", lane.value, last, first))
        return sorted(map(_segment, found), key=lambda s: (s.first, s.id))

    def quarantined_within(self, lane: Lane, first: int, last: int) -> list[tuple[str, int, int]]:
        """(path, first, last) of files taken out as damaged that held events of positions [first, last); theirs are clipped to it."""
        found = self.node.rows(
            "SELECT path, MAX(first, ?), MIN(last, ?) FROM segments WHERE removed IS NOT NULL AND why LIKE 'quarantined:%' AND lane = ?"
            " AND first < ? AND last > ? ORDER BY first, path", (first, last, lane.value, last, first))
        return [(str(path), int(low), int(high)) for path, low, high in found]  # type: ignore[call-overload]

    def head(self) -> Head:
        """The end of the chain."""
        found = self.node.rows("SELECT seq, hash FROM chain ORDER BY seq DESC LIMIT 1")
        return Head(int(found[0][0]), str(found[0][1])) if found else Head(0, GENESIS)  # type: ignore[call-overload]

    def undone(self) -> set[str]:
        """Imports that were undone."""
        return {str(row[0]) for row in self.node.rows("SELECT import_id FROM undone")}

    def import_seen(self, import_id: str) -> ImportSeen | None:
        """What has been normalised of an import so far."""
        found = self.node.rows(
            "SELECT import_id, lane, records, events, dead, min_time, max_time, last FROM imports_seen WHERE import_id = ?", (import_id,))
        return ImportSeen(*found[0]) if found else None  # type: ignore[arg-type]

    def letter_state(self, number: int) -> str:
        """The state of a dead letter: dead, replaying, replayed, discarded; "" if there is none."""
        found = self.node.rows("SELECT state FROM dead_letters WHERE id = ?", (number,))
        return str(found[0][0]) if found else ""

    def losses(self, limit: int = 1000) -> list[tuple[int, str, Loss]]:
        """(when, lane, loss) of everything known to be lost, newest first."""
        return [
            (int(at), str(lane), Loss(int(first), int(last), str(path), str(reason)))  # type: ignore[call-overload]
            for at, lane, first, last, path, reason in self.node.rows(
                "SELECT at, lane, first, last, path, reason FROM losses ORDER BY id DESC LIMIT ?", (limit,))
        ]

    # ---- writing

    def commit_cut(self, cut: Cut, now: int, replayed: Mapping[int, str] | None = None) -> set[str]:
        """Add a cut, its dead letters, its losses and the cursor in one transaction.

        `replayed` are the dead letters read again in this cut: number -> reason it is still dead, "" when it is an event now.
        Files of imports undone meanwhile are left out; returns their ids (the caller removes the files).
        Raises DamagedError if the cursor is not where the cut begins (another normaliser ran).
        """
        with self.node.write() as c:
            undone = {row[0] for row in c.execute("SELECT import_id FROM undone")}
            at = c.execute("SELECT sequence FROM positions WHERE consumer = 'normaliser' AND lane = ?", (cut.lane.value,)).fetchone()
            if (at[0] if at else 0) != cut.first:
                raise DamagedError(f"cut {cut.lane}/{cut.first} does not follow the cursor {at}", remedy="is a second normaliser running?")
            kept = [s for s in cut.segments if s.import_id not in undone]
            seq = self._link(c, now, "cut", {"lane": cut.lane.value, "first": cut.first, "last": cut.last,
                                             "files": [_named(s) for s in kept]})
            self._insert(c, kept, seq, 0)
            c.execute("INSERT OR REPLACE INTO positions VALUES ('normaliser', ?, ?)", (cut.lane.value, cut.last))
            c.execute("INSERT OR REPLACE INTO cuts VALUES (?, ?, ?, ?)", (cut.lane.value, cut.first, cut.last, now))
            c.executemany(
                "INSERT OR IGNORE INTO dead_letters (at, lane, sequence, source, agency, origin, import_id, stream, n, reason, detail,"
                " context, raw) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(now, cut.lane.value, *astuple(d)) for d in cut.dead if d.import_id not in undone])
            c.executemany("INSERT OR IGNORE INTO losses (at, lane, first, last, path, reason) VALUES (?, ?, ?, ?, ?, ?)",
                          [(now, cut.lane.value, x.first, x.last, x.path, x.reason) for x in cut.losses])
            for letter, reason in (replayed or {}).items():
                c.execute("UPDATE dead_letters SET state = ?, reason = CASE ? WHEN '' THEN reason ELSE ? END WHERE id = ?",
                          ("dead" if reason else "replayed", reason, reason, letter))
            for seen in cut.imports:
                if seen.import_id not in undone:
                    c.execute(
                        "INSERT INTO imports_seen VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (import_id) DO UPDATE SET"
                        " records = records + excluded.records, events = events + excluded.events, dead = dead + excluded.dead,"
                        " min_time = MIN(COALESCE(min_time, excluded.min_time), COALESCE(excluded.min_time, min_time)),"
                        " max_time = MAX(COALESCE(max_time, excluded.max_time), COALESCE(excluded.max_time, max_time)),"
                        " last = excluded.last", astuple(seen))
            return undone

    def replace(self, old: Sequence[SegmentRow], new: Sequence[SegmentRow], tier: int, now: int) -> bool:
        """Put `new` in the place of `old` (same rows, same event sum). False if one of `old` is gone meanwhile."""
        if sum(s.rows for s in old) != sum(s.rows for s in new) or _sum(old) != _sum(new):
            raise DamagedError("a compaction would change the events it holds; it is refused")
        with self.node.write() as c:
            marks = ",".join("?" * len(old))
            there = c.execute(f"SELECT COUNT(*) FROM segments WHERE removed IS NULL AND id IN ({marks})", [s.id for s in old]).fetchone()[0]
            if there != len(old):
                return False
            seq = self._link(c, now, "replace", {"old": [s.id for s in old], "files": [_named(s) for s in new]})
            self._remove(c, [s.id for s in old], seq, now, "compacted")
            self._insert(c, new, seq, tier)
        return True

    def remove(self, segments: Iterable[SegmentRow], reason: str, now: int) -> None:
        """Tombstone segments (retention, quarantine) with a reason. The sweeper unlinks their files later."""
        ids = [s.id for s in segments]
        if ids:
            with self.node.write() as c:
                seq = self._link(c, now, "remove", {"old": ids, "reason": reason})
                self._remove(c, ids, seq, now, reason)

    def quarantine(self, segment_id: str, reason: str, now: int) -> None:
        """Take a damaged file out of the store, named and with its reason; its file is kept."""
        with self.node.write() as c:
            seq = self._link(c, now, "quarantine", {"old": [segment_id], "reason": reason})
            self._remove(c, [segment_id], seq, now, f"quarantined: {reason}")

    def undo_import(self, import_id: str, actor: str, now: int) -> int:
        """Tombstone an import: its segments, dead letters and received ranges. Returns events removed."""
        with self.node.write() as c:
            found = c.execute("SELECT id, rows FROM segments WHERE removed IS NULL AND import_id = ?", (import_id,)).fetchall()
            seq = self._link(c, now, "undo", {"import": import_id, "old": [row[0] for row in found], "actor": actor})
            self._remove(c, [row[0] for row in found], seq, now, f"import {import_id} undone")
            c.execute("INSERT OR IGNORE INTO undone VALUES (?, ?, ?)", (import_id, now, actor))
            c.execute("DELETE FROM dead_letters WHERE import_id = ?", (import_id,))
            c.execute("DELETE FROM received WHERE import_id = ?", (import_id,))
            c.execute("DELETE FROM imports_seen WHERE import_id = ?", (import_id,))
            return sum(row[1] for row in found)

    def swept(self, before: int) -> list[tuple[str, str, str]]:
        """(id, path, tokens) of files removed before `before` (µs) whose rows may now be forgotten with `forget`."""
        return [(str(a), str(b), str(t)) for a, b, t in self.node.rows(
            "SELECT id, path, tokens FROM segments WHERE removed IS NOT NULL AND removed_at < ? AND why NOT LIKE 'quarantined:%'", (before,))]

    def forget(self, ids: Sequence[str], passed: dict[Lane, int]) -> None:
        """Drop the rows of unlinked files and of cuts that every consumer has passed (the chain keeps their story)."""
        with self.node.write() as c:
            c.executemany("DELETE FROM segments WHERE id = ? AND removed IS NOT NULL", [(i,) for i in ids])
            for lane, sequence in passed.items():
                c.execute("DELETE FROM cuts WHERE lane = ? AND last <= ?", (lane.value, sequence))

    def tiers(self) -> dict[str, int]:
        """Compaction tier of each standing segment (0: a cut)."""
        return {str(i): int(t) for i, t in self.node.rows("SELECT id, tier FROM segments WHERE removed IS NULL")}  # type: ignore[call-overload]

    def quarantined(self) -> list[tuple[str, str, str]]:
        """(id, path, reason) of files taken out as damaged."""
        return [(str(i), str(p), str(w)) for i, p, w in self.node.rows("SELECT id, path, why FROM segments WHERE why LIKE 'quarantined:%'")]

    def adopt(self, segments: Sequence[SegmentRow], tiers: dict[str, int], positions: dict[Lane, int], now: int,
              superseded: Sequence[str] = ()) -> None:
        """Enter files found by a scan (rebuilding a lost node.db) and where the normaliser stands after them.

        `superseded` are ids of files that the found ones were merged from. What only node.db knew of the records between
        is recorded as lost.
        """
        with self.node.write() as c:
            seq = self._link(c, now, "adopt", {"old": list(superseded), "files": [_named(s) for s in segments]})
            self._remove(c, superseded, seq, now, "compacted")
            for segment in segments:
                self._insert(c, [segment], seq, tiers.get(segment.id, 0))
                if segment.kind == "cut":
                    c.execute("INSERT OR REPLACE INTO cuts VALUES (?, ?, ?, ?)", (segment.lane, segment.first, segment.last, now))
            for lane, sequence in positions.items():
                at = c.execute("SELECT sequence FROM positions WHERE consumer = 'normaliser' AND lane = ?", (lane.value,)).fetchone()
                if sequence > (before := at[0] if at else 0):
                    c.execute("INSERT OR IGNORE INTO losses (at, lane, first, last, path, reason) VALUES (?, ?, ?, ?, 'node.db', ?)",
                              (now, lane.value, before, sequence, "node.db was lost or older: the events are whole, but dead letters among these "
                               "records and the numbers they were received under are gone; what is sent again may be stored twice"))
                c.execute("INSERT OR REPLACE INTO positions VALUES ('normaliser', ?, ?)", (lane.value, sequence))

    def check_chain(self) -> int | None:
        """The first link of the chain that does not follow from the one before it; None if all do."""
        previous, expected = GENESIS, 1
        for seq, at, op, body, prev, digest in self.node.connection.execute("SELECT seq, at, op, body, prev, hash FROM chain ORDER BY seq"):
            if seq != expected or prev != previous or digest != _hash(seq, at, op, body, prev):
                return int(expected)
            previous, expected = digest, seq + 1
        return None

    def chained_files(self) -> dict[str, tuple[str, str]]:
        """id -> (path, sha256) of every file that the chain says stands: the truth that `segments` is checked against."""
        standing: dict[str, tuple[str, str]] = {}
        for (body,) in self.node.connection.execute("SELECT body FROM chain ORDER BY seq"):
            step = orjson.loads(body)
            for gone in step.get("old", ()):
                standing.pop(gone, None)
            for named in step.get("files", ()):
                standing[named["id"]] = (named["path"], named["sha256"])
        return standing

    def named(self) -> set[str]:
        """The id of every file that the chain ever named."""
        found: set[str] = set()
        for (body,) in self.node.connection.execute("SELECT body FROM chain"):
            found.update(named["id"] for named in orjson.loads(body).get("files", ()))
        return found

    # ---- inside a transaction

    def _link(self, c: sqlite3.Connection, now: int, op: str, body: dict[str, object]) -> int:
        last = c.execute("SELECT seq, hash FROM chain ORDER BY seq DESC LIMIT 1").fetchone() or (0, GENESIS)
        seq, text = last[0] + 1, orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()
        c.execute("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)", (seq, now, op, text, last[1], _hash(seq, now, op, text, last[1])))
        return int(seq)

    def _insert(self, c: sqlite3.Connection, segments: Sequence[SegmentRow], seq: int, tier: int) -> None:
        marks = ",".join("?" * len(_COLUMNS))
        for s in segments:
            values = [orjson.dumps(s.columns).decode() if f == "columns" else getattr(s, f) for f in _COLUMNS]
            c.execute(f"INSERT INTO segments ({_SELECT}, tier, added) VALUES ({marks}, ?, ?)", [*values, tier, seq])

    def _remove(self, c: sqlite3.Connection, ids: Sequence[str], seq: int, now: int, why: str) -> None:
        c.executemany("UPDATE segments SET removed = ?, removed_at = ?, why = ? WHERE id = ? AND removed IS NULL",
                      [(seq, now, why, i) for i in ids])


def _segment(row: Sequence[object]) -> SegmentRow:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["columns"] = tuple(orjson.loads(str(values["columns"])))
    return SegmentRow(**values)  # type: ignore[arg-type]


def _named(segment: SegmentRow) -> dict[str, object]:
    return {"id": segment.id, "path": segment.path, "sha256": segment.sha256, "rows": segment.rows, "event_sum": segment.event_sum}


def _sum(segments: Iterable[SegmentRow]) -> int:
    return sum(int(s.event_sum, 16) for s in segments) % (1 << 64)


def _hash(seq: int, at: int, op: str, body: str, prev: str) -> str:
    return hashlib.sha256("\n".join((prev, str(seq), str(at), op, body)).encode()).hexdigest()
