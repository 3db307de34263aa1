"""Builders shared by the store's tests: events as cut files and segments, under a manifest that is only a list."""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from soc.event import Event
from soc.store import tokens
from soc.store.columns import MAX_COLUMNS, batch_of
from soc.store.embedded import EmbeddedStore
from soc.store.fold import add_folded
from soc.store.segment import SegmentRow

DIGEST = "00112233445566aa"


@dataclass
class Listed:
    """A manifest that holds what it is told to."""

    segments: list[SegmentRow] = field(default_factory=list)
    generation: int = 0
    quarantined: list[tuple[str, str]] = field(default_factory=list)

    def snapshot(self) -> Listed:
        return replace(self, segments=tuple(self.segments))  # type: ignore[arg-type]

    def quarantine(self, segment_id: str, reason: str, now: int) -> None:
        self.quarantined.append((segment_id, reason))
        self.segments = [s for s in self.segments if s.id != segment_id]
        self.generation += 1

    def put(self, segment: SegmentRow) -> None:
        self.segments.append(segment)
        self.generation += 1

    def drop(self, segment: SegmentRow) -> None:
        self.segments.remove(segment)
        self.generation += 1


def stored(event: Event, n: int, agency: str = "a1") -> Event:
    """An event as the normaliser hands it on: with its twins and our own columns."""
    at = event.setdefault("@timestamp", 1_750_000_000_000_000 + n * 1_000_000)
    kept: Event = {"organization.id": agency, "event.created": at, "event.ingested": at, "soc.origin": "live", "soc.lane": "live",
                   "soc.seq": n, "soc.n": n, "soc.sub": 0, "soc.stream_hash": DIGEST, **event}
    add_folded(kept)
    return kept


def write(data: Path, events: Sequence[Event], number: int, kind: str, *, group: int = 4, max_columns: int = MAX_COLUMNS,
          indexed: bool = True) -> SegmentRow:
    """One file of events: `kind` is "cut" or "segment"."""
    batch = batch_of(events, max_columns)
    table = pa.Table.from_batches([batch])
    path = Path("cuts" if kind == "cut" else "segments") / (f"{number}.arrow" if kind == "cut" else f"{number}.parquet")
    (data / path).parent.mkdir(parents=True, exist_ok=True)
    index = ""
    if kind == "cut":
        with pa.ipc.new_file(str(data / path), batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_batch(batch)
    else:
        packed = b""
        with pq.ParquetWriter(data / path, table.schema, compression="zstd") as writer:
            for at in range(0, table.num_rows, group):
                part = table.slice(at, group)
                writer.write_table(part, row_group_size=group)
                body = tokens.build(part)
                packed += len(body).to_bytes(4, "little") + body
        if indexed:
            index = str(path.with_suffix(".tok"))
            (data / index).write_bytes(packed)
    times = [int(e["@timestamp"]) for e in events]
    ingested = [int(e.get("event.ingested", 0)) for e in events]
    return SegmentRow(
        id=f"s{number}", kind=kind, lane=str(events[0].get("soc.lane", "live")), first=number, last=number + 1, family="test",
        retention="default", origin=str(events[0].get("soc.origin", "live")), import_id=str(events[0].get("soc.import_id", "")),
        day="2026-05-01", path=str(path), rows=len(events), bytes=(data / path).stat().st_size,
        sha256=hashlib.sha256((data / path).read_bytes()).hexdigest(), event_sum="0", min_time=min(times), max_time=max(times),
        min_ingested=min(ingested), max_ingested=max(ingested), columns=tuple(batch.schema.names), tokens=index)


def embedded(data: Path, events: Sequence[Event], *, files: int = 4, max_columns: int = MAX_COLUMNS) -> EmbeddedStore:
    """An embedded store over `events`, spread over cuts and segments in turn."""
    manifest = Listed()
    size = max(1, -(-len(events) // files))
    for number, at in enumerate(range(0, len(events), size)):
        kind = "cut" if number % 2 else "segment"
        manifest.put(write(data, events[at:at + size], number, kind, max_columns=max_columns))
    return EmbeddedStore(data, manifest)
