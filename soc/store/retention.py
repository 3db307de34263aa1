"""Retention: segments whose class says they are old enough are tombstoned; the sweeper unlinks them."""
from __future__ import annotations

from collections.abc import Callable, Mapping

from soc.store.manifest import Manifest
from soc.store.segment import SegmentRow

__all__ = ["due", "expire"]


def due(segments: tuple[SegmentRow, ...], classes: Mapping[str, float], default: float, now: int) -> list[SegmentRow]:
    """Segments all of whose events were ingested longer ago than their class allows (seconds); `now` in µs.

    Cuts are left to the compactor first, so that nothing goes that a consumer has still to read.
    """
    return [s for s in segments if s.kind == "segment" and s.max_ingested < now - int(classes.get(s.retention, default) * 1e6)]


def expire(manifest: Manifest, classes: Mapping[str, float], default: float, now: int,
           before: Callable[[list[SegmentRow]], None] = lambda _: None) -> tuple[int, int]:
    """Tombstone what is due, once `before` has been told of it; returns (files, events)."""
    gone = due(manifest.snapshot().segments, classes, default, now)
    if gone:
        before(gone)
    manifest.remove(gone, "retention", now)
    return len(gone), sum(s.rows for s in gone)
