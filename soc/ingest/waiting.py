"""Since when the oldest record that is no event yet has been in the journal: what health calls a lane's lag."""
from __future__ import annotations

from pathlib import Path

from soc.errors import DamagedError
from soc.event import Lane
from soc.ingest.frame import HEADER, decode_context, read_head
from soc.ingest.journal import SUFFIX, journal_folder
from soc.store.disk import Disk

__all__ = ["Waiting"]


class Waiting:
    """Finds the frame at a cursor by frames' heads alone, and goes on from where it stood the last time."""

    def __init__(self, disk: Disk, data: Path, lane: Lane) -> None:
        self._disk, self._folder = disk, journal_folder(data, lane)
        self._path: Path | None = None
        self._sequence = self._offset = 0

    def since(self, cursor: int) -> int | None:
        """Ingest time (µs since 1970 UTC) of the frame that holds record `cursor`; None where no sound frame does."""
        try:
            files = sorted((int(name.removesuffix(SUFFIX)), self._folder / name)
                           for name in self._disk.names(self._folder) if name.endswith(SUFFIX))
            path = next((path for first, path in reversed(files) if first <= cursor), None)
            return self._find(path, cursor) if path else None
        except (OSError, ValueError, KeyError, TypeError, DamagedError):  # damaged or just released: the normaliser names it
            return None

    def _find(self, path: Path, cursor: int) -> int | None:
        goes_on = self._path == path and self._sequence <= cursor
        offset, size = self._offset if goes_on else 0, self._disk.size(path)
        while offset < size:
            head = read_head(self._disk.read(path, offset, HEADER))
            if head.sequence <= cursor < head.sequence + head.count:
                self._path, self._offset, self._sequence = path, offset, head.sequence
                return decode_context(self._disk.read(path, offset + HEADER, head.meta_size)).ingested
            offset += head.size
        return None
