"""The compactor: narrow cuts become wide Parquet segments with a token index, in tiers, behind every consumer.

Tier 1 joins cuts after about a minute, tier 2 after an hour, tier 3 once the day is over. Each merge is one file,
written beside the old ones and exchanged for them in one manifest transaction; old files go after a grace.
"""
from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from soc.ecs import kind_of
from soc.errors import StoreError
from soc.event import Lane
from soc.store.columns import KV, arrow_type, field_of
from soc.store.cuts import METADATA, Partition, describe, event_sum, read_ipc, row_of, time_span
from soc.store.damage import damage
from soc.store.disk import Disk, Writer, write_whole
from soc.store.hold import hold
from soc.store.manifest import Manifest
from soc.store.rebuild import leftovers
from soc.store.segment import SegmentRow

__all__ = ["CompactionLimits", "Compactor"]

_BREATH = 4
"""Row groups between two breaths."""
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000


@dataclass(frozen=True, slots=True)
class CompactionLimits:
    """Ages are microseconds since the newest event of a file was ingested; rows bound files, groups and columns.

    A row group also ends where its columns would take more than `group_bytes` in memory: large events are merged in small groups.

    A segment of `enough` rows is not rewritten again: under load every event is compacted once.
    """

    cut_age: int = MINUTE
    hour_age: int = HOUR
    group_rows: int = 8_192
    group_bytes: int = 40 << 20
    file_rows: int = 1_000_000
    enough: int = 200_000
    many: int = 64
    columns: int = 200
    grace: int = 60_000_000


