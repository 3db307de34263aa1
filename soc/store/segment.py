"""What the manifest knows of one file of events."""
from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SegmentRow"]


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One cut file (Arrow IPC, ``kind="cut"``) or one compacted segment (Parquet, ``kind="segment"``).

    `path` is relative to the data folder; times are microseconds since 1970 UTC, inclusive on both ends;
    `first` / `last` are positions in `lane`; `day` is the ingest day (UTC, ISO); `columns` are the file's
    column names (see `soc.store.columns`); `tokens` is the path of its token index or "".
    `event_sum` is the order-free sum (mod 2**64, hex) of its events' hashes: a replacement keeps it.
    """

    id: str
    kind: str
    lane: str
    first: int
    last: int
    family: str
    retention: str
    origin: str
    import_id: str
    day: str
    path: str
    rows: int
    bytes: int
    sha256: str
    event_sum: str
    min_time: int
    max_time: int
    min_ingested: int
    max_ingested: int
    columns: tuple[str, ...]
    tokens: str = ""
