"""Compressed streams (.gz .zst .bz2 .xz) as files that are read forwards, bounded in memory whatever they hold.

Unlike most readers these never take a stream that ends early for a whole one: they raise `Broken`.
"""
from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

import zstandard

__all__ = ["Broken", "Inflated", "compression_of"]

_OUT = 1 << 18
_MEMORY = 256 << 20
_WINDOW = 1 << 27
_ZSTD_PIECE = 512
"""Input given to zstd at once: a block of 128 KiB needs 4 bytes, so 512 bytes give 16 MiB at most."""


class Broken(Exception):
    """A packed stream that is cut off or damaged; what came before was given out."""


class _Decoder(Protocol):
    def feed(self, data: bytes) -> bytes: ...

    def pending(self) -> bool: ...

    def ended(self) -> bool: ...

    def unused(self) -> bytes: ...


class Inflated(io.RawIOBase):
    """The unpacked content of `source`, several packed streams one behind the other included. Read only forwards."""

    def __init__(self, source: BinaryIO, kind: str) -> None:
        """`kind` as of `compression_of`."""
        self._source = source
        self._make = _DECODERS[kind]
        self._piece = _ZSTD_PIECE if kind == "zst" else 1 << 16
        self._decoder: _Decoder | None = None
        self._out = b""
        self._in = b""
        self._some = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        while not self._out:
            if not self._step():
                return 0
        given = self._out[: len(view)]
        view[: len(given)] = given
        self._out = self._out[len(given):]
        return len(given)

    def _step(self) -> bool:
        """Unpack one more piece into `_out`. False at the end. Raises Broken."""
        if self._decoder is None:
            if not self._in:
                self._in = self._source.read(1 << 16)
            if self._some and not self._in.strip(b"\0"):
                if not self._in:
                    return False
                self._in = b""  # padding behind the last stream
                return True
            if not self._in:
                return False
            self._decoder = self._make()
        piece = b""
        if not self._decoder.pending():
            self._in = self._in or self._source.read(1 << 16)
            piece, self._in = self._in[: self._piece], self._in[self._piece:]
        try:
            self._out = self._decoder.feed(piece)
        except (zlib.error, OSError, EOFError, lzma.LZMAError, zstandard.ZstdError, ValueError, MemoryError) as fault:
            raise Broken(f"it is damaged ({str(fault)[:120] or type(fault).__name__})") from fault
        if not piece and not self._out and not self._decoder.pending() and not self._decoder.ended():
            raise Broken("it ends before its content does")
        if self._decoder.ended():
            self._in = self._decoder.unused() + self._in
            self._decoder, self._some = None, True
        return True


def compression_of(start: bytes) -> str:
    """The kind of compression that a file with this start has: gz, zst, bz2, xz or ""."""
    for magic, kind in ((b"\x1f\x8b", "gz"), (b"\x28\xb5\x2f\xfd", "zst"), (b"BZh", "bz2"), (b"\xfd7zXZ\0", "xz")):
        if start.startswith(magic):
            return kind
    return ""


class _Gzip:
    def __init__(self) -> None:
        self._object = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> bytes:
        return self._object.decompress(self._object.unconsumed_tail + data, _OUT)

    def pending(self) -> bool:
        return bool(self._object.unconsumed_tail)

    def ended(self) -> bool:
        return self._object.eof

    def unused(self) -> bytes:
        return self._object.unused_data


class _Zstd:
    def __init__(self) -> None:
        self._object = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    def feed(self, data: bytes) -> bytes:
        return bytes(self._object.decompress(data))

    def pending(self) -> bool:
        return False

    def ended(self) -> bool:
        return bool(self._object.eof)

    def unused(self) -> bytes:
        return bytes(self._object.unused_data)


class _Bounded:
    """bz2 and xz: decoders that keep their own input."""

    def __init__(self, decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._object = decoder

    def feed(self, data: bytes) -> bytes:
        return self._object.decompress(data, _OUT)

    def pending(self) -> bool:
        return not self._object.needs_input

    def ended(self) -> bool:
        return self._object.eof

    def unused(self) -> bytes:
        return self._object.unused_data


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gz": _Gzip,
    "zst": _Zstd,
    "bz2": lambda: _Bounded(bz2.BZ2Decompressor()),
    "xz": lambda: _Bounded(lzma.LZMADecompressor(memlimit=_MEMORY)),
}