class Compactor:
    """Merges files of one partition and lane. Owns its manifest connection; runs beside the normaliser."""

    def __init__(self, *, data: Path, disk: Disk, manifest: Manifest, passed: Callable[[], Mapping[Lane, int]],
                 index: Callable[[pa.Table], Sequence[bytes]] | None = None, limits: CompactionLimits | None = None,
                 breathe: Callable[[], None] = lambda: None) -> None:
        """`breathe` is called now and then during a merge: to give back memory, say."""
        self._breathe = breathe
        self._data, self._disk, self._manifest, self._passed, self._index = data, disk, manifest, passed, index
        self._limits = limits or CompactionLimits()

    def clean(self) -> int:
        """Remove what a killed predecessor left: half-written files, and merged ones that never entered the manifest."""
        with hold(self._data, wait=False) as mine:
            gone = leftovers(self._data, self._manifest) if mine else []
            half = [p for p in (self._data / "segments").rglob("*.tmp") if p.is_file()] if mine else []
            for path in (*half, *(self._data / name for name in gone)):
                self._disk.unlink(path)
                self._disk.unlink(path.with_suffix(".tok"))
        return len(gone) + len(half)

    def step(self, now: int) -> int:
        """Make at most one merge; returns the rows it rewrote (0: nothing is due). Raises StoreError, DamagedError."""
        with hold(self._data, wait=False) as mine:
            plan = self._plan(now) if mine else None
            return self._carry_out(*plan, now) if plan is not None else 0

    def _carry_out(self, tier: int, old: list[SegmentRow], now: int) -> int:
        new = self._merge(tier, old, now)
        if new is None:
            return sum(s.rows for s in old)
        if not self._manifest.replace(old, [new], tier, now):
            self._disk.unlink(self._data / new.path)
        return new.rows

    def sweep(self, now: int) -> int:
        """Unlink files that were replaced or removed longer ago than the grace; returns how many."""
        with hold(self._data, wait=False) as mine:
            return self._sweep(now) if mine else 0

    def _sweep(self, now: int) -> int:
        gone = self._manifest.swept(now - self._limits.grace)
        for _, path, tokens in gone:
            self._disk.unlink(self._data / path)
            if tokens:
                self._disk.unlink(self._data / tokens)
            folder = (self._data / path).parent
            if not self._disk.names(folder):
                self._disk.rmtree(folder)
        passed = {lane: min(at, self._oldest_cut(lane)) for lane, at in self._passed().items()}
        if gone:
            self._manifest.forget([identity for identity, _, _ in gone], passed)
        return len(gone)

    def _oldest_cut(self, lane: Lane) -> int:
        firsts = [s.first for s in self._manifest.snapshot().segments if s.kind == "cut" and s.lane == lane.value]
        return min(firsts, default=1 << 62)

    def _plan(self, now: int) -> tuple[int, list[SegmentRow]] | None:
        """(tier of the result, files to merge) of the first merge that is due; lowest tier first."""
        tiers = self._manifest.tiers()
        passed = self._passed()
        groups: dict[tuple[object, ...], list[SegmentRow]] = defaultdict(list)
        for segment in self._manifest.snapshot().segments:
            if segment.kind == "cut" and segment.last > passed.get(Lane(segment.lane), 0):
                continue
            groups[(segment.lane, segment.family, segment.retention, segment.origin, segment.import_id, segment.day)].append(segment)
        limits = self._limits
        for level, age in ((0, limits.cut_age), (1, limits.hour_age), (2, DAY)):
            for key in sorted(groups, key=str):
                waiting = sorted((s for s in groups[key] if tiers.get(s.id, 0) == level and (not level or s.rows < limits.enough)),
                                 key=lambda s: s.first)
                if not waiting or (level and len(waiting) < 2):
                    continue
                rows = sum(s.rows for s in waiting)
                due = now - min(s.max_ingested for s in waiting) >= age or rows >= limits.group_rows * 4 ** (level + 1)
                if level == 2:
                    due = _day_over(str(key[5]), now)
                if due or len(waiting) >= limits.many * 4:
                    return level + 1, _bounded(waiting, limits.file_rows)
        return None

    def _merge(self, tier: int, old: Sequence[SegmentRow], now: int) -> SegmentRow | None:
        """The merged file of `old`, written and synced; None if one of them turned out damaged (it is quarantined)."""
        first, sample = old[0], old[0]
        partition = Partition(sample.family, sample.retention, sample.origin, sample.import_id, sample.day)
        identity = f"{sample.lane[0]}{min(s.first for s in old):x}-{max(s.last for s in old):x}-t{tier}-{_short(old)}"
        path = Path("segments") / partition.folder / f"{identity}.parquet"
        temporary = self._data / path.with_name(path.name + ".tmp")
        self._disk.mkdir(temporary.parent)
        self._disk.unlink(temporary)
        schema, spilled = self._schema(old)
        sink = _HashedWriter(self._disk.create(temporary))
        tokens: list[bytes] = []
        total = rows = 0
        spans: list[tuple[int, int, int, int]] = []
        writer: pq.ParquetWriter | None = None
        try:
            for table in self._tables(old, schema, spilled):
                if writer is None:
                    described = describe(row_of(identity, "segment", Lane(first.lane), min(s.first for s in old), max(s.last for s in old),
                                                partition, table.slice(0, 0), str(path)), tier=tier, replaces=[s.id for s in old])
                    writer = pq.ParquetWriter(sink, schema.with_metadata({METADATA: described}), **_writing(schema))
                writer.write_table(table.replace_schema_metadata(writer.schema.metadata), row_group_size=table.num_rows)
                total = (total + event_sum(table)) % (1 << 64)
                rows += table.num_rows
                spans.append((*time_span(table, "@timestamp"), *time_span(table, "event.ingested")))
                if self._index is not None:
                    tokens += self._index(table)
                if len(spans) % _BREATH == 0:
                    self._breathe()
            if writer is None:
                return None
            writer.close()
            sink.raw.sync()
        except _Damaged as fault:
            self._manifest.quarantine(fault.segment.id, str(fault), now)
            self._disk.unlink(temporary)
            return None
        finally:
            sink.raw.close()
        self._disk.rename(temporary, self._data / path)
        token_path = ""
        if tokens:
            token_path = str(path.with_suffix(".tok"))
            self._disk.unlink(self._data / token_path)
            write_whole(self._disk, self._data / token_path, _packed(tokens))
        self._disk.sync_dir(self._data / path.parent)
        self._sync_parents(path.parent)
        return SegmentRow(
            id=identity, kind="segment", lane=first.lane, first=min(s.first for s in old), last=max(s.last for s in old),
            family=partition.family, retention=partition.retention, origin=partition.origin, import_id=partition.import_id,
            day=partition.day, path=str(path), rows=rows, bytes=sink.size, sha256=sink.digest.hexdigest(), event_sum=f"{total:016x}",
            min_time=min(s[0] for s in spans), max_time=max(s[1] for s in spans), min_ingested=min(s[2] for s in spans),
            max_ingested=max(s[3] for s in spans), columns=tuple(schema.names), tokens=token_path)

    def _sync_parents(self, folder: Path) -> None:
        for parent in folder.parents:
            self._disk.sync_dir(self._data / parent)

    def _schema(self, old: Sequence[SegmentRow]) -> tuple[pa.Schema, frozenset[str]]:
        """The union of the files' columns, and which of them go to `kv` because there would be too many."""
        weight: dict[str, int] = defaultdict(int)
        for segment in old:
            for name in segment.columns:
                weight[name] += segment.rows
        names = set(weight)
        spilled: frozenset[str] = frozenset()
        if len(names) > self._limits.columns:
            loose = sorted((n for n in names if n != KV and _spillable(n)), key=lambda n: (not n.startswith(_OWN), weight[n], n))
            spilled = frozenset(loose[: len(names) - self._limits.columns])
            names = (names - spilled) | {KV}
        return pa.schema([(name, arrow_type(name)) for name in sorted(names)]), spilled

    def _tables(self, old: Sequence[SegmentRow], schema: pa.Schema, spilled: frozenset[str]) -> Iterator[pa.Table]:
        """Row groups of the result: the rows of `old` in order, each group sorted so that like events lie together."""
        held: list[pa.Table] = []
        for segment in old:
            for table in self._read(segment):
                held.append(_fitted(table, schema, spilled))
                del table
                while group_rows := self._full(held):
                    group, rest = _split(held, group_rows)
                    held.append(rest)
                    del rest
                    yield group
                    del group
        if rows := sum(table.num_rows for table in held):
            yield _split(held, rows)[0]

    def _full(self, held: Sequence[pa.Table]) -> int:
        """How many of the rows held make a whole group; 0 if they are too few."""
        rows = sum(table.num_rows for table in held)
        size = sum(table.nbytes for table in held)
        most = min(self._limits.group_rows, max(1, rows * self._limits.group_bytes // max(1, size)))
        return most if rows > most or rows == self._limits.group_rows else 0

    def _read(self, segment: SegmentRow) -> Iterator[pa.Table]:
        path = self._data / segment.path
        try:
            if segment.kind == "cut":
                yield read_ipc(path)
                return
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)
        except (pa.ArrowException, OSError) as fault:
            if reason := damage(segment, self._data):
                raise _Damaged(segment, reason) from fault
            raise StoreError(f"{segment.path} could not be read: {fault}") from fault


class _Damaged(Exception):
    def __init__(self, segment: SegmentRow, reason: str) -> None:
        super().__init__(reason[:300])
        self.segment = segment


class _HashedWriter:
    """The file object pyarrow writes to: our writer, hashed and counted on the way."""

    def __init__(self, raw: Writer) -> None:
        self.raw, self.digest, self.size, self.closed = raw, hashlib.sha256(), 0, False

    def write(self, data: bytes) -> int:
        """Append bytes."""
        body = bytes(data)
        self.digest.update(body)
        self.size += len(body)
        return self.raw.write(body)

    def tell(self) -> int:
        """Bytes written so far."""
        return self.size

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Closed by whoever opened it."""

    def writable(self) -> bool:
        """Always."""
        return True


_ORIGINAL = "event.original"
_DELTA = ("soc.seq", "soc.n", "@timestamp", "event.created", "event.ingested")


def _writing(schema: pa.Schema) -> dict[str, object]:
    """Parquet settings: zstd, dictionaries but for what never repeats, wide pages so that zstd sees like lines together."""
    names = [n for n in schema.names if n != KV]
    plain = {_ORIGINAL, *_DELTA}
    return {
        "compression": "zstd",
        "compression_level": {n: 5 if n in (_ORIGINAL, "message") else 3 for n in schema.names},
        "use_dictionary": [n for n in names if n not in plain and not n.endswith("[]")],
        "column_encoding": {n: "DELTA_BINARY_PACKED" for n in _DELTA if n in names},
        "data_page_size": 8 << 20,
        "dictionary_pagesize_limit": 1 << 20,
        "write_page_checksum": True,
        "store_schema": True,
    }


def _fitted(table: pa.Table, schema: pa.Schema, spilled: frozenset[str]) -> pa.Table:
    """`table` with exactly the columns of `schema`: missing ones null, rare ones moved to `kv`."""
    height = table.num_rows
    present = set(table.schema.names)
    arrays = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        if name == KV and spilled & present:
            arrays.append(_kv(table, sorted(spilled & present)))
        elif name in present:
            column = table.column(name)
            arrays.append(column if column.type == kind else column.cast(kind))
        else:
            arrays.append(pa.chunked_array([pa.nulls(height, kind)]))
    return pa.table(arrays, schema=schema)


def _kv(table: pa.Table, names: Sequence[str]) -> pa.Array:
    rows: list[list[tuple[str, str]] | None] = (
        table.column(KV).to_pylist() if KV in table.schema.names else [None] * table.num_rows)
    for name in names:
        field = field_of(name)
        for row, value in enumerate(table.column(name).to_pylist()):
            if value is None:
                continue
            entry = rows[row]
            if entry is None:
                entry = rows[row] = []
            entry.extend((field, one) for one in (value if isinstance(value, list) else (value,)))
    return pa.array(rows, arrow_type(KV))


_ORDER = ("event.dataset", "event.provider", "event.code", "host.name", "soc.seq")


def _split(held: list[pa.Table], rows: int) -> tuple[pa.Table, pa.Table]:
    """The first `rows` rows of `held`, and the rest, as memory of their own; `held` is emptied.

    The former are sorted so that like events lie together, in time order among themselves: the same bytes cost about a third less.
    It goes column by column, each given back before the next, so that only one is ever held twice.
    """
    schema, total = held[0].schema, sum(table.num_rows for table in held)
    keys = pa.concat_tables([table.select([n for n in _ORDER if n in schema.names]) for table in held]).slice(0, rows)
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.schema.names])
    after = pa.array(range(rows, total), pa.int64())
    waiting = [list(table.columns) for table in held]
    held.clear()
    first, rest = [], []
    for at, kind in enumerate(schema.types):
        column = pa.chunked_array([chunk for columns in waiting for chunk in columns[at].chunks], kind).combine_chunks()
        for columns in waiting:
            columns[at] = None
        first.append(column.take(order))
        rest.append(column.take(after))
        del column
    return pa.table(first, schema=schema), pa.table(rest, schema=schema)


_OWN = ("winlog.", "auditd.", "unmapped.", "labels.")
"""The sources' own fields go to `kv` before ECS fields do: searches name the latter, and looking into `kv` is slow."""


def _spillable(name: str) -> bool:
    return (kind_of(field_of(name)) == "keyword" and not name.startswith(("soc.", "event.", "organization.", "host."))
            and not name.endswith(".folded") and name != "message")


def _bounded(segments: Sequence[SegmentRow], rows: int) -> list[SegmentRow]:
    taken: list[SegmentRow] = []
    total = 0
    for segment in segments:
        if taken and total + segment.rows > rows:
            break
        taken.append(segment)
        total += segment.rows
    return taken


def _day_over(day: str, now: int) -> bool:
    from datetime import UTC, date, datetime

    return datetime.fromtimestamp(now / 1e6, UTC).date() > date.fromisoformat(day)


def _short(old: Sequence[SegmentRow]) -> str:
    return hashlib.sha256("\n".join(s.id for s in old).encode()).hexdigest()[:8]


def _packed(parts: Sequence[bytes]) -> bytes:
    """Token indexes of groups of rows, each behind its length (u32 LE), in order."""
    return b"".join(len(p).to_bytes(4, "little") + p for p in parts)

