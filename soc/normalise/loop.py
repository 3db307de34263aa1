"""The normaliser: journal frames in, one cut out, again and again. The only consumer of the journal.

`step` makes at most one cut; where it stops is the cursor, committed with the cut. Live goes before bulk.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson
import pyarrow as pa
import zstandard

from soc.ecs import kind_of
from soc.errors import DamagedError, ParseError
from soc.event import Event, FrameContext, Lane, stream_hash
from soc.normalise.parser import DeadRecord, ParsedFrame
from soc.store.columns import batch_of
from soc.store.cuts import Partition, cut_folder, write_cut
from soc.store.disk import Disk
from soc.store.fold import add_folded
from soc.store.manifest import Cut, Dead, ImportSeen, Loss, Manifest

__all__ = ["FrameParser", "FrameSource", "Normaliser", "NormaliserLimits", "ReadFrame"]

@dataclass(frozen=True, slots=True)
class ReadFrame:
    """A frame as the normaliser needs it: its place, what is known of it, its records."""

    sequence: int
    context: FrameContext
    records: Sequence[bytes]
    size: int = 0
    """Bytes of its payload in the journal."""


class FrameSource(Protocol):
    """Where frames come from (the journal, through `soc.app`: normalise may not import ingest)."""

    def read(self, lane: Lane, cursor: int, max_records: int, max_bytes: int) -> Sequence[ReadFrame | Loss]:
        """Frames and losses from `cursor` on, in order and without gaps; empty when there is nothing more yet."""


class FrameParser(Protocol):
    """`soc.normalise.records.Parsers`."""

    def parse_frame(self, context: FrameContext, records: Sequence[bytes]) -> ParsedFrame: ...


@dataclass(frozen=True, slots=True)
class NormaliserLimits:
    """Records and payload bytes of one cut per lane, and how many live cuts may go before a waiting bulk one.

    Cuts of 5,000 records keep the columns' memory small enough to be used again: 20,000 cost 15 µs an event more in the kernel.
    """

    live_records: int = 5_000
    bulk_records: int = 5_000
    payload_bytes: int = 2 << 20
    live_share: int = 4


class _Rows:
    """The rows of one partition while a cut is being made."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.seq: list[int] = []
        self.n: list[int] = []
        self.sub: list[int] = []
        self.runs: list[tuple[FrameContext, int]] = []


