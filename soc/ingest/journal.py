"""The journal: received frames in files, one lane a folder, each file named by its first sequence.

One process (the gateway) writes; the normaliser reads up to the committed mark, which never passes what is synced.
What is durable is decided by scanning frames, never by a second file that could disagree (docs/adr/0001).
"""
from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from soc.errors import DamagedError, StoreError
from soc.event import FrameContext, Lane
from soc.ingest.batch import Batch
from soc.ingest.frame import HEADER, MAGIC, Frame, FrameHead, check_body, decode_context, encode, read_head
from soc.store.disk import Disk, Writer

__all__ = ["Damage", "JournalReader", "JournalWriter", "Mark", "contexts", "journal_folder", "verify_journal"]

SUFFIX = ".jrn"


def journal_folder(data: Path, lane: Lane) -> Path:
    """Where a lane's journal files lie."""
    return data / "journal" / lane.value


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a journal file that are no sound frame, and the sequences [first, last) lost with them."""

    path: Path
    offset: int
    length: int
    first: int
    last: int
    reason: str


class Mark:
    """The committed mark of a lane: the sequence up to which frames are synced, shared by memory map.

    It may lag after a power cut, never lead; the writer sets it anew when it starts.
    """

    _SHAPE = struct.Struct("<QI")

    def __init__(self, path: Path, *, write: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            if write and os.fstat(fd).st_size != self._SHAPE.size:
                os.ftruncate(fd, self._SHAPE.size)
            self._map = mmap.mmap(fd, self._SHAPE.size, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
        finally:
            os.close(fd)

    def set(self, sequence: int) -> None:
        """Publish that everything before `sequence` is synced."""
        body = sequence.to_bytes(8, "little")
        self._map[: self._SHAPE.size] = body + zlib.crc32(body).to_bytes(4, "little")

    def get(self) -> int | None:
        """The published sequence; None while it is being written or was never set."""
        for _ in range(8):
            body, check = self._map[:8], self._map[8:12]
            if zlib.crc32(body) == int.from_bytes(check, "little"):
                return int.from_bytes(body, "little")
        return None


def _files(disk: Disk, folder: Path) -> list[tuple[int, Path]]:
    """(first sequence, path) of a lane's files, in order."""
    return [(int(name[: -len(SUFFIX)]), folder / name) for name in disk.names(folder) if name.endswith(SUFFIX)]


class JournalWriter:
    """Appends frames to a lane's newest file. Not thread-safe: one committer at a time."""

    def __init__(self, disk: Disk, folder: Path, *, file_size: int, mark: Mark | None = None, floor: int = 0) -> None:
        """Opens the lane, cuts a torn tail, syncs what stands, and publishes it. Raises StoreError.

        Sequences before `floor` are spent (the normaliser has passed them): they are not given again even if the files
        that held them are gone.
        """
        self._disk, self._folder, self._limit, self._mark = disk, folder, file_size, mark
        disk.mkdir(folder)
        self.next = 0
        self.damaged: list[Damage] = []
        self._failed = False
        files = _files(disk, folder)
        if files:
            self._reopen(*files[-1])
        else:
            self.next = max(floor, (mark.get() if mark is not None else None) or 0)
            self._writer = self._new_file()
        if self.next < floor:
            self._writer.close()
            self.next = floor
            self._writer = self._new_file()
        disk.sync_dir(folder)
        self._synced = self._writer.size()
        if mark is not None:
            mark.set(self.next)

    def _reopen(self, first: int, path: Path) -> None:
        """Go on in the newest file behind its last sound frame, or in a new one if acknowledged frames are damaged."""
        self.next, sound = self._recover(first, path)
        self._writer = self._disk.append(path)
        published = self._mark.get() if self._mark is not None else None
        if published is not None and published > self.next:
            size = self._writer.size()
            self.damaged.append(Damage(path, sound, size - sound, self.next, published, "acknowledged frames are damaged"))
            self.next = published
            self._writer.close()
            self._writer = self._new_file()
            return
        if self._writer.size() > sound:
            self._writer.truncate(sound)
        self._writer.sync()

    def _recover(self, first: int, path: Path) -> tuple[int, int]:
        """(next sequence, length of the part worth keeping) of the newest file."""
        sequence, sound = first, 0
        for item in scan(self._disk, path, first):
            if isinstance(item, Damage):
                self.damaged.append(item)
                continue
            offset, head = item
            sequence, sound = head.sequence + head.count, offset + head.size
        if self.damaged and self.damaged[-1].offset >= sound:
            self.damaged.pop()  # a torn tail was never acknowledged: it is cut off, not damage
        return sequence, sound

    def _new_file(self) -> Writer:
        return self._disk.create(self._folder / f"{self.next:020d}{SUFFIX}")

    def append(self, batches: Sequence[Batch]) -> list[int]:
        """Write and sync batches; returns each one's first sequence. On any error none of them was taken.

        Raises DiskFullError, StoreError. After a failed sync the file is given up for a new one (F9).
        """
        if self._failed or self._writer.size() >= self._limit:
            self._rotate()
        sequences, parts, sequence = [], [], self.next
        for batch in batches:
            sequences.append(sequence)
            parts.append(encode(batch, sequence))
            sequence += batch.context.count
        try:
            self._writer.write(b"".join(parts))
            self._writer.sync()
        except StoreError:
            self._give_up()
            raise
        self._synced = self._writer.size()
        self.next = sequence
        if self._mark is not None:
            self._mark.set(sequence)
        return sequences

    def _give_up(self) -> None:
        """Cut the file back to what was synced; what follows goes to a new file."""
        self._failed = True
        try:
            self._writer.truncate(self._synced)
        except (OSError, StoreError):
            pass  # unsynced frames past the mark: the reader stops at the mark, recovery counts them by their sequence

    def _rotate(self) -> None:
        if self._disk.exists(self._folder / f"{self.next:020d}{SUFFIX}"):  # a file that failed before its first frame
            self._disk.unlink(self._folder / f"{self.next:020d}{SUFFIX}")
        fresh = self._new_file()
        self._disk.sync_dir(self._folder)
        self._writer.close()
        self._writer = fresh
        self._synced, self._failed = self._writer.size(), False

    def release(self, before: int) -> list[Path]:
        """Unlink files all of whose sequences lie before `before`; never the newest. Returns their paths."""
        files = _files(self._disk, self._folder)
        gone = [path for (_, path), (following, _) in pairwise(files) if following <= before]
        for path in gone:
            self._disk.unlink(path)
        return gone

    def close(self) -> None:
        """Close the newest file."""
        self._writer.close()


