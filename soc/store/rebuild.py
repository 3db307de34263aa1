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

__all__ = ["rebuild"]


def rebuild(data: Path, manifest: Manifest, journal_from: Mapping[Lane, int], now: int) -> tuple[int, list[str]]:
    """Adopt every sound file that `manifest` does not know; returns (files adopted, files that cannot be read).

    `journal_from` is the first sequence each lane's journal still holds.
    """
    known = {str(p) for (p,) in manifest.node.rows("SELECT path FROM segments")}
    found: list[tuple[SegmentRow, int, list[str]]] = []
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
    replaced = {identity for _, _, replaces in found for identity in replaces}
    undone = manifest.undone()
    positions = {lane: manifest.cursor(lane) for lane in Lane}
    standing: list[SegmentRow] = []
    tiers: dict[str, int] = {}
    for segment, tier, _ in found:
        lane = Lane(segment.lane)
        if segment.id in replaced or segment.import_id in undone:
            continue
        if segment.kind == "cut" and segment.first >= max(positions[lane], journal_from.get(lane, 0)):
            continue
        standing.append(segment)
        tiers[segment.id] = tier
    for lane in Lane:
        ends = [s.last for s in standing if s.lane == lane.value]
        positions[lane] = max([positions[lane], *ends])
    if standing:
        manifest.adopt(standing, tiers, positions, now)
    return len(standing), damaged


def _described(path: Path, relative: str) -> tuple[SegmentRow, int, list[str]]:
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
