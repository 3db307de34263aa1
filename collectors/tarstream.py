"""Tars read forwards, from streams that may be hostile or cut off."""
from __future__ import annotations

import tarfile
from typing import BinaryIO, Self

from collectors.unpack import Broken

__all__ = ["Ending", "open_tar"]

HEADER_CAP = 1 << 20
"""Largest extended header in bytes; the library would read any size into memory."""


class _Header(tarfile.TarInfo):
    """A header that refuses extended headers of absurd size, which the library would read into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        made = super().frombuf(buf, encoding, errors)
        special = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if made.type in special and made.size > HEADER_CAP:
            raise Broken(f"an extended header of {made.size:,} bytes")
        return made


def open_tar(stream: BinaryIO) -> tarfile.TarFile:
    """A tar as its entries come; raises tarfile.TarError and Broken where it breaks off."""
    return tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header, errorlevel=1)


class Ending:
    """A stream that remembers its last bytes: a whole tar ends in zeros."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        if piece:
            self._last = piece[-512:]
        return piece

    def cut_off(self) -> bool:
        """Whether what was read last cannot be the end of a tar."""
        return bool(self._last.strip(b"\0"))