def scan(disk: Disk, path: Path, first: int) -> Iterator[tuple[int, FrameHead] | Damage]:
    """Every sound frame of a file as (offset, head), and what lies between them as Damage. Checks bodies."""
    size, offset, expected = disk.size(path), 0, first
    bad_from: int | None = None
    reason = ""
    while offset < size:
        try:
            head = read_head(disk.read(path, offset, HEADER))
            check_body(head, disk.read(path, offset + HEADER, head.meta_size + head.payload_size))
        except (DamagedError, ValueError) as fault:
            if bad_from is None:
                bad_from, reason = offset, str(fault)
            offset = _next_magic(disk, path, offset + 1, size)
            continue
        if head.sequence < expected:  # an unsynced frame that was sent again: the later copy stands in the next file
            offset += head.size
            continue
        if bad_from is not None or head.sequence > expected:
            start = offset if bad_from is None else bad_from
            yield Damage(path, start, offset - start, expected, head.sequence, reason or "frames are missing")
            bad_from, reason = None, ""
        yield offset, head
        expected = head.sequence + head.count
        offset += head.size
    if bad_from is not None:
        yield Damage(path, bad_from, size - bad_from, expected, expected, reason)


def _next_magic(disk: Disk, path: Path, offset: int, size: int) -> int:
    while offset < size:
        chunk = disk.read(path, offset, 1 << 20)
        found = chunk.find(MAGIC)
        if found >= 0:
            return offset + found
        if offset + len(chunk) >= size:
            break
        offset += len(chunk) - len(MAGIC) + 1
    return size


