"""The durable intake: numbers, deduplicates, appends to the journal and syncs in groups before anyone is answered.

One task per lane commits whatever waits; received ranges live in memory, rebuilt at start from node.db's snapshot and
the journal behind it, so that an acknowledgement costs no database commit.
"""
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from soc.errors import DiskFullError, InputRefused, OverlapError, StoreError
from soc.event import FrameContext, Lane
from soc.ingest.batch import ASSIGN, Batch, Receipt
from soc.ingest.journal import Damage, JournalWriter, Mark, contexts, journal_folder
from soc.store.disk import Disk
from soc.store.hold import hold
from soc.store.node import NodeDatabase

__all__ = ["DurableIntake", "IntakeLimits", "Ranges"]

_log = logging.getLogger(__name__)

Key = tuple[str, int]
_ENDED = 86_400.0


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Caps of the intake: bytes of a journal file, bytes waiting for a sync, unread journal bytes per lane, disk shares."""

    file_size: int = 64 << 20
    pending: int = 64 << 20
    backlog: int = 4 << 30
    warn: float = 0.80
    refuse: float = 0.95


class Ranges:
    """Sorted, disjoint, inclusive (first, last) ranges of one stream."""

    __slots__ = ("import_id", "spans", "touched")

    def __init__(self, import_id: str = "", spans: list[tuple[int, int]] | None = None, touched: float = 0.0) -> None:
        self.import_id = import_id
        self.spans = spans if spans is not None else []
        self.touched = touched

    def covers(self, first: int, last: int) -> bool:
        """Whether all of [first, last] was received."""
        return any(a <= first and last <= b for a, b in self.spans)

    def touches(self, first: int, last: int) -> bool:
        """Whether any of [first, last] was received."""
        return any(a <= last and first <= b for a, b in self.spans)

    def add(self, first: int, last: int) -> None:
        """Join [first, last] to what was received."""
        if self.spans and self.spans[-1][1] + 1 == first:  # the common case: the next batch of a stream
            self.spans[-1] = (self.spans[-1][0], last)
            return
        merged: list[tuple[int, int]] = []
        for a, b in self.spans:
            if b + 1 < first or last + 1 < a:
                merged.append((a, b))
            else:
                first, last = min(a, first), max(b, last)
        merged.append((first, last))
        merged.sort()
        self.spans = merged

    def next(self) -> int:
        """The number after the highest received."""
        return self.spans[-1][1] + 1 if self.spans else 0


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    future: asyncio.Future[int]


class DurableIntake:
    """Intake over a data folder. Built and used in one event loop; `start` before the first `accept`."""

    def __init__(self, data: Path, disk: Disk, node: NodeDatabase, limits: IntakeLimits | None = None,
                 clock: Callable[[], float] = time.time) -> None:
        """Opens both lanes (cutting torn tails) and rebuilds the received ranges. Raises StoreError."""
        self.limits = limits or IntakeLimits()
        self._data, self._disk, self._node, self._clock = data, disk, node, clock
        self._writers: dict[Lane, JournalWriter] = {}
        self.damaged: list[tuple[Lane, Damage]] = []
        for lane in Lane:
            folder = journal_folder(data, lane)
            disk.mkdir(folder)
            writer = JournalWriter(disk, folder, file_size=self.limits.file_size, mark=Mark(folder / "mark", write=True),
                                   floor=self._normalised(lane))
            self._writers[lane] = writer
            self.damaged += [(lane, damage) for damage in writer.damaged]
        self._received: dict[Key, Ranges] = {}
        self._reserved: dict[Key, list[tuple[int, int, asyncio.Future[int]]]] = {}
        self._dirty: set[Key] = set()
        self._noted = {lane: writer.next for lane, writer in self._writers.items()}
        self._undone: set[str] = set()
        self._rebuild()
        self._waiting: dict[Lane, list[_Waiting]] = {lane: [] for lane in Lane}
        self._pending: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self._backlog: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self._used = 0.0
        self._wake: dict[Lane, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._threads = ThreadPoolExecutor(len(Lane) + 1, thread_name_prefix="sync")

    # ---- life

    async def start(self) -> None:
        """Start committing."""
        await self._look()
        for lane in Lane:
            self._wake[lane] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._commit_loop(lane), name=f"commit-{lane}"))
        self._tasks.append(asyncio.create_task(self._tend(), name="tend-journal"))

    async def stop(self) -> None:
        """Commit what waits, keep the ranges, close."""
        while any(self._waiting.values()):
            await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            self._keep_ranges()
        except StoreError as fault:
            _log.warning("received ranges not kept; they are read from the journal at the next start", extra={"fault": str(fault)})
        self._threads.shutdown()
        for writer in self._writers.values():
            writer.close()

    # ---- Intake

    async def accept(self, batch: Batch, lane: Lane) -> Receipt:
        """Durably keep the batch. Raises OverlapError, InputRefused (its import was undone), DiskFullError, StoreError.

        Whatever is raised, nothing of it was taken.
        """
        context = batch.context
        key = (context.stream, context.epoch)
        if context.import_id and self._is_undone(context.import_id):
            raise InputRefused(f"import {context.import_id} was undone", remedy="import the files anew")
        while True:
            ranges = self._received.get(key)
            if ranges and ranges.import_id not in ("", context.import_id) and self._is_undone(ranges.import_id):
                self._drop_ranges(ranges.import_id)  # its tombstone is written, and whoever wrote it died before telling us
                ranges = None
            if context.first == ASSIGN:
                first = ranges.next() if ranges else 0
                first = max([first, *(last + 1 for _, last, _ in self._reserved.get(key, ()))])
                break
            first, last = context.first, context.first + context.count - 1
            if context.replay:  # a dead letter read again: the same record on purpose; the normaliser takes it once
                break
            if ranges and ranges.covers(first, last):
                return Receipt(lane, first, context.count, None, True)
            if ranges and ranges.touches(first, last):
                raise OverlapError(f"records {first}–{last} of this stream are partly received already", ranges.spans)
            running = [f for a, b, f in self._reserved.get(key, ()) if a <= last and first <= b]
            if not running:
                break
            await asyncio.wait(running)  # the same records are being synced for somebody else: then look again
        if self._used >= self.limits.refuse:
            raise DiskFullError(f"the disk is {self._used:.0%} full; nothing more is taken above {self.limits.refuse:.0%}",
                                remedy="free space or shorten retention; senders keep what was not acknowledged and try again")
        numbered = batch if first == context.first else replace(batch, context=replace(context, first=first))
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        reservation = (first, first + context.count - 1, future)
        self._reserved.setdefault(key, []).append(reservation)
        self._waiting[lane].append(_Waiting(numbered, future))
        self._pending[lane] += len(batch.payload)
        self._wake[lane].set()
        try:
            sequence = await asyncio.shield(future)
        finally:
            if future.done():
                self._settle(key, reservation)
            else:
                future.add_done_callback(lambda _: self._settle(key, reservation))
        return Receipt(lane, first, context.count, sequence, False)

    def congestion(self, lane: Lane = Lane.LIVE) -> float:
        """0.0 idle … 1.0 full."""
        return max(self._pending[lane] / self.limits.pending, self._backlog[lane] / self.limits.backlog)

    def disk_used(self) -> float:
        """Share of the disk used, looked at once a second."""
        return self._used

    def waiting(self) -> dict[str, int]:
        """Journal bytes per lane that are not yet normalised."""
        return {lane.value: size for lane, size in self._backlog.items()}

    def committed(self) -> dict[str, int]:
        """The next sequence of each lane."""
        return {lane.value: writer.next for lane, writer in self._writers.items()}

    def received(self, stream: str, epoch: int = 0) -> list[tuple[int, int]]:
        """The (first, last) ranges received of a stream."""
        ranges = self._received.get((stream, epoch))
        return list(ranges.spans) if ranges else []

    async def forget_import(self, import_id: str) -> None:
        """Drop the received ranges of an import that was undone (node.db has its tombstone already or gets it now)."""
        self._drop_ranges(import_id)
        with self._node.write() as c:
            c.execute("INSERT OR IGNORE INTO undone VALUES (?, ?, 'gateway')", (import_id, int(self._clock() * 1e6)))
            c.execute("DELETE FROM received WHERE import_id = ?", (import_id,))

    # ---- inside

    def _is_undone(self, import_id: str) -> bool:
        if import_id not in self._undone and self._node.rows("SELECT 1 FROM undone WHERE import_id = ?", (import_id,)):
            self._undone.add(import_id)
        return import_id in self._undone

    def _drop_ranges(self, import_id: str) -> None:
        self._undone.add(import_id)
        for key in [key for key, ranges in self._received.items() if ranges.import_id == import_id]:
            del self._received[key]
            self._dirty.discard(key)

    def _settle(self, key: Key, reservation: tuple[int, int, asyncio.Future[int]]) -> None:
        kept = self._reserved.get(key)
        if kept is None or reservation not in kept:
            return
        kept.remove(reservation)
        if not kept:
            del self._reserved[key]

    def _note(self, key: Key, import_id: str, first: int, last: int) -> None:
        ranges = self._received.get(key)
        if ranges is None:
            ranges = self._received[key] = Ranges(import_id)
        ranges.add(first, last)
        ranges.touched = self._clock()
        self._dirty.add(key)

    async def _commit_loop(self, lane: Lane) -> None:
        loop, writer, wake = asyncio.get_running_loop(), self._writers[lane], self._wake[lane]
        while True:
            await wake.wait()
            wake.clear()
            taken = self._waiting[lane]
            if not taken:
                continue
            self._waiting[lane] = []
            try:
                sequences = await loop.run_in_executor(self._threads, writer.append, [w.batch for w in taken])
            except Exception as fault:  # noqa: BLE001  every sender hears why; nothing was taken
                for waiting in taken:
                    if not waiting.future.done():
                        waiting.future.set_exception(_as_store_error(fault))
                        waiting.future.exception()
            else:
                for waiting, sequence in zip(taken, sequences, strict=True):
                    self._note_frame(waiting.batch.context)
                    self._noted[lane] = sequence + waiting.batch.context.count
                    if not waiting.future.done():
                        waiting.future.set_result(sequence)
            size = sum(len(w.batch.payload) for w in taken)
            self._pending[lane] -= size
            self._backlog[lane] += size

    async def _tend(self) -> None:
        """Every second: the disk, the backlog; every ten: keep the ranges and release what every consumer has passed."""
        turn = 0
        while True:
            await asyncio.sleep(1.0)
            turn += 1
            try:
                await self._look()
                if turn % 10 == 0:
                    self._keep_ranges()
                    self._forget_ended()
                    self._release()
            except (StoreError, OSError):
                continue  # said by the health of the disk; tried again in a second

    async def _look(self) -> None:
        self._used = self._disk.used(self._data)
        for lane in Lane:
            at = self._normalised(lane)
            size = 0
            names = [n for n in self._disk.names(journal_folder(self._data, lane)) if n.endswith(".jrn")]
            for name, following in zip(names, [*names[1:], ""], strict=True):
                begins, ends = int(name[:-4]), int(following[:-4]) if following else self._writers[lane].next
                if ends > at:
                    whole = self._disk.size(journal_folder(self._data, lane) / name)
                    size += whole if at <= begins else int(whole * (ends - at) / max(1, ends - begins))
            self._backlog[lane] = size

    def _normalised(self, lane: Lane) -> int:
        found = self._node.rows("SELECT sequence FROM positions WHERE consumer = 'normaliser' AND lane = ?", (lane.value,))
        return int(found[0][0]) if found else 0  # type: ignore[call-overload]

    def _keep_ranges(self) -> None:
        """Write the ranges that changed and how far into the journal they speak, in one transaction."""
        marks = dict(self._noted)
        dirty, self._dirty = self._dirty, set()
        if not dirty:
            return
        try:
            with self._node.write() as c:
                c.executemany(
                    "INSERT OR REPLACE INTO received VALUES (?, ?, ?, ?, ?)",
                    [(k[0], k[1], r.import_id, orjson.dumps(r.spans).decode(), int(r.touched * 1e6))
                     for k in dirty if (r := self._received.get(k)) is not None])
                c.executemany("INSERT OR REPLACE INTO snapshots VALUES (?, ?)", [(lane.value, at) for lane, at in marks.items()])
        except StoreError:
            self._dirty |= dirty
            raise

    def _forget_ended(self) -> None:
        """Streams that the gateway numbers itself are never sent again: their ranges go a day after the last record."""
        ended = [k for k, r in self._received.items() if k[0].startswith("syslog:") and self._clock() - r.touched > _ENDED]
        if ended:
            with self._node.write() as c:
                c.executemany("DELETE FROM received WHERE stream = ? AND epoch = ?", ended)
            for key in ended:
                del self._received[key]

    def _release(self) -> None:
        kept = {str(lane): int(at) for lane, at in self._node.rows("SELECT lane, sequence FROM snapshots")}  # type: ignore[call-overload]
        with hold(self._data, wait=False) as mine:
            for lane, writer in self._writers.items() if mine else ():
                writer.release(min(self._normalised(lane), kept.get(lane.value, 0)))

    def _rebuild(self) -> None:
        self._undone = {str(row[0]) for row in self._node.rows("SELECT import_id FROM undone")}
        for stream, epoch, import_id, spans, touched in self._node.rows("SELECT stream, epoch, import_id, ranges, touched FROM received"):
            if import_id in self._undone:
                continue
            self._received[(str(stream), int(epoch))] = Ranges(  # type: ignore[call-overload]
                str(import_id), [(a, b) for a, b in orjson.loads(str(spans))], int(touched) / 1e6)  # type: ignore[call-overload]
        kept = {str(lane): int(at) for lane, at in self._node.rows("SELECT lane, sequence FROM snapshots")}  # type: ignore[call-overload]
        for lane in Lane:
            for _, context in contexts(self._disk, journal_folder(self._data, lane), kept.get(lane.value, 0)):
                self._note_frame(context)

    def _note_frame(self, context: FrameContext) -> None:
        """Remember what was received, but of an undone import: the normaliser leaves that out, so it may come again."""
        if context.import_id and context.import_id in self._undone:
            return
        self._note((context.stream, context.epoch), context.import_id, context.first, context.first + context.count - 1)


def _as_store_error(fault: Exception) -> Exception:
    return fault if isinstance(fault, StoreError) else StoreError(f"the journal could not be written: {fault}", remedy="see `soc doctor`")
