"""The journal as the normaliser wants to read it: frames with their records, losses where frames are damaged.

Stands between two siblings that may not know each other; damaged bytes are copied to `quarantine/` and named.
"""
from __future__ import annotations

from pathlib import Path

from soc.errors import DamagedError
from soc.event import Lane
from soc.ingest.frame import records_of
from soc.ingest.journal import Damage, JournalReader, journal_folder
from soc.normalise.loop import ReadFrame
from soc.store.disk import Disk
from soc.store.manifest import Loss

__all__ = ["JournalSource"]


class JournalSource:
    """Reads both lanes of a data folder's journal."""

    def __init__(self, data: Path, disk: Disk) -> None:
        self._data, self._disk = data, disk
        self._readers = {lane: JournalReader(disk, journal_folder(data, lane)) for lane in Lane}

    def read(self, lane: Lane, cursor: int, max_records: int, max_bytes: int) -> list[ReadFrame | Loss]:
        """Frames and losses from `cursor` on, without gaps between them."""
        found: list[ReadFrame | Loss] = []
        for item in self._readers[lane].frames(cursor, max_records, max_bytes):
            if isinstance(item, Damage):
                found.append(self._lost(lane, item))
                continue
            try:
                records = records_of(item)
            except DamagedError as fault:
                end = item.head.sequence + item.head.count
                found.append(Loss(item.head.sequence, end, f"journal/{lane.value}", str(fault)))
                continue
            found.append(ReadFrame(item.head.sequence, item.context, records, len(item.payload)))
        return found

    def _lost(self, lane: Lane, damage: Damage) -> Loss:
        if damage.length:
            kept = self._data / "quarantine" / f"{lane.value}-{damage.first:020d}.frame"
            if not self._disk.exists(kept):
                self._disk.mkdir(kept.parent)
                writer = self._disk.create(kept)
                try:
                    writer.write(self._disk.read(damage.path, damage.offset, damage.length))
                finally:
                    writer.close()
        place = f"{damage.path.relative_to(self._data)}@{damage.offset}"
        return Loss(damage.first, damage.last, place, damage.reason)
