"""Follows a log file as it grows: whole lines, in order, once, through rotation and truncation. What they mean is nobody's business here."""
from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["HEAD", "LONGEST", "Place", "Tail"]

LONGEST: Final = 1 << 20
"""Bytes after which a line without an end is given out in pieces."""

HEAD: Final = 256
"""Bytes by which a file is told from another in its place."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was read: which file (its inode, and a digest of how it begins) and the offset behind its last whole line.

    Inodes are given out again, and a file may be emptied and written anew: then it begins with something else. `head` is of the
    first `HEAD` bytes, as far as they were read; "" of none.
    """

    inode: int
    offset: int
    head: str = ""


class Tail:
    """One log file. Without a place it begins at the end: only what comes from now on is read.

    A file that was renamed (logrotate) is read to its end, then the new one from its start; so is, of `NAME.1`, what was written
    while nobody followed. A file that became shorter (copytruncate), or begins with something else than it did, is read from its start.
    """

    def __init__(self, path: Path, place: Place | None = None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._inode = 0
        self._offset = 0
        self._head = b""
        if place is not None:
            self._resume(place)
        else:
            self._to_the_end()

    @property
    def place(self) -> Place:
        """Behind the last line that was given out."""
        return Place(self._inode, self._offset, _digest(self._head))

    def read(self, most: int = 500) -> list[bytes]:
        """Up to `most` new lines without their ends, blank ones left out; none if there is nothing new. Raises OSError."""
        if self._file is None and not self._open(self._path):
            return []
        assert self._file is not None
        if self._begins() != self._head:
            self._offset, self._head = 0, b""
        found = self._lines(most)
        if not found and self._rotated():
            rest = self._rest()  # a last line that was never ended
            self.close()
            return rest or self.read(most)
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lines(self, most: int) -> list[bytes]:
        assert self._file is not None
        self._file.seek(self._offset)
        found: list[bytes] = []
        while len(found) < most:
            line = self._file.readline(LONGEST)
            if not line.endswith(b"\n") and len(line) < LONGEST:
                break
            self._offset += len(line)
            if text := line.rstrip(b"\r\n"):
                found.append(text)
        self._head = self._begins()
        return found

    def _rest(self) -> list[bytes]:
        assert self._file is not None
        self._file.seek(self._offset)
        left = self._file.read(LONGEST)
        self._offset += len(left)
        self._head = self._begins()
        text = left.rstrip(b"\r\n")
        return [text] if text else []

    def _begins(self) -> bytes:
        """The first bytes of what was read, as they are now; fewer if the file became shorter than that."""
        assert self._file is not None
        size = os.fstat(self._file.fileno()).st_size
        return b"" if size < self._offset else os.pread(self._file.fileno(), min(HEAD, self._offset), 0)

    def _rotated(self) -> bool:
        """Whether another file lies under the name now."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False

    def _resume(self, place: Place) -> None:
        for path in (self._path, self._path.with_name(f"{self._path.name}.1")):
            if self._open(path) and self._inode == place.inode:
                self._offset = place.offset
                self._head = self._begins()
                if not place.head or _digest(self._head) == place.head:
                    return
            self.close()

    def _to_the_end(self) -> None:
        if self._open(self._path) and self._file is not None:
            self._offset = _last_end(self._file)
            self._head = self._begins()

    def _open(self, path: Path) -> bool:
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            return False
        self._inode, self._offset, self._head = os.fstat(self._file.fileno()).st_ino, 0, b""
        return True


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()[:16] if head else ""


def _last_end(file: BinaryIO) -> int:
    """Where the last whole line ends."""
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - LONGEST)
    file.seek(start)
    end = file.read(size - start).rfind(b"\n")
    return start + end + 1 if end >= 0 else size if start else 0