class Normaliser:
    """Turns journal frames into cuts. One per node."""

    def __init__(self, *, data: Path, disk: Disk, manifest: Manifest, source: FrameSource, parser: FrameParser, centre: str,
                 limits: NormaliserLimits | None = None) -> None:
        self._data, self._disk, self._manifest, self._source, self._parser = data, disk, manifest, source, parser
        self._centre = centre
        self._limits = limits or NormaliserLimits()
        self._cursors = {lane: manifest.cursor(lane) for lane in Lane}
        self._turn = 0
        self._failed = False
        """Whether the last cut ended in a fault, so that files of it may lie about."""
        self._digests: dict[tuple[str, int, str], str] = {}
        self._compressor = zstandard.ZstdCompressor(level=3)
        self.events = 0
        self.lane = Lane.BULK
        """Of the last cut."""
        self.full = False
        """Whether the last cut ended at its limits, so that more waits behind it."""

    def clean(self) -> None:
        """Remove cut folders that a killed predecessor left outside the manifest (their journal is still there)."""
        standing = {Path(s.path).parent for s in self._manifest.snapshot().segments if s.kind == "cut"}
        for lane in Lane:
            folder = self._data / "cuts" / lane.value
            for name in self._disk.names(folder):
                path = Path("cuts") / lane.value / name
                behind = name.endswith(".tmp") or int(name.split("-")[0]) >= self._cursors[lane]
                if path not in standing and behind:
                    self._disk.rmtree(self._data / path)

    def step(self, now: Callable[[], int], *, live: bool = True) -> int:
        """Make at most one cut; returns the records it took (0: nothing waits). Raises StoreError, DamagedError.

        Not `live`: that lane gathers a little more before its next cut, and bulk has the time meanwhile.
        """
        self.lane = Lane.BULK
        if self._failed:
            self._cursors = {lane: self._manifest.cursor(lane) for lane in Lane}
            self.clean()
            self._failed = False
        order = (Lane.BULK, Lane.LIVE) if self._turn >= self._limits.live_share else (Lane.LIVE, Lane.BULK)
        for lane in order if live else (Lane.BULK,):
            took = self._cut(lane, now)
            if took:
                self._turn = self._turn + 1 if lane is Lane.LIVE else 0
                self.lane = lane
                return took
            if lane is Lane.BULK:
                self._turn = 0
        return 0

    def _cut(self, lane: Lane, now: Callable[[], int]) -> int:
        first = self._cursors[lane]
        most = self._limits.live_records if lane is Lane.LIVE else self._limits.bulk_records
        read = self._source.read(lane, first, most, self._limits.payload_bytes)
        if not read:
            return 0
        last, losses = first, []
        undone = self._manifest.undone()
        partitions: dict[Partition, _Rows] = {}
        dead: list[Dead] = []
        seen: dict[str, ImportSeen] = {}
        replayed: dict[int, str] = {}
        for item in read:
            if isinstance(item, Loss):
                losses.append(item)
                last = item.last
                continue
            last = item.sequence + len(item.records)
            if item.context.import_id and item.context.import_id in undone:
                continue
            if item.context.replay and not self._wanted(item.context.replay, replayed):
                continue
            self._take(lane, item, partitions, dead, seen, replayed)
        parts = [(partition, self._batch(lane, rows)) for partition, rows in sorted(partitions.items(), key=lambda p: p[0].folder)]
        self._failed = True  # until it stands in the manifest
        segments = write_cut(self._disk, self._data, lane, first, last, parts)
        cut = Cut(lane, first, last, segments, dead, losses, list(seen.values()))
        left_out = self._manifest.commit_cut(cut, now(), replayed)
        self._failed = False
        if left_out:
            for segment in segments:
                if segment.import_id in left_out:
                    self._disk.unlink(self._data / segment.path)
        if not segments:
            self._disk.rmtree(cut_folder(self._data, lane, first, last))
        self._cursors[lane] = last
        self.events += last - first
        payload = sum(item.size for item in read if isinstance(item, ReadFrame))
        self.full = last - first >= most or payload >= self._limits.payload_bytes
        return last - first

    def _wanted(self, letter: int, replayed: dict[int, str]) -> bool:
        return letter not in replayed and self._manifest.letter_state(letter) == "replaying"

    def _take(self, lane: Lane, frame: ReadFrame, partitions: dict[Partition, _Rows], dead: list[Dead],
              seen: dict[str, ImportSeen], replayed: dict[int, str]) -> None:
        context = frame.context
        try:
            parsed = self._parser.parse_frame(context, frame.records)
            check_parsed(frame, parsed)
        except Exception as fault:  # noqa: BLE001  a bug of ours must not stop the lane: the whole frame is kept as dead letters
            reason = fault.reason if isinstance(fault, ParseError) else "parser_failed"
            parsed = ParsedFrame([], [DeadRecord(i, reason, repr(fault)[:500]) for i in range(len(frame.records))])
        day = datetime.fromtimestamp(context.ingested / 1e6, UTC).date().isoformat()
        low: int | None = None
        high: int | None = None
        families: dict[str, _Rows] = {}
        for item in parsed.events:
            rows = families.get(item.family)
            if rows is None:
                partition = Partition(item.family, context.retention, context.origin.value, context.import_id, day)
                rows = families[item.family] = partitions.setdefault(partition, _Rows())
            if not rows.runs or rows.runs[-1][0] is not context:
                rows.runs.append((context, 0))
            rows.events.append(item.event)
            rows.seq.append(frame.sequence + item.index)
            rows.n.append(context.first + item.index)
            rows.sub.append(item.sub)
            rows.runs[-1] = (context, rows.runs[-1][1] + 1)
            if context.import_id:
                at = item.event["@timestamp"]
                assert isinstance(at, int)
                low, high = at if low is None or at < low else low, at if high is None or at > high else high
        if context.replay:
            replayed[context.replay] = parsed.dead[0].reason if parsed.dead else ""
        else:
            dead.extend(self._dead(frame, letter) for letter in parsed.dead)
        if context.import_id:
            before = seen.get(context.import_id)
            records, dead_now = (0, -1 if parsed.events else 0) if context.replay else (len(frame.records), len(parsed.dead))
            seen[context.import_id] = _joined(before, ImportSeen(
                context.import_id, lane.value, records, len(parsed.events), dead_now, low, high, frame.sequence + len(frame.records)))

    def _dead(self, frame: ReadFrame, letter: DeadRecord) -> Dead:
        context = frame.context
        return Dead(
            frame.sequence + letter.index, context.source, context.agency, context.origin.value, context.import_id, context.stream,
            context.first + letter.index, letter.reason, letter.detail[:1000],
            orjson.dumps(asdict(context)).decode(), self._compressor.compress(frame.records[letter.index]))

    def _batch(self, lane: Lane, rows: _Rows) -> pa.RecordBatch:
        for event in rows.events:
            add_folded(event)
        batch = batch_of(rows.events)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        height = len(rows.events)
        columns["soc.seq"] = pa.array(np.array(rows.seq, dtype=np.int64))
        columns["soc.n"] = pa.array(np.array(rows.n, dtype=np.int64))
        columns["soc.sub"] = pa.array(np.array(rows.sub, dtype=np.int64))
        columns["soc.lane"] = pa.repeat(pa.scalar(lane.value), height)
        for name, known in _CONSTANT.items():
            filled = [(known(context), count) for context, count in rows.runs]
            if any(v for v, _ in filled):
                columns[name] = _repeat(filled, _KINDS[name])
        columns["soc.stream_hash"] = _repeat([(self._digest(context), count) for context, count in rows.runs], pa.string())
        names = sorted(columns)
        return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)

    def _digest(self, context: FrameContext) -> str:
        key = (context.agent, context.epoch, context.stream)
        found = self._digests.get(key)
        if found is None:
            if len(self._digests) > 10_000:
                self._digests.clear()
            found = self._digests[key] = stream_hash(self._centre, *key)
        return found


