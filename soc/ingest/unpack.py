"""Bounded unpacking of a received body: how many records it holds, without ever holding it whole.

Between receive and the intake. A body is stored as it came (gzip is packed anew as zstd); it is unpacked here only to
be checked and counted, so that nothing enters the journal that the normaliser could not read again.
"""
from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard

from soc.errors import InputRefused, TooLargeError
from soc.ingest.batch import Compression, Encoding

__all__ = ["Bounds", "LineCounter", "SizedCounter", "Unpacked", "unpack"]

CHUNK = 128 * 1024
_SAMPLE = 4096
_LONG_LINE = 400
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC = b"\x1f\x8b"
_SUSPICIOUS_SIZE = 16 << 20
_SUSPICIOUS_RATIO = 200
"""A gzip body that grew past this size by more than this factor is refused: inflating is slow enough to be a weapon."""
_SLICE = 32 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Caps of one body: unpacked bytes, records, zstd window and frames or gzip members."""

    unpacked: int = 64 << 20
    records: int = 50_000
    window: int = 8 << 20
    members: int = 2_000


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A checked body as it goes into a frame: `count` records in `size` bytes once unpacked."""

    payload: bytes
    compression: Compression
    count: int
    size: int


class Counter(Protocol):
    """Counts records of a body given in pieces."""

    def feed(self, chunk: bytes) -> None:
        """Take the next piece. Raises TooLargeError."""

    def finish(self) -> int:
        """The number of records. Raises InputRefused if the last one is cut off."""


def unpack(body: bytes, coding: str, encoding: Encoding, bounds: Bounds) -> Unpacked:
    """Check and count a body whose Content-Encoding is `coding` ('', 'zstd' or 'gzip').

    Raises TooLargeError over a cap, InputRefused if it is not wholly what it says it is; work is bounded by the caps.
    """
    counter = LineCounter(bounds.records) if encoding is Encoding.LINES else SizedCounter(bounds.records)
    guarded = _NotPackedAgain(counter) if encoding is Encoding.LINES else counter
    if coding == "zstd":
        size = _count_zstd(body, guarded, bounds)
        return Unpacked(body, Compression.ZSTD, counter.finish(), size)
    if coding == "gzip":
        payload, size = _repack_gzip(body, guarded, bounds)
        return Unpacked(payload, Compression.ZSTD, counter.finish(), size)
    if len(body) > bounds.unpacked:
        raise _too_large(bounds)
    for start in range(0, len(body), CHUNK):
        guarded.feed(body[start : start + CHUNK])
    return Unpacked(body, Compression.NONE, counter.finish(), len(body))


class LineCounter:
    """Counts lines that are records: what is empty once LF or CRLF is taken off is none."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._lines = 0
        self._pending = b""  # what is known of the line begun: b"", b"\r", or b"x" for anything else

    def feed(self, chunk: bytes) -> None:
        """Take the next piece. Raises TooLargeError above the limit of records, or of lines (twice that)."""
        if chunk.count(b"\n", 0, _SAMPLE) * _LONG_LINE <= _SAMPLE:
            self._feed_long(chunk)
        else:
            self._feed_short(chunk)
        if self._count > self._limit or self._lines > 2 * self._limit + 1000:
            raise _too_many(self._limit)

    def _feed_short(self, chunk: bytes) -> None:
        parts = chunk.split(b"\n")
        parts[0] = self._pending + parts[0]
        last = parts.pop()
        self._pending = last if last in (b"", b"\r") else b"x"
        self._lines += len(parts)
        self._count += len(parts) - parts.count(b"") - parts.count(b"\r")

    def _feed_long(self, chunk: bytes) -> None:
        """The same by searching: three times as fast where line ends are far apart."""
        data = self._pending + chunk
        find = data.find
        begins = lines = count = 0
        while (ends := find(b"\n", begins)) >= 0:
            lines += 1
            if ends - begins > 1 or (ends > begins and data[begins] != 0x0D):
                count += 1
            begins = ends + 1
        last = data[begins:] if len(data) - begins < 2 else b"x"
        self._pending = last if last in (b"", b"\r") else b"x"
        self._lines += lines
        self._count += count

    def finish(self) -> int:
        """The number of records, the last of which needs no line end. Raises TooLargeError."""
        count = self._count + (self._pending == b"x")
        if count > self._limit:
            raise _too_many(self._limit)
        return count


class SizedCounter:
    """Counts records that each follow their length (unsigned 32-bit little-endian)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._missing = 0
        self._prefix = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next piece. Raises TooLargeError above the limit of records."""
        if self._missing >= len(chunk):
            self._missing -= len(chunk)
            return
        data = self._prefix + chunk[self._missing :]
        offset, end, count = 0, len(data), self._count
        while offset + 4 <= end:
            count += 1
            if count > self._limit:
                raise _too_many(self._limit)
            offset += 4 + int.from_bytes(data[offset : offset + 4], "little")
        self._count = count
        self._missing = max(0, offset - end)
        self._prefix = data[offset:]

    def finish(self) -> int:
        """The number of records. Raises InputRefused if the body ends inside one."""
        if self._missing or self._prefix:
            raise InputRefused("the last record is cut off", remedy="each record follows its length, 4 bytes little-endian")
        return self._count


class _NotPackedAgain:
    """Passes pieces on, unless the first ones show that lines are packed (again): declared wrongly, or twice."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._head = b""

    def feed(self, chunk: bytes) -> None:
        if len(self._head) < 4:
            self._head = (self._head + chunk[:4])[:4]
            if self._head.startswith((_ZSTD_MAGIC, _GZIP_MAGIC)):
                raise InputRefused("what should be lines is compressed data",
                                   remedy="compress once, and say how in Content-Encoding (zstd or gzip)")
        self._counter.feed(chunk)

    def finish(self) -> int:
        return self._counter.finish()


