"""A lost or older node.db, and what killed compactions leave: every event is in the store once, whatever is found."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from soc.event import Lane
from soc.store.columns import batch_of
from soc.store.compact import CompactionLimits, Compactor
from soc.store.cuts import Partition, write_cut
from soc.store.disk import RealDisk
from soc.store.manifest import Cut, Manifest
from soc.store.rebuild import rebuild
from soc.store.verify import verify_store
from tests.store_files import stored

LATE = 1 << 60


class Store:
    """A store of one lane whose cuts hold two families."""

    def __init__(self, data: Path) -> None:
        for name in ("cuts", "segments", "run"):
            (data / name).mkdir(exist_ok=True)
        self.data, self.manifest, self.at = data, Manifest.open(data), 0

    def cut(self, count: int = 10) -> None:
        parts = []
        for part, family in enumerate(("linux", "windows")):
            events = [stored({"message": f"m{n}", "event.original": f"m{n}"}, n) for n in range(self.at + part, self.at + count, 2)]
            parts.append((Partition(family, "default", "live", "", "2026-01-01"), batch_of(events)))
        rows = write_cut(RealDisk(), self.data, Lane.LIVE, self.at, self.at + count, parts)
        self.manifest.commit_cut(Cut(Lane.LIVE, self.at, self.at + count, rows, [], [], []), 1)
        self.at += count

    def compactor(self) -> Compactor:
        return Compactor(data=self.data, disk=RealDisk(), manifest=self.manifest, passed=lambda: {Lane.LIVE: self.at},
                         limits=CompactionLimits(cut_age=0, hour_age=0, grace=0))

    def compact(self, steps: int = 99) -> None:
        while steps and self.compactor().step(LATE):
            steps -= 1
        self.compactor().sweep(LATE + 1)
        self.compactor().sweep(2 * LATE)

    def killed_compaction(self) -> None:
        """The merged file is there whole, and the manifest was never told."""
        compactor = self.compactor()
        plan = compactor._plan(LATE)
        assert plan is not None
        compactor._merge(*plan, LATE)

    def keep(self) -> Path:
        self.manifest.node.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(shutil.copy(self.data / "node.db", self.data / "older"))

    def put_back(self, older: Path | None) -> None:
        self.manifest.close()
        for path in self.data.glob("node.db*"):
            path.unlink()
        if older is not None:
            shutil.copy(older, self.data / "node.db")
        self.manifest = Manifest.open(self.data)

    def rebuild(self, journal_from: int) -> None:
        assert rebuild(self.data, self.manifest, {Lane.LIVE: journal_from, Lane.BULK: 0}, 5)[1] == []

    def rows(self) -> int:
        return sum(s.rows for s in self.manifest.snapshot().segments)

    def faults(self) -> list[str]:
        return [f"{f.place}: {f.fault}" for f in verify_store(self.data, self.manifest)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.mark.parametrize("swept", [False, True])
def test_a_killed_compactions_file_is_not_taken_for_events(store: Store, swept: bool) -> None:
    store.cut()
    store.cut()
    store.killed_compaction()
    store.cut()
    if swept:
        store.compact()
    store.rebuild(0)
    assert store.rows() == 30
    store.compactor().clean()
    store.compact()
    store.compactor().clean()
    assert (store.rows(), store.faults()) == (30, [])


def test_an_older_manifest_whose_files_were_merged_since_counts_nothing_twice(store: Store) -> None:
    store.cut()
    store.compact()
    store.cut()
    older = store.keep()
    store.cut()
    store.compact()
    store.cut()
    store.compact()
    store.put_back(older)
    store.rebuild(40)
    assert (store.rows(), store.manifest.cursor(Lane.LIVE), store.faults()) == (40, 40, [])


@pytest.mark.parametrize("older", [False, True])
def test_a_cut_of_which_one_family_was_merged_keeps_the_other(store: Store, older: bool) -> None:
    """The journal still holds all of it, but the normaliser goes on behind the merged file."""
    kept = store.keep() if older else None
    store.cut()
    store.cut()
    store.compact(steps=1)
    assert {s.kind for s in store.manifest.snapshot().segments} == {"cut", "segment"}
    store.put_back(kept)
    store.rebuild(0)
    assert (store.rows(), store.manifest.cursor(Lane.LIVE)) == (20, 20)


def test_a_lost_manifest_leaves_to_the_journal_what_it_still_holds(store: Store) -> None:
    store.cut()
    store.compact()
    store.cut()
    store.put_back(None)
    store.rebuild(10)
    assert (store.rows(), store.manifest.cursor(Lane.LIVE)) == (10, 10)