_CONSTANT: dict[str, Callable[[FrameContext], object]] = {
    "organization.id": lambda c: c.agency,
    "event.created": lambda c: c.read_at,
    "event.ingested": lambda c: c.ingested,
    "soc.source": lambda c: c.source,
    "soc.origin": lambda c: c.origin.value,
    "soc.import_id": lambda c: c.import_id,
    "soc.stream": lambda c: c.stream,
    "log.file.path": lambda c: c.path,
}
_KINDS = {name: pa.timestamp("us", tz="UTC") if kind_of(name) == "date" else pa.string() for name in _CONSTANT}


def _repeat(runs: Sequence[tuple[object, int]], kind: pa.DataType) -> pa.Array:
    parts = [pa.repeat(pa.scalar(value if value != "" else None, kind), count) for value, count in runs]
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def _joined(a: ImportSeen | None, b: ImportSeen) -> ImportSeen:
    if a is None:
        return b
    lows = [x for x in (a.min_time, b.min_time) if x is not None]
    highs = [x for x in (a.max_time, b.max_time) if x is not None]
    return ImportSeen(a.import_id, a.lane, a.records + b.records, a.events + b.events, a.dead + b.dead,
                      min(lows, default=None), max(highs, default=None), b.last)


def check_parsed(frame: ReadFrame, parsed: ParsedFrame) -> None:
    """Raises DamagedError unless every record of the frame became an event or a dead letter."""
    known = {e.index for e in parsed.events} | {d.index for d in parsed.dead}
    if len(known) != len(frame.records):
        raise DamagedError("a parser lost a record")