def _count_zstd(body: bytes, counter: Counter, bounds: Bounds) -> int:
    """Unpack in pieces and count. The frames' bounds are checked first: zstandard itself passes over a cut-off end."""
    _check_zstd_frames(body, bounds)
    size = 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=bounds.window)
    try:
        with decompressor.stream_reader(body, read_across_frames=True) as reader:
            while piece := reader.read(CHUNK):
                size += len(piece)
                if size > bounds.unpacked:
                    raise _too_large(bounds)
                counter.feed(piece)
    except zstandard.ZstdError as fault:
        raise InputRefused("the body is no valid zstd", remedy="send it again; nothing of it was stored") from fault
    return size


def _check_zstd_frames(body: bytes, bounds: Bounds) -> None:
    """Walk frames and block headers (RFC 8878 §3.1): whole frames and nothing else, within window and size caps."""
    offset, end, blocks, known = 0, len(body), 0, 0
    most_blocks = bounds.records + bounds.unpacked // CHUNK + bounds.members
    frames = 0
    while offset < end or not frames:
        frames += 1
        if frames > bounds.members:
            raise TooLargeError(f"more than {bounds.members} zstd frames in one body", remedy="send a batch as one frame")
        offset, checksum = _zstd_header(body, offset, bounds)
        last = False
        while not last:
            if offset + 3 > end:
                raise _cut_off("zstd")
            head = int.from_bytes(body[offset : offset + 3], "little")
            last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
            if kind == 3 or size > CHUNK:
                raise InputRefused("the body is no valid zstd: a block of no known kind")
            offset += 3 + (1 if kind == 1 else size)
            known += size if kind != 2 else 0
            blocks += 1
            if known > bounds.unpacked or blocks > most_blocks:
                raise _too_large(bounds)
        offset += 4 if checksum else 0
        if offset > end:
            raise _cut_off("zstd")


def _zstd_header(body: bytes, offset: int, bounds: Bounds) -> tuple[int, bool]:
    """Where the frame's blocks begin, and whether a checksum ends it."""
    if body[offset : offset + 4] != _ZSTD_MAGIC:
        what = "bytes behind the zstd frame that are none" if offset else "the body is not zstd"
        raise InputRefused(what, remedy="send plain zstd frames: no skippable frames, nothing before or behind them")
    if len(body) < offset + 6:
        raise _cut_off("zstd")
    flags = body[offset + 4]
    single = bool(flags & 0x20)
    if flags & 0x08:
        raise InputRefused("the body is no valid zstd: a reserved bit is set")
    if flags & 0x03:
        raise InputRefused("the body needs a zstd dictionary", remedy="compress without a dictionary")
    offset += 5
    window = 0
    if not single:
        exponent, mantissa = body[offset] >> 3, body[offset] & 7
        window = (1 << (10 + exponent)) * (8 + mantissa) // 8
        offset += 1
    width = (1 if single else 0, 2, 4, 8)[flags >> 6]
    if len(body) < offset + width:
        raise _cut_off("zstd")
    content = int.from_bytes(body[offset : offset + width], "little") + (256 if width == 2 else 0)
    if width and content > bounds.unpacked:
        raise _too_large(bounds)
    if max(window, content if single else 0) > bounds.window:
        raise TooLargeError(f"the zstd window is larger than {bounds.window >> 20} MiB",
                            remedy="compress with level 19 or less and without long-distance matching")
    return offset + width, bool(flags & 0x04)


def _repack_gzip(body: bytes, counter: Counter, bounds: Bounds) -> tuple[bytes, int]:
    """Inflate in pieces, count, and pack as zstd level 1. Returns (payload, unpacked size)."""
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    packed: list[bytes] = []
    size = packed_size = 0
    try:
        for piece, consumed in _inflate(body, bounds.members):
            size += len(piece)
            if size > bounds.unpacked or (size > _SUSPICIOUS_SIZE and size > _SUSPICIOUS_RATIO * consumed):
                raise _too_large(bounds)
            counter.feed(piece)
            if part := packer.compress(piece):
                packed.append(part)
                packed_size += len(part)
            if packed_size > 2 * len(body) + _SUSPICIOUS_SIZE:
                raise _too_large(bounds)
    except zlib.error as fault:
        raise InputRefused("the body is no valid gzip", remedy="send it again; nothing of it was stored") from fault
    packed.append(packer.flush())
    return b"".join(packed), size


def _inflate(body: bytes, members: int) -> Iterator[tuple[bytes, int]]:
    """(piece, bytes of `body` read so far) of every gzip member, fed in slices so that nothing is copied over and over."""
    offset, end = 0, len(body)
    for _ in range(members):
        inflater = zlib.decompressobj(wbits=31)
        while not inflater.eof:
            pending = inflater.unconsumed_tail
            if not pending:
                if offset >= end:
                    raise _cut_off("gzip")
                pending = body[offset : offset + _SLICE]
                offset += len(pending)
            if piece := inflater.decompress(pending, CHUNK):
                yield piece, offset
        offset -= len(inflater.unused_data)
        if offset >= end:
            return
    raise TooLargeError(f"more than {members} gzip members in one body", remedy="send a batch as one member")


def _cut_off(kind: str) -> InputRefused:
    return InputRefused(f"the {kind} body ends too early", remedy="send it again whole; nothing of it was stored")


def _too_large(bounds: Bounds) -> TooLargeError:
    return TooLargeError(f"the body is larger than {bounds.unpacked} bytes once unpacked", remedy="send smaller batches")


def _too_many(limit: int) -> TooLargeError:
    return TooLargeError(f"more than {limit} records in one batch", remedy="send smaller batches")
