"""Proof that the store is what the manifest says: the chain, every file to the row group, and what should not be there.

It reads everything and changes nothing; what it finds it names by file and place.
"""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from soc.store.cuts import event_sum, read_ipc
from soc.store.manifest import Manifest
from soc.store.segment import SegmentRow

__all__ = ["Finding", "verify_store"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault: `place` is a path below the data folder (with row group or offset), `fault` what is wrong there."""

    place: str
    fault: str


def verify_store(data: Path, manifest: Manifest, progress: Callable[[int, int], None] | None = None) -> Iterator[Finding]:
    """Every fault of chain, manifest and files. `progress(done, of)` counts bytes."""
    broken = manifest.check_chain()
    if broken is not None:
        yield Finding(f"node.db chain link {broken}", "does not follow from the link before it: the manifest was changed from outside")
    snapshot = manifest.snapshot()
    chained = manifest.chained_files()
    quarantined = {identity for identity, _, _ in manifest.quarantined()}
    for segment in snapshot.segments:
        known = chained.pop(segment.id, None)
        if known is None:
            yield Finding(segment.path, "stands in the manifest's table and not in its chain")
        elif known != (segment.path, segment.sha256):
            yield Finding(segment.path, "the manifest's table and its chain do not agree about this file")
    for identity, (named, _) in chained.items():
        if identity not in quarantined:
            yield Finding(named, "stands in the manifest's chain and not in its table")
    for _, named, why in manifest.quarantined():
        yield Finding(named, why)
    total, done = sum(s.bytes for s in snapshot.segments) or 1, 0
    for segment in snapshot.segments:
        yield from _check(data, segment)
        done += segment.bytes
        if progress is not None:
            progress(done, total)
    known_paths = {s.path for s in snapshot.segments} | {p for _, p, _ in manifest.swept(1 << 62)} | {p for _, p, _ in manifest.quarantined()}
    for folder, suffix in (("cuts", ".arrow"), ("segments", ".parquet")):
        for path in sorted((data / folder).rglob(f"*{suffix}")):
            relative = str(path.relative_to(data))
            if relative not in known_paths and manifest.node.rows("SELECT 1 FROM segments WHERE path = ?", (relative,)) == []:
                yield Finding(relative, "no manifest names this file (a process may be about to, or it is left over)")


def _check(data: Path, segment: SegmentRow) -> Iterator[Finding]:
    path = data / segment.path
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        yield Finding(segment.path, f"the file is gone: {segment.rows} events")
        return
    except OSError as fault:
        yield Finding(segment.path, f"cannot be read: {fault.strerror}")
        return
    if digest == segment.sha256:
        return
    size = path.stat().st_size
    detail = f"{size} bytes instead of {segment.bytes}" if size != segment.bytes else "its bytes were changed"
    named = False
    if segment.kind == "segment":
        for group, fault_text in _bad_groups(path):
            named = True
            yield Finding(f"{segment.path} row group {group}", f"{detail}: {fault_text}")
    if not named:
        yield Finding(segment.path, f"{detail}: {_worth(path, segment)}")


def _bad_groups(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                try:
                    file.read_row_group(group)
                except (pa.ArrowException, OSError) as fault:
                    yield group, str(fault)[:200]
    except (pa.ArrowException, OSError):
        return


def _worth(path: Path, segment: SegmentRow) -> str:
    """Whether the events can still be read all the same."""
    try:
        table = read_ipc(path) if segment.kind == "cut" else pq.read_table(path, partitioning=None)
        if f"{event_sum(table):016x}" == segment.event_sum:
            return "its events are whole"
    except (pa.ArrowException, OSError, KeyError):
        pass
    return "its events cannot all be read"