class JournalReader:
    """Reads a lane's frames in order, up to the committed mark; names damage and gaps and goes on behind them."""

    def __init__(self, disk: Disk, folder: Path, mark: Mark | None = None) -> None:
        self._disk, self._folder, self._mark = disk, folder, mark
        self._path: Path | None = None
        self._offset = 0
        self._sequence = 0

    def committed(self) -> int | None:
        """The sequence up to which frames may be read; None when no writer has said."""
        if self._mark is None:
            try:
                self._mark = Mark(self._folder / "mark", write=False)
            except (OSError, ValueError):
                return None
        return self._mark.get()

    def frames(self, cursor: int, max_records: int, max_bytes: int = 128 << 20) -> Iterator[Frame | Damage]:
        """Sound frames from `cursor` on and the damage between them, at most about `max_records` records.

        A frame that begins before `cursor` (a resumed cut) never occurs: cuts end at frame borders.
        """
        end = self.committed()
        if end is None or cursor >= end:
            return
        taken = size = 0
        for path, first, limit in self._from(cursor, end):
            if first > cursor:
                yield Damage(path, 0, 0, cursor, first, "a journal file is missing")
                cursor = first
            start = self._offset if self._path == path and self._sequence == cursor else 0
            for item in self._read(path, cursor if start else first, start, min(limit, end)):
                if isinstance(item, Damage):
                    if item.last > cursor:
                        yield Damage(item.path, item.offset, item.length, max(item.first, cursor), item.last, item.reason)
                        cursor = item.last
                    continue
                offset, frame = item
                if frame.head.sequence + frame.head.count <= cursor:
                    continue
                cursor = frame.head.sequence + frame.head.count
                self._path, self._offset, self._sequence = path, offset + frame.head.size, cursor
                yield frame
                taken += frame.head.count
                size += len(frame.payload)
                if taken >= max_records or size >= max_bytes:
                    return
            if limit <= end and cursor < limit:
                yield Damage(path, 0, 0, cursor, limit, "frames are missing at the end of a journal file")
                cursor = limit

    def _from(self, cursor: int, end: int) -> Iterator[tuple[Path, int, int]]:
        """(path, first, one past last) of files that hold something of [cursor, end)."""
        files = _files(self._disk, self._folder)
        for index, (first, path) in enumerate(files):
            limit = files[index + 1][0] if index + 1 < len(files) else end
            if limit > cursor and first < end:
                yield path, first, limit

    def _read(self, path: Path, expected: int, offset: int, end: int) -> Iterator[tuple[int, Frame] | Damage]:
        yield from scan_frames(self._disk, path, expected, end, offset)


def scan_frames(disk: Disk, path: Path, first: int, end: int, offset: int = 0) -> Iterator[tuple[int, Frame] | Damage]:
    """Like `scan`, with payloads, and stopping before sequence `end`."""
    size, expected = disk.size(path), first
    bad_from: int | None = None
    reason = ""
    while offset < size and expected < end:
        try:
            head = read_head(disk.read(path, offset, HEADER))
            body = disk.read(path, offset + HEADER, head.meta_size + head.payload_size)
            check_body(head, body)
            context = decode_context(body[: head.meta_size])
        except (DamagedError, ValueError, KeyError, TypeError) as fault:
            if bad_from is None:
                bad_from, reason = offset, str(fault)
            offset = _next_magic(disk, path, offset + 1, size)
            continue
        if head.sequence < expected:
            offset += head.size
            continue
        if head.sequence >= end:
            return
        if bad_from is not None or head.sequence > expected:
            start = offset if bad_from is None else bad_from
            yield Damage(path, start, offset - start, expected, head.sequence, reason or "frames are missing")
            bad_from, reason = None, ""
        yield offset, Frame(head, context, body[head.meta_size :])
        expected = head.sequence + head.count
        offset += head.size
    if bad_from is not None and expected < end:
        yield Damage(path, bad_from, size - bad_from, expected, expected, reason)


def contexts(disk: Disk, folder: Path, since: int) -> Iterator[tuple[int, FrameContext]]:
    """(sequence, context) of every sound frame from `since` on: how received ranges are rebuilt at start."""
    files = _files(disk, folder)
    for index, (first, path) in enumerate(files):
        if index + 1 < len(files) and files[index + 1][0] <= since:
            continue
        for item in scan_frames(disk, path, first, 1 << 62):
            if isinstance(item, Damage):
                continue
            _, frame = item
            if frame.head.sequence + frame.head.count > since:
                yield frame.head.sequence, frame.context


def verify_journal(disk: Disk, data: Path, lane: Lane) -> Iterator[Damage]:
    """Everything in a lane's journal that is no sound frame or is missing between frames, up to the committed mark."""
    folder = journal_folder(data, lane)
    files = _files(disk, folder)
    try:
        end = Mark(folder / "mark", write=False).get() or 0
    except (OSError, ValueError):
        end = 0
    expected = files[0][0] if files else 0
    for index, (first, path) in enumerate(files):
        limit = files[index + 1][0] if index + 1 < len(files) else end
        if first > expected:
            yield Damage(path, 0, 0, expected, first, "a journal file is missing")
        expected = first
        for item in scan_frames(disk, path, first, limit):
            if isinstance(item, Damage):
                yield item
                expected = max(expected, item.last)
            else:
                expected = item[1].head.sequence + item[1].head.count
        if expected < limit:
            yield Damage(path, disk.size(path), 0, expected, limit, "frames are missing at the end of the file")
            expected = limit
