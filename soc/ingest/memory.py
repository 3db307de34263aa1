"""An intake in memory, for tests: the promises of the durable one without its disk, and faults on demand."""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from soc.errors import InputRefused, OverlapError
from soc.event import Lane
from soc.ingest.batch import ASSIGN, Batch, Receipt
from soc.ingest.intake import Ranges

__all__ = ["MemoryIntake"]


class MemoryIntake:
    """Keeps batches in `kept`. `fault` is raised instead (while set), `pause` is awaited before keeping, `full` is congestion."""

    def __init__(self) -> None:
        self.kept: list[tuple[Lane, Batch]] = []
        self.fault: Callable[[], Exception] | None = None
        self.pause: asyncio.Event | None = None
        self.full: dict[Lane, float] = dict.fromkeys(Lane, 0.0)
        self.forgotten: list[str] = []
        self._received: dict[tuple[str, int], Ranges] = {}
        self._next: dict[Lane, int] = dict.fromkeys(Lane, 0)

    async def accept(self, batch: Batch, lane: Lane) -> Receipt:
        """Keep the batch. Raises OverlapError, InputRefused (its import was forgotten), or `fault`."""
        if self.pause is not None:
            await self.pause.wait()
        if self.fault is not None:
            raise self.fault()
        context = batch.context
        if context.import_id in self.forgotten:
            raise InputRefused(f"import {context.import_id} was undone")
        ranges = self._received.setdefault((context.stream, context.epoch), Ranges(context.import_id))
        first = ranges.next() if context.first == ASSIGN else context.first
        last = first + context.count - 1
        if not context.replay and ranges.covers(first, last):
            return Receipt(lane, first, context.count, None, True)
        if not context.replay and ranges.touches(first, last):
            raise OverlapError(f"records {first}–{last} of this stream are partly received already", ranges.spans)
        ranges.add(first, last)
        sequence = self._next[lane]
        self._next[lane] += context.count
        self.kept.append((lane, replace(batch, context=replace(context, first=first))))
        return Receipt(lane, first, context.count, sequence, False)

    def congestion(self, lane: Lane = Lane.LIVE) -> float:
        """What `full` says."""
        return self.full[lane]

    def received(self, stream: str, epoch: int = 0) -> list[tuple[int, int]]:
        """The (first, last) ranges received of a stream."""
        ranges = self._received.get((stream, epoch))
        return list(ranges.spans) if ranges else []

    async def forget_import(self, import_id: str) -> None:
        """Drop the received ranges of an import."""
        self.forgotten.append(import_id)
        for key in [key for key, ranges in self._received.items() if ranges.import_id == import_id]:
            del self._received[key]
