"""The few things our files need of a file system, so that a model of a failing one can stand in (F7–F10).

Everything this product writes itself (journal, cuts, segments) goes through a `Disk`; SQLite sees to its own.
"""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from soc.errors import DiskFullError, StoreError

__all__ = ["Disk", "RealDisk", "Writer", "write_whole"]


class Writer(Protocol):
    """An open file that is written at its end. `write` is all or nothing: see `RealWriter.write`."""

    def write(self, data: bytes) -> int: ...

    def size(self) -> int: ...

    def sync(self) -> None: ...

    def truncate(self, size: int) -> None: ...

    def close(self) -> None: ...


class Disk(Protocol):
    """Files by path. `sync_dir` makes creations, renames and unlinks in a directory durable."""

    def create(self, path: Path) -> Writer: ...

    def append(self, path: Path) -> Writer: ...

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes: ...

    def size(self, path: Path) -> int: ...

    def exists(self, path: Path) -> bool: ...

    def names(self, path: Path) -> list[str]: ...

    def mkdir(self, path: Path) -> None: ...

    def rename(self, source: Path, target: Path) -> None: ...

    def unlink(self, path: Path) -> None: ...

    def rmtree(self, path: Path) -> None: ...

    def sync_dir(self, path: Path) -> None: ...

    def used(self, path: Path) -> float: ...


class RealWriter:
    """A real file descriptor; a failed write leaves the file as long as it was (or says it could not)."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size

    def write(self, data: bytes) -> int:
        """Append all of `data`. Raises DiskFullError (ENOSPC, EDQUOT) or StoreError; then nothing was added."""
        start, view = self._size, memoryview(data)
        try:
            while view:
                written = os.write(self._fd, view)
                view = view[written:]
        except OSError as fault:
            os.ftruncate(self._fd, start)
            os.lseek(self._fd, start, os.SEEK_SET)
            raise _translate(fault) from fault
        self._size = start + len(data)
        return len(data)

    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    def sync(self) -> None:
        """Make what was written durable. Raises StoreError: the file must then be given up (F9)."""
        try:
            os.fdatasync(self._fd)
        except OSError as fault:
            raise _translate(fault) from fault

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)
        self._size = size

    def close(self) -> None:
        """Close; never raises for what `sync` has already confirmed."""
        os.close(self._fd)


class RealDisk:
    """The operating system's file system."""

    def create(self, path: Path) -> Writer:
        """A new file; raises StoreError if there is one of that name."""
        return self._open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)

    def append(self, path: Path) -> Writer:
        """An existing file, positioned at its end."""
        writer = self._open(path, os.O_WRONLY | os.O_APPEND)
        return writer

    def _open(self, path: Path, flags: int) -> RealWriter:
        try:
            return RealWriter(os.open(path, flags | os.O_CLOEXEC, 0o600))
        except OSError as fault:
            raise _translate(fault) from fault

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        """Bytes of a file from `offset`; short at its end."""
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            if length < 0:
                return file.read()
            parts, left = [], length
            while left and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)

    def size(self, path: Path) -> int:
        """Bytes in a file."""
        return path.stat().st_size

    def exists(self, path: Path) -> bool:
        """Whether there is a file or directory of that name."""
        return path.exists()

    def names(self, path: Path) -> list[str]:
        """Sorted names in a directory; empty if there is none."""
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def mkdir(self, path: Path) -> None:
        """Make a directory (and its parents), private to us."""
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as fault:
            raise _translate(fault) from fault

    def rename(self, source: Path, target: Path) -> None:
        """Put `source` in the place of `target`, atomically."""
        try:
            os.rename(source, target)
        except OSError as fault:
            raise _translate(fault) from fault

    def unlink(self, path: Path) -> None:
        """Remove a file; fine if it is gone already."""
        path.unlink(missing_ok=True)

    def rmtree(self, path: Path) -> None:
        """Remove a directory and what is in it; fine if it is gone already."""
        shutil.rmtree(path, ignore_errors=True)

    def sync_dir(self, path: Path) -> None:
        """Make a directory's entries durable."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as fault:
            raise _translate(fault) from fault

    def used(self, path: Path) -> float:
        """Share of the file system that is used, as a person without privileges sees it, 0.0–1.0."""
        stat = os.statvfs(path)
        total = stat.f_blocks - stat.f_bfree + stat.f_bavail
        return 1.0 - stat.f_bavail / total if total else 1.0


def write_whole(disk: Disk, path: Path, data: bytes) -> None:
    """Create `path` with `data`, durably but for its directory entry (the caller syncs the directory)."""
    writer = disk.create(path)
    try:
        writer.write(data)
        writer.sync()
    finally:
        writer.close()


def _translate(fault: OSError) -> StoreError:
    import errno

    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError("the disk is full", remedy="free space on the file system of the data folder; nothing acknowledged was lost")
    return StoreError(f"{fault.strerror} ({fault.filename})" if fault.filename else str(fault.strerror), remedy="see `soc doctor`")
