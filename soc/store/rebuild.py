"""A lost or older node.db: entered anew from what the files say of themselves (F6).

Cuts whose journal is still there are left out: the normaliser makes them again, the same. Everything else is adopted.
"""
from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from soc.event import Lane
from soc.store.cuts import METADATA, event_sum, read_ipc, time_span
from soc.store.manifest import Manifest
from soc.store.segment import SegmentRow

__all__ = ["leftovers", "rebuild"]

_Found = tuple[SegmentRow, int, list[str]]
"""A file that the manifest does not know, its tier, and the ids of what it was merged from."""


def rebuild(data: Path, manifest: Manifest, journal_from: Mapping[Lane, int], now: int) -> tuple[int, list[str]]:
    """Adopt every sound file that `manifest` does not know; returns (files adopted, files that cannot be read).

    `journal_from` is the first sequence each lane's journal still holds. A file merged from files that the manifest has
    seen go another way is the leftover of a killed compaction and is no part of the store.
    """
    known = {str(p) for (p,) in manifest.node.rows("SELECT path FROM segments")}
    found: list[_Found] = []
    damaged: list[str] = []
    for folder, suffix in (("segments", ".parquet"), ("cuts", ".arrow")):
        for path in sorted((data / folder).rglob(f"*{suffix}")):
            relative = str(path.relative_to(data))
            if relative in known or ".tmp" in relative:
                continue
            try:
                found.append(_described(path, relative))
            except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
                damaged.append(relative)
    undone = manifest.undone()
    wanted = _without_leftovers([f for f in found if f[0].import_id not in undone], manifest)
    replaced = {identity for _, _, replaces in wanted for identity in replaces}
    wanted = [f for f in wanted if f[0].id not in replaced]
    ends = {lane: _end(wanted, lane, max(manifest.cursor(lane), journal_from.get(lane, 0))) for lane in Lane}
    standing = [f for f in wanted if f[0].kind != "cut" or f[0].first < ends[Lane(f[0].lane)]]
    positions = {lane: max([manifest.cursor(lane), *(s.last for s, _, _ in standing if s.lane == lane.value)]) for lane in Lane}
    if standing:
        adopted = [s for s, _, _ in standing]
        superseded = [s.id for s in manifest.snapshot().segments if s.id in replaced or _gone_into(data, s, adopted)]
        manifest.adopt(adopted, {s.id: tier for s, tier, _ in standing}, positions, now, superseded)
    return len(standing), damaged


def leftovers(data: Path, manifest: Manifest) -> list[str]:
    """Paths below `data/segments` that no manifest names and that hold nothing of their own: a killed compaction's."""
    known = {str(p) for (p,) in manifest.node.rows("SELECT path FROM segments")}
    unknown = [p for p in sorted((data / "segments").rglob("*.parquet")) if str(p.relative_to(data)) not in known]
    if not unknown:
        return []
    named, undone = manifest.named(), manifest.undone()
    found: list[str] = []
    for path in unknown:
        try:
            card = orjson.loads(pq.read_schema(path).metadata[METADATA])
            redundant = card["import_id"] in undone or (bool(card["replaces"]) and named.issuperset(card["replaces"]))
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
            continue
        if redundant:
            found.append(str(path.relative_to(data)))
    return found


def _without_leftovers(found: list[_Found], manifest: Manifest) -> list[_Found]:
    """Without files of which the manifest knows that what they hold went another way."""
    standing = {s.id for s in manifest.snapshot().segments}
    gone = manifest.named() - standing if found else set()
    kept: list[_Found] = []
    for segment, tier, replaces in sorted(found, key=lambda f: f[1]):
        if segment.id in gone or gone.intersection(replaces):
            gone.add(segment.id)
        else:
            kept.append((segment, tier, replaces))
    return kept


def _end(found: list[_Found], lane: Lane, end: int) -> int:
    """Where the normaliser goes on: `end`, or behind the last merged file, with which whatever lies before it is taken."""
    mine = [s for s, _, _ in found if s.lane == lane.value]
    end = max([end, *(s.last for s in mine if s.kind != "cut")])
    while (further := max([end, *(s.last for s in mine if s.first < end)])) > end:
        end = further
    return end


def _gone_into(data: Path, segment: SegmentRow, adopted: list[SegmentRow]) -> bool:
    """Whether a file that the manifest names is gone because it was merged into one of `adopted`, perhaps by steps."""
    return not (data / segment.path).exists() and any(
        (s.lane, s.family, s.retention, s.origin, s.import_id, s.day)
        == (segment.lane, segment.family, segment.retention, segment.origin, segment.import_id, segment.day)
        and s.kind != "cut" and s.first <= segment.first and segment.last <= s.last for s in adopted)


def _described(path: Path, relative: str) -> _Found:
    table = read_ipc(path) if path.suffix == ".arrow" else pq.read_table(path, partitioning=None)
    card = orjson.loads(table.schema.metadata[METADATA])
    low, high = time_span(table, "@timestamp")
    early, late = time_span(table, "event.ingested")
    tokens = path.with_suffix(".tok")
    body = path.read_bytes()
    return SegmentRow(
        id=card["id"], kind=card["kind"], lane=card["lane"], first=card["first"], last=card["last"], family=card["family"],
        retention=card["retention"], origin=card["origin"], import_id=card["import_id"], day=card["day"], path=relative,
        rows=table.num_rows, bytes=len(body), sha256=hashlib.sha256(body).hexdigest(), event_sum=f"{event_sum(table):016x}",
        min_time=low, max_time=high, min_ingested=early, max_ingested=late, columns=tuple(table.schema.names),
        tokens=str(Path(relative).with_suffix(".tok")) if tokens.exists() else ""), int(card.get("tier", 0)), list(card.get("replaces", []))
