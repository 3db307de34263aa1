"""The data folder: everything a centre keeps. Private to its owner; one server at a time holds it."""
from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from soc.errors import DamagedError, LockedError, StoreError

__all__ = ["FORMAT", "DataFolder", "FolderLock"]

FORMAT = 1
"""Version of the layout below the data folder; a newer one is refused, an older one migrated."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """An opened data folder and the centre it belongs to (12 hex digits that go into event ids)."""

    path: Path
    centre: str

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> DataFolder:
        """Open `path`, made afresh with mode 0700 if it is missing or empty and `create`.

        Raises StoreError (missing, not writable, of a newer version) and DamagedError (centre.json unreadable).
        """
        try:
            return cls._open(path, create)
        except OSError as error:
            raise StoreError(
                f"data folder {path}: {error.strerror}", remedy="check its owner and permissions, or name another with --data",
            ) from error

    @classmethod
    def _open(cls, path: Path, create: bool) -> DataFolder:
        card = path / "centre.json"
        if not card.exists():
            if not create:
                raise StoreError(f"there is no data folder at {path}", remedy="name it with --data, or start with soc serve")
            if path.exists() and any(entry.name not in ("lock", "run", "tls", "tmp") for entry in path.iterdir()):
                raise StoreError(f"{path} holds other things", remedy="name an empty or new folder with --data")
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            _write_new(card, json.dumps({"format": FORMAT, "centre": secrets.token_hex(6)}) + "\n")
        try:
            found = json.loads(card.read_text(encoding="utf-8"))
            version, centre = int(found["format"]), str(found["centre"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"{card} cannot be read", remedy="put it back from a backup; nothing was changed") from error
        if version > FORMAT:
            raise StoreError(
                f"{path} was written by a newer version (format {version}, this one knows {FORMAT})",
                remedy="run that version; nothing was changed",
            )
        if not os.access(path, os.W_OK):  # the databases are written even to be read
            read_only = os.statvfs(path).f_flag & os.ST_RDONLY
            raise StoreError(
                f"data folder {path} lies on a read-only file system" if read_only else f"data folder {path} cannot be written to",
                remedy="make it writable again (a disk that failed goes read-only: see the kernel's log); nothing was changed")
        return cls(path, centre)

    def lock(self) -> FolderLock:
        """Hold the folder for one server. Raises LockedError if another holds it."""
        return FolderLock(self.path)

    def holder(self) -> int | None:
        """The process id of the server that holds the folder, 0 if it is unknown, None if nobody does."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 32, 0).strip()
            return int(text) if text.isdigit() else 0
        finally:
            os.close(descriptor)
        return None


class FolderLock:
    """An exclusive lock that ends with its process, however that dies. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise LockedError(
                f"another server holds the data folder {path}" + (f" (process {holder})" if holder else ""),
                remedy="stop it first, or name another folder with --data",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    @property
    def descriptor(self) -> int:
        """The open file that carries the lock: children that inherit it hold the lock too."""
        return self._descriptor

    def release(self) -> None:
        """Let the folder go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _write_new(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all; whoever comes first wins."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
