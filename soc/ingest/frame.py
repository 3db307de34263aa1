"""A frame: a received batch exactly as it lies in the journal. Format: docs/formats.md.

header (40 bytes, little-endian) ‖ meta (JSON of `FrameContext`) ‖ payload (as received). The header has its own
checksum, so that a reader can find the next frame behind a damaged one.
"""
from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields

import orjson
import zstandard

from soc.errors import DamagedError
from soc.event import FrameContext, Origin
from soc.ingest.batch import Batch, Compression, Encoding

__all__ = ["HEADER", "MAGIC", "VERSION", "Frame", "FrameHead", "decode_context", "encode", "read_head", "records_of"]

MAGIC = b"SOCF"
VERSION = 1
_LAYOUT = struct.Struct("<4sBBBBQIIII")
HEADER = 40
"""Bytes: the layout (32) + body checksum (4) + header checksum (4)."""
_SUMS = struct.Struct("<II")

MAX_META = 64 * 1024
MAX_PAYLOAD = 64 * 1024 * 1024
MAX_RECORDS_BYTES = 256 * 1024 * 1024
"""Cap on a frame's records once decompressed; the gateway refuses far smaller ones."""


@dataclass(frozen=True, slots=True)
class FrameHead:
    """A frame's header: where it belongs and how long it is. `body_sum` is the CRC-32 of meta ‖ payload."""

    encoding: Encoding
    compression: Compression
    sequence: int
    count: int
    meta_size: int
    payload_size: int
    body_sum: int

    @property
    def size(self) -> int:
        """Bytes of the whole frame."""
        return HEADER + self.meta_size + self.payload_size


@dataclass(frozen=True, slots=True)
class Frame:
    """A checked frame."""

    head: FrameHead
    context: FrameContext
    payload: bytes


def encode(batch: Batch, sequence: int) -> bytes:
    """The frame of `batch` whose first record stands at `sequence`, without copying the payload twice."""
    context = batch.context
    meta = orjson.dumps({f: getattr(context, f) for f in _NAMES})
    body_sum = zlib.crc32(batch.payload, zlib.crc32(meta))
    fixed = _LAYOUT.pack(
        MAGIC, VERSION, batch.encoding, batch.compression, 0, sequence, context.count, len(meta), len(batch.payload), 0
    ) + body_sum.to_bytes(4, "little")
    return b"".join((fixed, zlib.crc32(fixed).to_bytes(4, "little"), meta, batch.payload))


def read_head(data: bytes, offset: int = 0) -> FrameHead:
    """The header at `offset`. Raises DamagedError if it is not a whole, sound one."""
    if len(data) - offset < HEADER:
        raise DamagedError("the frame header is cut off")
    magic, version, encoding, compression, _flags, sequence, count, meta_size, payload_size, _ = _LAYOUT.unpack_from(data, offset)
    body_sum, head_sum = _SUMS.unpack_from(data, offset + _LAYOUT.size)
    if magic != MAGIC or zlib.crc32(memoryview(data)[offset : offset + HEADER - 4]) != head_sum:
        raise DamagedError("no sound frame header here")
    if version != VERSION:
        raise DamagedError(f"frame version {version} is newer than this program", remedy="use the version that wrote it")
    if meta_size > MAX_META or payload_size > MAX_PAYLOAD:
        raise DamagedError("the frame header names an impossible size")
    return FrameHead(Encoding(encoding), Compression(compression), sequence, count, meta_size, payload_size, body_sum)


def check_body(head: FrameHead, body: bytes) -> None:
    """Raises DamagedError unless `body` (meta ‖ payload) is whole and sums up."""
    if len(body) != head.meta_size + head.payload_size:
        raise DamagedError("the frame is cut off")
    if zlib.crc32(body) != head.body_sum:
        raise DamagedError("the frame does not match its checksum")


_NAMES = tuple(f.name for f in fields(FrameContext))


def decode_context(meta: bytes) -> FrameContext:
    """The context a frame was written with; fields that this version does not know are left out."""
    known = orjson.loads(meta)
    values = {name: known[name] for name in _NAMES if name in known}
    values["origin"] = Origin(values["origin"])
    return FrameContext(**values)


def records_of(frame: Frame) -> list[bytes]:
    """The records of a frame, in order. Raises DamagedError if they are not as many as it says."""
    data = frame.payload if frame.head.compression is Compression.NONE else _inflate(frame.payload)
    records = list(_lines(data) if frame.head.encoding is Encoding.LINES else _sized(data))
    if len(records) != frame.head.count:
        raise DamagedError(f"the frame says {frame.head.count} records and holds {len(records)}")
    return records


def _inflate(payload: bytes) -> bytes:
    parts: list[bytes] = []
    total = 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    with decompressor.stream_reader(payload, read_across_frames=True) as reader:
        while part := reader.read(1 << 20):
            total += len(part)
            if total > MAX_RECORDS_BYTES:
                raise DamagedError("the frame unpacks to more than any gateway takes")
            parts.append(part)
    return b"".join(parts)


def _lines(data: bytes) -> Iterator[bytes]:
    for line in data.split(b"\n"):
        if line.endswith(b"\r"):
            line = line[:-1]
        if line:
            yield line


def _sized(data: bytes) -> Iterator[bytes]:
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < 4:
            raise DamagedError("a record's length is cut off")
        size = int.from_bytes(data[offset : offset + 4], "little")
        if end - offset - 4 < size:
            raise DamagedError("a record is cut off")
        yield data[offset + 4 : offset + 4 + size]
        offset += 4 + size
