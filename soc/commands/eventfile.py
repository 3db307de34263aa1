"""A file of events, or standard input, as numbered records: what rules are tried on without a server.

Packed files (.gz .zst .bz2 .xz, by their content) are read as they are unpacked; nothing is held but the records in
hand. Records are cut by the readers of `soc import`, so both meet the same events.
"""
from __future__ import annotations

import io
import os
import select
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final, cast

from collectors.evtx import MAGIC, read_evtx
from collectors.lines import Tally, every_text, read_json
from collectors.unpack import Broken, Inflated, compression_of
from soc.detect.engine.lines import Text
from soc.errors import InputRefused

__all__ = ["STDIN", "Block", "EventFile"]

STDIN: Final = "-"
_PATIENCE: Final = 0.2
"""Seconds that records of a slow pipe wait for more before they are given out."""
_HEAD: Final = 8
_AT_ONCE: Final = 1_000
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """Records that were read together. Their numbers are those of lines as an editor counts them; in a file without lines, their places."""

    records: Text
    before: int
    """How many lines, or records, came before them."""
    is_last: bool = False
    """Whether there is no more for now."""


class EventFile(AbstractContextManager["EventFile"]):
    """One input, opened by `with`. `path` is "-" for standard input. Raises InputRefused if it cannot be opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        """Bytes as they lie on disk; 0 for what has no size, such as a pipe."""
        self.file_time = 0
        """Last change in µs; 0 if there is none."""
        self.tally = Tally()
        """Records that could not be read, or were cut."""

    def __enter__(self) -> EventFile:
        try:
            self._raw = io.FileIO(0, closefd=False) if self.path == STDIN else io.FileIO(self.path)
        except OSError as error:
            raise InputRefused(f"{self.path}: {error.strerror or error}", remedy="give files of events, or -") from None
        info = os.fstat(self._raw.fileno())
        if stat.S_ISREG(info.st_mode):
            self.size, self.file_time = info.st_size, info.st_mtime_ns // 1000
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._raw.close()

    def done(self) -> int:
        """Bytes of the file read so far, as they lie on disk."""
        return self._raw.tell() if self.size else 0

    def blocks(self) -> Iterator[Block]:
        """The records, a megabyte or so at once and never none. Raises InputRefused when it cannot be read on."""
        try:
            yield from self._blocks()
        except Broken as broken:
            raise InputRefused(f"{self.path}: {broken}", remedy="what came before was read") from None
        except OSError as error:
            raise InputRefused(f"{self.path}: {error.strerror or error}") from None

    def _blocks(self) -> Iterator[Block]:
        start, stream = _peeked(cast(BinaryIO, self._raw))
        name = self.path
        if packing := compression_of(start):
            name = name.removesuffix(f".{packing}")
            start, stream = _peeked(cast(BinaryIO, Inflated(stream, packing)))
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")) or compression_of(start):
            raise InputRefused(f"{self.path}: an archive, or packed twice", remedy="unpack it first")
        if start == MAGIC:
            yield from _grouped(read_evtx(_seekable(stream), self.tally))
        elif name.lower().endswith(".json"):
            yield from _grouped(read_json(_seekable(stream), self.tally))
        else:
            yield from self._lines(stream)

    def _lines(self, stream: BinaryIO) -> Iterator[Block]:
        before = 0
        for content in every_text(stream, self.tally):
            text = Text.of(content)
            if len(text):
                yield Block(text, before, is_last=not self.size and self._dry())
            before += text.count

    def _dry(self) -> bool:
        """Whether a pipe has no more for now."""
        return not select.select([self._raw.fileno()], [], [], _PATIENCE)[0]


def _grouped(records: Iterator[bytes]) -> Iterator[Block]:
    waiting: list[bytes] = []
    before = length = 0
    try:
        for record in records:
            waiting.append(record)
            length += len(record)
            if len(waiting) >= _AT_ONCE or length >= _MOST_BYTES:
                yield Block(Text.of_records(waiting), before)
                before, length, waiting = before + len(waiting), 0, []
    except (Broken, OSError):
        if waiting:
            yield Block(Text.of_records(waiting), before)  # what came before the damage
        raise
    if waiting:
        yield Block(Text.of_records(waiting), before)


class _Begun(io.RawIOBase):
    """A stream with the bytes that were read ahead of it put back."""

    def __init__(self, start: bytes, stream: BinaryIO) -> None:
        self._start, self._stream = start, stream

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        wanted = 1 << 16 if size is None or size < 0 else size
        given, self._start = self._start[:wanted], self._start[wanted:]
        return given or self._stream.read(wanted)


def _peeked(stream: BinaryIO) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, and the stream as if they had not been read."""
    start = b""
    while len(start) < _HEAD and (piece := stream.read(_HEAD - len(start))):
        start += piece
    return start, cast(BinaryIO, _Begun(start, stream))


def _seekable(stream: BinaryIO) -> BinaryIO:
    """The stream as a nameless file, for readers that jump about in it."""
    room = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 -- lives as long as its reader
    shutil.copyfileobj(stream, room, 1 << 20)
    return room
