"""What can be saved of a .zip without its directory (cut off, as a rule): its members one behind the other.

Reads the local headers of APPNOTE.TXT 4.3.7; only stored and deflated members, in the order in which they lie.
"""
from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from collectors.unpack import Broken

__all__ = ["Salvaged", "salvage"]

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_MAGIC = b"PK\x03\x04"
_STORED, _DEFLATED = 0, 8
_PIECE = 1 << 16


class Salvaged(io.RawIOBase):
    """One member, read forwards; must be read to its end before the next one. Raises Broken where it breaks off."""

    def __init__(self, file: BinaryIO, name: str, method: int, flags: int, size: int) -> None:
        self.name = name
        self._file, self._method, self._flags = file, method, flags
        self._left = size
        self._inflate = zlib.decompressobj(wbits=-15) if method == _DEFLATED else None
        self._held = b""
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        while not self._held and not self.ended:
            self._held = self._stored() if self._inflate is None else self._deflated(self._inflate)
        given = self._held[: len(view)]
        view[: len(given)] = given
        self._held = self._held[len(given):]
        return len(given)

    def _stored(self) -> bytes:
        piece = self._file.read(min(_PIECE, self._left))
        if self._left and not piece:
            raise Broken("it ends before its content does")
        self._left -= len(piece)
        self.ended = not self._left
        return piece

    def _deflated(self, inflate: zlib._Decompress) -> bytes:
        piece = inflate.unconsumed_tail or self._file.read(_PIECE)
        try:
            out = inflate.decompress(piece, _PIECE * 4)
        except zlib.error as fault:
            raise Broken(f"it is damaged ({fault})") from fault
        if inflate.eof:
            self._file.seek(-len(inflate.unused_data), io.SEEK_CUR)
            self.ended = True
        elif not piece and not out:
            raise Broken("it ends before its content does")
        return out


def salvage(file: BinaryIO) -> Iterator[Salvaged]:
    """The members that follow each other from the start of `file`. Raises Broken where they stop making sense.

    The caller reads each to its end before it asks for the next.
    """
    at = 0
    while True:
        file.seek(at)
        head = file.read(_LOCAL.size)
        if head[:4] in (b"PK\x01\x02", b"PK\x05\x06") or not head:
            return
        if len(head) < _LOCAL.size or head[:4] != _MAGIC:
            raise Broken("what follows is no archive member")
        _, _, flags, method, _, _, _, packed, _, name_size, extra_size = _LOCAL.unpack(head)
        name = file.read(name_size).decode("utf-8" if flags & 0x800 else "cp437", "replace")
        file.seek(extra_size, io.SEEK_CUR)
        if flags & 1:
            raise Broken(f"the member {name[:80]!r} is encrypted")
        if method not in (_STORED, _DEFLATED) or (method == _STORED and flags & 8) or packed == 0xFFFFFFFF:
            raise Broken(f"the member {name[:80]!r} is packed in a way that cannot be read without a directory")
        member = Salvaged(file, name, method, flags, packed)
        yield member
        if not member.ended:
            return
        at = file.tell()
        if flags & 8:  # sizes follow the content: with or without their own magic
            at += 16 if file.read(4) == b"PK\x07\x08" else 12
