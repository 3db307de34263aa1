"""F1, F5, F7, F8, F9 for the journal: what was acknowledged survives, once, whatever the disk loses."""
from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from soc.errors import StoreError
from soc.event import FrameContext
from soc.ingest.batch import Batch, Compression, Encoding
from soc.ingest.frame import Frame, records_of
from soc.ingest.journal import Damage, JournalReader, JournalWriter, Mark
from soc.store.disk import RealDisk
from soc.store.modeldisk import ModelDisk


def batch(first: int, count: int, size: int = 40) -> Batch:
    lines = b"".join(b"%d %s\n" % (n, b"x" * size) for n in range(first, first + count))
    return Batch(FrameContext("s", "stream", first, count, 1, 2), Encoding.LINES, Compression.NONE, lines)


class FixedMark:
    """A committed mark that says one thing."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence

    def get(self) -> int:
        return self.sequence

    def set(self, sequence: int) -> None:
        self.sequence = sequence


def read_all(folder: Path, end: int) -> tuple[list[int], list[Damage]]:
    numbers: list[int] = []
    damage: list[Damage] = []
    reader, cursor = JournalReader(RealDisk(), folder, FixedMark(end)), 0  # type: ignore[arg-type]
    while True:
        items = list(reader.frames(cursor, 7))
        if not items:
            return numbers, damage
        for item in items:
            if isinstance(item, Frame):
                assert item.head.sequence == cursor
                numbers += [int(r.split()[0]) for r in records_of(item)]
                cursor = item.head.sequence + item.head.count
            else:
                damage.append(item)
                cursor = item.last


@pytest.mark.parametrize("seed", range(40))
def test_acknowledged_records_survive_any_power_cut_once_and_in_order(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    root = tmp_path / "0"
    acknowledged: list[int] = []
    following = 0
    for life in range(6):
        folder = root / "journal"
        disk = ModelDisk(root)
        mark = FixedMark(0)
        writer = JournalWriter(disk, folder, file_size=chance.choice([600, 3000, 100_000]), mark=mark)  # type: ignore[arg-type]
        numbers, damage = read_all(folder, writer.next)
        assert not damage
        assert numbers[: len(acknowledged)] == acknowledged, "an acknowledged record is missing or out of order"
        assert sorted(set(numbers)) == numbers
        acknowledged = numbers
        following = numbers[-1] + 1 if numbers else 0
        for _ in range(chance.randint(0, 12)):
            count = chance.randint(1, 30)
            disk.fail_sync = chance.random() < 0.1
            disk.full_after = disk.written + 500 if chance.random() < 0.1 else None
            try:
                writer.append([batch(following, count)])
            except StoreError:
                continue
            finally:
                disk.fail_sync = False
            acknowledged = acknowledged + list(range(following, following + count))
            following += count
        if chance.random() < 0.5:  # power goes while an append is under way: written, not synced, not acknowledged
            disk.fail_sync = True
            with pytest.raises(StoreError):
                writer._writer.write(b"")
                writer.append([batch(following, 5)])
        into = tmp_path / str(life + 1)
        disk.power_cut(into, chance)
        writer.close()
        shutil.rmtree(root)
        root = into
        (root / "journal").mkdir(parents=True, exist_ok=True)


def test_a_torn_last_frame_of_any_length_is_cut_off(tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    writer = JournalWriter(RealDisk(), folder, file_size=1 << 20)
    writer.append([batch(0, 3)])
    sound = writer._writer.size()
    writer.append([batch(3, 2)])
    writer.close()
    whole = next(folder.glob("*.jrn")).read_bytes()
    for length in range(sound, len(whole)):
        torn = tmp_path / f"torn{length}"
        torn.mkdir()
        (torn / f"{0:020d}.jrn").write_bytes(whole[:length])
        again = JournalWriter(RealDisk(), torn, file_size=1 << 20)
        assert (again.next, again.damaged) == (3, [])
        again.append([batch(3, 2)])
        again.close()
        assert read_all(torn, 5) == ([0, 1, 2, 3, 4], [])


def test_every_flipped_byte_of_a_middle_frame_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    writer = JournalWriter(RealDisk(), folder, file_size=1 << 20)
    ends = []
    for first in (0, 3, 6):
        writer.append([batch(first, 3, 2)])
        ends.append(writer._writer.size())
    writer.close()
    path = next(folder.glob("*.jrn"))
    whole = path.read_bytes()
    for offset in range(ends[0], ends[1]):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x41]) + whole[offset + 1 :])
        numbers, damage = read_all(folder, 9)
        assert numbers == [0, 1, 2, 6, 7, 8]
        assert [(d.first, d.last) for d in damage] == [(3, 6)]


def test_a_missing_file_and_a_missing_frame_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    writer = JournalWriter(RealDisk(), folder, file_size=1)
    for first in (0, 3, 6, 9):
        writer.append([batch(first, 3)])
    writer.close()
    files = sorted(folder.glob("*.jrn"))
    files[1].unlink()
    numbers, damage = read_all(folder, 12)
    assert numbers == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert [(d.first, d.last) for d in damage] == [(3, 6)]


def test_an_acknowledged_frame_that_is_damaged_at_the_end_is_not_taken_for_a_torn_tail(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    folder.mkdir()
    writer = JournalWriter(RealDisk(), folder, file_size=1 << 20, mark=Mark(folder / "mark", write=True))
    writer.append([batch(0, 3)])
    writer.append([batch(3, 3)])
    writer.close()
    path = next(folder.glob("*.jrn"))
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(bytes(body))
    again = JournalWriter(RealDisk(), folder, file_size=1 << 20, mark=Mark(folder / "mark", write=True))
    assert again.next == 6
    assert [(d.first, d.last) for d in again.damaged] == [(3, 6)]
    again.append([batch(6, 1)])
    again.close()
    numbers, damage = read_all(folder, 7)
    assert numbers == [0, 1, 2, 6]
    assert [(d.first, d.last) for d in damage] == [(3, 6)]
