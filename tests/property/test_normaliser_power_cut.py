"""F3, F6, F7 for cuts and segments: whatever power cut or kill, every record is in the store once."""
from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from soc.event import FrameContext, Lane
from soc.normalise.loop import Normaliser, NormaliserLimits, ReadFrame
from soc.normalise.parser import DeadRecord, ParsedEvent, ParsedFrame
from soc.store.compact import CompactionLimits, Compactor
from soc.store.cuts import read_ipc
from soc.store.disk import RealDisk
from soc.store.manifest import Loss, Manifest
from soc.store.modeldisk import ModelDisk
from soc.store.verify import verify_store

NOW = 1_700_000_000_000_000


class Frames:
    """A journal of `count` frames of ten records; every 17th record is dead."""

    def __init__(self, count: int) -> None:
        self.frames = [
            ReadFrame(i * 10, FrameContext("src", "st", i * 10, 10, NOW, NOW + i), [b"record %d" % n for n in range(i * 10, i * 10 + 10)])
            for i in range(count)]

    def read(self, lane: Lane, cursor: int, max_records: int, max_bytes: int) -> Sequence[ReadFrame | Loss]:
        return self.frames[cursor // 10 : cursor // 10 + 3] if lane is Lane.LIVE else []


class Parser:
    """Two families, so that a cut has two files."""

    def parse_frame(self, context: FrameContext, records: Sequence[bytes]) -> ParsedFrame:
        events, dead = [], []
        for index, raw in enumerate(records):
            n = int(raw.split()[1])
            if n % 17 == 0:
                dead.append(DeadRecord(index, "unlucky", ""))
            else:
                events.append(ParsedEvent(index, 0, "linux" if n % 2 else "web",
                                          {"@timestamp": NOW + n, "message": raw.decode(), "event.original": raw.decode()}))
        return ParsedFrame(events, dead)


class Killed(Exception):
    """The process dies here."""


class DyingDisk(ModelDisk):
    """Dies at the nth operation."""

    def __init__(self, root: Path, dies_at: int) -> None:
        super().__init__(root)
        self.left = dies_at

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def create(self, path: Path):  # type: ignore[no-untyped-def]
        self._step()
        return super().create(path)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)

    def sync_dir(self, path: Path) -> None:
        self._step()
        super().sync_dir(path)

    def unlink(self, path: Path) -> None:
        self._step()
        super().unlink(path)


def numbers_in(root: Path, manifest: Manifest) -> list[int]:
    import pyarrow.parquet as pq

    found: list[int] = []
    for segment in manifest.snapshot().segments:
        table = read_ipc(root / segment.path) if segment.kind == "cut" else pq.read_table(root / segment.path, partitioning=None)
        found += table.column("soc.seq").to_pylist()
    return sorted(found)


@pytest.mark.parametrize("seed", range(25))
def test_every_record_is_stored_once_whatever_dies(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    root = tmp_path / "0"
    (root / "run").mkdir(parents=True)
    frames = Frames(20)
    for life in range(30):
        manifest = Manifest.open(root)
        disk = DyingDisk(root, chance.randint(1, 60))
        done = False
        try:
            normaliser = Normaliser(data=root, disk=disk, manifest=manifest, source=frames, parser=Parser(), centre="c",
                                    limits=NormaliserLimits(live_records=30))
            normaliser.clean()
            compactor = Compactor(data=root, disk=disk, manifest=manifest, passed=lambda: {Lane.LIVE: 200},
                                  limits=CompactionLimits(cut_age=0, hour_age=0, group_rows=16, grace=0))
            for tick in range(200):
                took = normaliser.step(lambda: NOW + tick)
                if chance.random() < 0.3:
                    took += compactor.step(NOW + 10 * 86_400_000_000)
                    compactor.sweep(NOW + 10 * 86_400_000_000)
                if not took:
                    done = True
                    break
        except Killed:
            pass
        cursor = manifest.cursor(Lane.LIVE)
        assert numbers_in(root, manifest) == [n for n in range(cursor) if n % 17]
        manifest.close()
        if done:
            break
        after = tmp_path / str(life + 1)
        (after / "run").mkdir(parents=True)
        disk.power_cut(after, chance)
        for name in root.glob("node.db*"):  # SQLite is trusted
            shutil.copy(name, after / name.name)
        shutil.rmtree(root)
        root = after
    manifest = Manifest.open(root)
    assert manifest.cursor(Lane.LIVE) == 200
    assert numbers_in(root, manifest) == [n for n in range(200) if n % 17]
    assert len(manifest.node.rows("SELECT 1 FROM dead_letters")) == len([n for n in range(200) if n % 17 == 0])
    assert [f for f in verify_store(root, manifest) if "left over" not in f.fault] == []


def test_verify_names_one_flipped_byte_and_one_dropped_file(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    manifest = Manifest.open(tmp_path)
    normaliser = Normaliser(data=tmp_path, disk=RealDisk(), manifest=manifest, source=Frames(20), parser=Parser(), centre="c")
    while normaliser.step(lambda: NOW):
        pass
    Compactor(data=tmp_path, disk=RealDisk(), manifest=manifest, passed=lambda: {Lane.LIVE: 100},
              limits=CompactionLimits(cut_age=0, group_rows=16)).step(NOW + 10 * 86_400_000_000)
    assert list(verify_store(tmp_path, manifest)) == []
    segment = next(s for s in manifest.snapshot().segments if s.kind == "segment")
    path = tmp_path / segment.path
    whole = path.read_bytes()
    for offset in range(100, len(whole) - 8, max(1, len(whole) // 40)):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        assert any(f.place.startswith(segment.path) for f in verify_store(tmp_path, manifest)), offset
    path.unlink()
    assert [f.place for f in verify_store(tmp_path, manifest)] == [segment.path]
    manifest.node.connection.execute("UPDATE segments SET sha256 = 'x' WHERE id = ?", (segment.id,))
    manifest = Manifest.open(tmp_path)
    assert any("do not agree" in f.fault for f in verify_store(tmp_path, manifest))
    manifest.node.connection.execute("UPDATE chain SET body = replace(body, '\"first\":0', '\"first\":1') WHERE seq = 1")
    assert any(f.place == "node.db chain link 1" for f in verify_store(tmp_path, manifest))


def test_a_lost_manifest_is_rebuilt_from_the_files(tmp_path: Path) -> None:
    from soc.store.rebuild import rebuild

    (tmp_path / "run").mkdir()
    manifest = Manifest.open(tmp_path)
    normaliser = Normaliser(data=tmp_path, disk=RealDisk(), manifest=manifest, source=Frames(20), parser=Parser(), centre="c",
                            limits=NormaliserLimits(live_records=30))
    for _ in range(4):
        normaliser.step(lambda: NOW)
    Compactor(data=tmp_path, disk=RealDisk(), manifest=manifest, passed=lambda: {Lane.LIVE: 60},
              limits=CompactionLimits(cut_age=0, group_rows=16)).step(NOW + 10 * 86_400_000_000)
    before = numbers_in(tmp_path, manifest)
    manifest.close()
    for path in tmp_path.glob("node.db*"):
        path.unlink()
    manifest = Manifest.open(tmp_path)
    rebuild(tmp_path, manifest, {Lane.LIVE: 100, Lane.BULK: 0}, NOW)
    assert manifest.cursor(Lane.LIVE) >= 100
    assert [n for n in numbers_in(tmp_path, manifest) if n < 100] == [n for n in before if n < 100]
