"""Unpacking counts exactly what the normaliser will read, refuses all else, and stays cheap whatever it is given."""
from __future__ import annotations

import gzip
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.errors import DamagedError, InputRefused, TooLargeError
from soc.event import FrameContext
from soc.ingest.batch import Compression, Encoding
from soc.ingest.frame import Frame, FrameHead, records_of
from soc.ingest.unpack import Bounds, LineCounter, SizedCounter, Unpacked, unpack

BOUNDS = Bounds()
CONTEXT = FrameContext("s", "s", 0, 0, 0, 0)
PIECES = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\n\n", b"text", b"\0"]), max_size=40).map(b"".join)


def read_again(unpacked: Unpacked, encoding: Encoding) -> list[bytes]:
    """What the normaliser makes of it. Raises DamagedError if the count is another."""
    head = FrameHead(encoding, unpacked.compression, 0, unpacked.count, 0, len(unpacked.payload), 0)
    return records_of(Frame(head, CONTEXT, unpacked.payload))


def pack(body: bytes, coding: str, level: int = 1) -> bytes:
    match coding:
        case "zstd":
            return zstandard.ZstdCompressor(level=level).compress(body)
        case "gzip":
            return gzip.compress(body, level)
        case _:
            return body


@given(body=PIECES, coding=st.sampled_from(["", "zstd", "gzip"]), cut=st.integers(0, 80))
@settings(max_examples=300, deadline=None)
def test_lines_are_counted_as_the_normaliser_reads_them(body: bytes, coding: str, cut: int) -> None:
    unpacked = unpack(pack(body, coding), coding, Encoding.LINES, BOUNDS)
    assert len(read_again(unpacked, Encoding.LINES)) == unpacked.count
    assert unpacked.compression is (Compression.ZSTD if coding else Compression.NONE)
    counter = LineCounter(1000)
    counter.feed(body[:cut])
    counter.feed(body[cut:])
    assert counter.finish() == unpacked.count


@given(pieces=st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\n\n", b"x" * 500, b"\0" * 4100]), max_size=30),
       cuts=st.lists(st.integers(0, 20_000), max_size=6))
@settings(max_examples=200, deadline=None)
def test_long_and_short_lines_are_counted_alike(pieces: list[bytes], cuts: list[int]) -> None:
    body = b"".join(pieces)
    counter = LineCounter(1000)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    for begin, end in pairwise(bounds):
        counter.feed(body[begin:end])
    assert counter.finish() == sum(line.removesuffix(b"\r") != b"" for line in body.split(b"\n"))


@given(records=st.lists(st.binary(max_size=30), max_size=20), coding=st.sampled_from(["", "zstd", "gzip"]),
       cuts=st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=200, deadline=None)
def test_sized_records_are_counted_however_they_are_cut(records: list[bytes], coding: str, cuts: list[int]) -> None:
    body = b"".join(struct.pack("<I", len(record)) + record for record in records)
    unpacked = unpack(pack(body, coding), coding, Encoding.SIZED, BOUNDS)
    assert read_again(unpacked, Encoding.SIZED) == records
    counter = SizedCounter(1000)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    for begin, end in pairwise(bounds):
        counter.feed(body[begin:end])
    assert counter.finish() == len(records)


@given(body=PIECES.filter(len), coding=st.sampled_from(["zstd", "gzip"]), cut=st.integers(1, 200), frames=st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_a_stream_cut_off_anywhere_is_refused(body: bytes, coding: str, cut: int, frames: int) -> None:
    packed = pack(body, coding) * frames
    one = len(packed) // frames
    cut = cut % len(packed)
    if cut % one:
        with pytest.raises(InputRefused):
            unpack(packed[:cut], coding, Encoding.LINES, BOUNDS)


@given(body=st.binary(max_size=300), coding=st.sampled_from(["", "zstd", "gzip"]), encoding=st.sampled_from(list(Encoding)))
@settings(max_examples=300, deadline=None)
def test_whatever_is_taken_can_be_read_again(body: bytes, coding: str, encoding: Encoding) -> None:
    try:
        unpacked = unpack(body, coding, encoding, BOUNDS)
    except InputRefused:
        return
    read_again(unpacked, encoding)


@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3),
       coding=st.sampled_from(["zstd", "gzip"]))
