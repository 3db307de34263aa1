"""Room for what comes out of archives: nameless files of our own, filled under caps and never past the disk guard."""
from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from collectors.unpack import Broken

__all__ = ["BROKEN", "Limits", "Spool", "Unpackable", "reason_of"]

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError, Broken)
"""What the readers of archives raise for damaged ones."""

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps against hostile archives: entries, unpacked bytes of a member, unpacked : packed, share of the disk in use."""

    entries: int = 100_000
    member: int = 20 << 30
    ratio: int = 1_000
    ratio_from: int = 1 << 30
    depth: int = 1
    disk: float = 0.95


class Unpackable(Exception):
    """This file cannot be taken at all; the text is the reason."""


class Spool:
    """Nameless files in one folder: each goes when it is closed, or with the process."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits

    def room(self) -> BinaryIO:
        """An empty file to write and read."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cast(BinaryIO, tempfile.TemporaryFile(dir=self._folder))

    def copy(self, stream: BinaryIO, room: BinaryIO, packed: BinaryIO | int | None) -> str:
        """Copy a stream; returns why it broke off, "" if it did not. Raises Unpackable over a cap or for a full disk.

        `packed` is the file that it is unpacked from, or its packed size in bytes, or None if it is not packed.
        """
        start = packed.tell() if packed is not None and not isinstance(packed, int) else 0
        done = 0
        while True:
            try:
                piece = stream.read(_PIECE)
            except (*BROKEN, tarfile.TarError) as fault:
                return f"broken off after {done:,} bytes: {reason_of(fault)}"
            if not piece:
                return ""
            if done >> 26 != (done + len(piece)) >> 26 or not done:
                self._check_disk()
            done += len(piece)
            if done > self._limits.member:
                raise Unpackable(f"unpacks to more than {self._limits.member:,} bytes")
            if packed is not None and done > self._limits.ratio_from:
                size = packed if isinstance(packed, int) else packed.tell() - start
                if done > self._limits.ratio * max(size, 1):
                    raise Unpackable(f"unpacks to more than {self._limits.ratio:,} times its size: taken for a bomb")
            try:
                room.write(piece)
            except OSError as fault:
                raise Unpackable(f"no room to unpack it: {fault.strerror}") from fault

    def _check_disk(self) -> None:
        usage = shutil.disk_usage(self._folder)
        if 1 - usage.free / usage.total > self._limits.disk:
            raise Unpackable(f"the disk is over {self._limits.disk:.0%} full: there is no room to unpack it")


def reason_of(fault: BaseException) -> str:
    """A fault in words, bounded."""
    text = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return (text or type(fault).__name__)[:200]
