"""A file is damaged by what its bytes are, never because this process could not read it just now."""
from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from soc.errors import StoreError
from soc.event import Lane, Scope
from soc.store.columns import batch_of
from soc.store.compact import CompactionLimits, Compactor
from soc.store.cuts import Partition, write_cut
from soc.store.damage import damage
from soc.store.disk import RealDisk
from soc.store.embedded import EmbeddedStore
from soc.store.eventstore import TimeRange
from soc.store.manifest import Cut, Manifest
from tests.store_files import stored

PARTITION = Partition("generic", "default", "live", "", "2026-01-01")


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """As under a flood of connections: every open fails with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, Manifest]:
    """A store of one cut of ten events."""
    for name in ("cuts", "segments", "run"):
        (tmp_path / name).mkdir()
    manifest = Manifest.open(tmp_path)
    batch = batch_of([stored({"message": f"m{n}", "event.original": f"m{n}"}, n) for n in range(10)])
    rows = write_cut(RealDisk(), tmp_path, Lane.LIVE, 0, 10, [(PARTITION, batch)])
    manifest.commit_cut(Cut(Lane.LIVE, 0, 10, rows, [], [], []), 1)
    return tmp_path, manifest


def test_what_cannot_be_read_now_is_not_called_damaged(kept: tuple[Path, Manifest]) -> None:
    data, manifest = kept
    segment = manifest.snapshot().segments[0]
    with no_descriptor_left(), pytest.raises(StoreError, match="cannot be read now"):
        damage(segment, data)
    assert damage(segment, data) == ""
    (data / segment.path).write_bytes(b"other bytes")
    assert "SHA-256" in damage(segment, data)
    os.unlink(data / segment.path)
    assert damage(segment, data) == "it is missing"


def test_a_search_without_descriptors_takes_nothing_out_of_the_store(kept: tuple[Path, Manifest]) -> None:
    data, manifest = kept
    store = EmbeddedStore(data, manifest)
    assert store.count("", Scope.everything(), TimeRange()) == 10
    with no_descriptor_left(), pytest.raises(StoreError):
        store.search("m1", Scope.everything(), TimeRange())
    assert manifest.quarantined() == []
    assert store.search("m1", Scope.everything(), TimeRange()).damaged == ()
    store.close()


def test_a_compaction_that_cannot_read_is_tried_again(kept: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    data, manifest = kept

    def exhausted(path: Path) -> None:
        raise OSError(24, "Too many open files", str(path))

    compactor = Compactor(data=data, disk=RealDisk(), manifest=manifest, passed=lambda: {Lane.LIVE: 10}, limits=CompactionLimits(cut_age=0))
    with monkeypatch.context() as m, pytest.raises(StoreError):
        m.setattr("soc.store.compact.read_ipc", exhausted)
        compactor.step(1 << 60)
    assert manifest.quarantined() == []
    assert compactor.step(1 << 60) == 10
    assert [s.kind for s in manifest.snapshot().segments] == ["segment"]
