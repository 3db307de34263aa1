"""Follows a log file as it grows: whole lines, in order, once, through rotation and truncation. What they mean is nobody's business here."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["LONGEST", "Place", "Tail"]

LONGEST: Final = 1 << 20
"""Bytes after which a line without an end is given out in pieces."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was read: which file (its inode) and the offset behind its last whole line."""

    inode: int
    offset: int


class Tail:
    """One log file. Without a place it begins at the end: only what comes from now on is read.

    A file that was renamed (logrotate) is read to its end, then the new one from its start; so is, of `NAME.1`, what was written
    while nobody followed. A file that became shorter (copytruncate) is read from its start.
    """

    def __init__(self, path: Path, place: Place | None = None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._inode = 0
        self._offset = 0
        if place is not None:
            self._resume(place)
        else:
            self._to_the_end()

    @property
    def place(self) -> Place:
        """Behind the last line that was given out."""
        return Place(self._inode, self._offset)

    def read(self, most: int = 500) -> list[bytes]:
        """Up to `most` new lines without their ends, blank ones left out; none if there is nothing new. Raises OSError."""
        if self._file is None and not self._open(self._path):
            return []
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_size < self._offset:
            self._offset = 0
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
        return found

    def _rest(self) -> list[bytes]:
        assert self._file is not None
        self._file.seek(self._offset)
        left = self._file.read(LONGEST)
        self._offset += len(left)
        text = left.rstrip(b"\r\n")
        return [text] if text else []

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
                return
            self.close()

    def _to_the_end(self) -> None:
        if self._open(self._path) and self._file is not None:
            self._offset = _last_end(self._file)

    def _open(self, path: Path) -> bool:
        try:
            self._file = path.open("rb")
        except FileNotFoundError:
            return False
        self._inode, self._offset = os.fstat(self._file.fileno()).st_ino, 0
        return True


def _last_end(file: BinaryIO) -> int:
    """Where the last whole line ends."""
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - LONGEST)
    file.seek(start)
    end = file.read(size - start).rfind(b"\n")
    return start + end + 1 if end >= 0 else size if start else 0