@settings(max_examples=300, deadline=None)
def test_flipped_bytes_never_pass_for_something_unreadable(flips: list[tuple[int, int]], coding: str) -> None:
    packed = bytearray(pack(b"".join(b'{"n":%d}\n' % n for n in range(200)), coding))
    for place, change in flips:
        packed[place % len(packed)] ^= change
    try:
        unpacked = unpack(bytes(packed), coding, Encoding.LINES, BOUNDS)
    except InputRefused:
        return
    try:
        read_again(unpacked, Encoding.LINES)
    except DamagedError as fault:  # pragma: no cover
        pytest.fail(f"taken, and then not readable: {fault}")


ZEROS = bytes(1 << 20)


def _zstd_stream(declared: bool, size: int) -> bytes:
    if declared:
        return zstandard.ZstdCompressor().compress(bytes(size))
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join([packer.compress(ZEROS) for _ in range(size >> 20)] + [packer.flush()])


def _tiny_blocks(count: int) -> bytes:
    """A frame of `count` raw blocks of nothing."""
    return b"\x28\xb5\x2f\xfd\x00\x38" + b"\0\0\0" * count + b"\x01\0\0"


def _run_length_blocks(count: int) -> bytes:
    """A frame of `count` blocks of 128 KiB in four bytes each."""
    block = (2 | (128 * 1024) << 3).to_bytes(3, "little") + b"x"
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * count + b"\x01\0\0"


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zstd with its size": (lambda: _zstd_stream(True, 256 << 20), "zstd"),
    "zstd without its size": (lambda: _zstd_stream(False, 256 << 20), "zstd"),
    "zstd of run-length blocks": (lambda: _run_length_blocks(100_000), "zstd"),
    "zstd of empty blocks": (lambda: _tiny_blocks(5_000_000), "zstd"),
    "zstd of a thousand frames": (lambda: zstandard.ZstdCompressor().compress(ZEROS) * 1000, "zstd"),
    "zstd of a million empty frames": (lambda: zstandard.ZstdCompressor().compress(b"") * 1_000_000, "zstd"),
    "zstd of blank lines": (lambda: zstandard.ZstdCompressor().compress(b"\n" * (60 << 20)), "zstd"),
    "zstd of empty sized records": (lambda: zstandard.ZstdCompressor().compress(bytes(60 << 20)), "zstd"),
    "gzip": (lambda: gzip.compress(bytes(256 << 20), 9), "gzip"),
    "gzip of a thousand members": (lambda: gzip.compress(ZEROS, 9) * 1000, "gzip"),
    "gzip of a million empty members": (lambda: gzip.compress(b"") * 800_000, "gzip"),
    "zstd in zstd": (lambda: zstandard.ZstdCompressor().compress(_zstd_stream(True, 256 << 20)), "zstd"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_with_little_memory_and_work(name: str) -> None:
    make, coding = BOMBS[name]
    body = make()
    encoding = Encoding.SIZED if "sized" in name else Encoding.LINES
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()
        with pytest.raises(InputRefused) as refused:
            unpack(body, coding, encoding, BOUNDS)
        best = min(best, time.thread_time() - began)
    assert isinstance(refused.value, TooLargeError) or name == "zstd in zstd"
    assert best < 0.1, f"{best * 1000:.0f} ms of work"
    tracemalloc.start()
    try:
        with pytest.raises(InputRefused):
            unpack(body, coding, encoding, BOUNDS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20, f"{peak >> 20} MiB"


def test_honest_large_bodies_pass() -> None:
    line = b'{"message":"' + bytes(range(48, 90)) * 15 + b'"}\n'
    body = b"".join(line[:20] + b"%d" % n + line[20:] for n in range(40_000))
    for coding in ("", "zstd", "gzip"):
        assert unpack(pack(body, coding, 3), coding, Encoding.LINES, BOUNDS).count == 40_000


def test_deflate_without_the_gzip_head_is_refused() -> None:
    with pytest.raises(InputRefused):
        unpack(zlib.compress(b"x\n"), "gzip", Encoding.LINES, BOUNDS)
