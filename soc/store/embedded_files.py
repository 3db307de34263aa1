"""What one question reads: the manifest's files that may hold an answer, in portions, as DuckDB sources.

Cuts are loaded as Arrow tables holding only the columns asked for; segments are read in place by DuckDB.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from soc.errors import DamagedError
from soc.event import Event
from soc.store import tokens
from soc.store.columns import KV, arrow_type, field_of
from soc.store.embedded_rows import read_cut
from soc.store.eventstore import TimeRange
from soc.store.fold import SUFFIX, words
from soc.store.query_sql import needed, quoted
from soc.store.query_tree import TEXT_FIELDS, Addresses, And, Between, Clause, Exists, Not, Or, Phrase, Query, Term, Wild, leaves
from soc.store.reference import matches
from soc.store.segment import SegmentRow

__all__ = [
    "Indexes", "Part", "Source", "costly", "may_hold", "overlaps", "portions", "select", "slices", "sources",
]

_CUT_BYTES = 8 << 20
_FILES = 200
_OUTLINES = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """A file that may hold answers; `rows` are the half-open row ranges that may (None: all).

    `kv` says whether a field that is asked for may stand in its `kv` column (reading that is slow).
    """

    segment: SegmentRow
    rows: tuple[tuple[int, int], ...] | None = None
    kv: bool = True


class Indexes:
    """The token indexes of segments; what is not the words themselves is remembered."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._outlines: dict[str, tuple[tokens.Group, ...] | None] = {}

    def groups(self, segment: SegmentRow, *, bits: bool) -> tuple[tokens.Group, ...] | None:
        """A segment's groups of rows, with their words if `bits`; None if there is no index or it does not fit."""
        if not segment.tokens:
            return None
        if not bits and segment.id in self._outlines:
            return self._outlines[segment.id]
        try:
            found: tuple[tokens.Group, ...] | None = tuple(tokens.groups(self._data / segment.tokens))
        except (OSError, DamagedError):
            found = None
        if found is not None and sum(group.rows for group in found) != segment.rows:
            found = None
        if len(self._outlines) >= _OUTLINES:
            self._outlines.clear()
        self._outlines[segment.id] = None if found is None else tuple(replace(group, body=b"") for group in found)
        return found


@dataclass(frozen=True, slots=True)
class Source:
    """Something to stand behind FROM: its columns (name -> identifier), and whose rows they are.

    `file` and `row` are SQL: the index into `parts`, and the row number in that file.
    """

    sql: str
    values: list[object]
    columns: Mapping[str, str]
    parts: tuple[Part, ...]
    file: str
    row: str
    tables: dict[str, pa.Table] = field(default_factory=dict)


def select(segments: Sequence[SegmentRow], root: Clause, within: TimeRange, indexes: Indexes, also: frozenset[str] = frozenset()) -> list[Part]:
    """The files, and where known the rows, that may hold what is asked for; `also` are fields asked for beside `root`'s.

    Token indexes that cannot be read rule nothing out.
    """
    found: list[Part] = []
    bits = _wants_words(root)
    asked = {field_of(name) for name in needed(root)} - {KV} | also
    for segment in segments:
        if not overlaps(segment, within) or not may_hold(root, segment, None):
            continue
        loose = KV in segment.columns
        groups = indexes.groups(segment, bits=bits) if bits or loose else None
        if groups is None:
            found.append(Part(segment, None, loose))
            continue
        for kv in (False, True):  # apart, for looking into `kv` is slow
            here = [kv is (loose and (group.names is None or not asked.isdisjoint(group.names))) for group in groups]
            rows = _ranges(root, segment, groups, here)
            if rows != ():
                found.append(Part(segment, rows, kv))
    return found


def may_hold(clause: Clause, segment: SegmentRow, group: tokens.Group | None) -> bool:
    """False only where the manifest's row (and the words of a group of rows) rule every event out."""
    match clause:
        case And(clauses):
            return all(may_hold(inner, segment, group) for inner in clauses)
        case Or(clauses):
            return any(may_hold(inner, segment, group) for inner in clauses)
        case Not():
            return True
        case Term(name, _) if name in _PARTITION:
            known = _PARTITION[name](segment)
            event: Event = {name: known} if known else {}
            return matches(Query("", clause), event)
        case Exists(name) | Term(name, _) | Between(name, _, _) | Addresses(name, _, _, _, _) if _absent(name, segment, group):
            return isinstance(clause, Term) and not _absent(name + SUFFIX, segment, group)
        case Between(name, low, high) if name in ("@timestamp", "event.ingested"):
            first, last = ((segment.min_time, segment.max_time) if name == "@timestamp" else (segment.min_ingested, segment.max_ingested))
            return (low is None or last >= low) and (high is None or first <= high)
        case Phrase(fields, _) if group is not None and group.body and TEXT_FIELDS.issuperset(fields):
            return group.may_contain(_whole_words(clause))
    return True


def _absent(name: str, segment: SegmentRow, group: tokens.Group | None) -> bool:
    """Whether no event there can have the field."""
    columns = _set(segment.columns)
    if name in columns or name + "[]" in columns:
        return False
    return KV not in columns or (group is not None and group.names is not None and name not in group.names)


@lru_cache(256)
def _set(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(names)


_PARTITION = {
    "soc.origin": lambda s: s.origin,
    "soc.import_id": lambda s: s.import_id,
    "soc.lane": lambda s: s.lane,
}


def _wants_words(clause: Clause) -> bool:
    match clause:
        case And(clauses):
            return any(_wants_words(inner) for inner in clauses)
        case Or(clauses):
            return all(_wants_words(inner) for inner in clauses)
        case Phrase():
            return bool(_whole_words(clause))
    return False


def _whole_words(phrase: Phrase) -> list[int]:
    """Hashes of the words that a text must hold whole: those not next to a wildcard."""
    found: list[str] = []
    parts = phrase.pattern.parts
    for number, part in enumerate(parts):
        if isinstance(part, Wild):
            continue
        inside = words(part)
        if number and inside and part.startswith(inside[0]):
            inside = inside[1:]
        if number < len(parts) - 1 and inside and part.endswith(inside[-1]):
            inside = inside[:-1]
        found += inside
    return tokens.hashes(found)


def _ranges(root: Clause, segment: SegmentRow, groups: Sequence[tokens.Group], here: Sequence[bool]) -> tuple[tuple[int, int], ...] | None:
    """Row ranges of the groups that are `here` and may hold an answer; None for the whole file."""
    ranges: list[tuple[int, int]] = []
    at = 0
    for group, wanted in zip(groups, here, strict=True):
        if wanted and may_hold(root, segment, group):
            if ranges and ranges[-1][1] == at:
                ranges[-1] = (ranges[-1][0], at + group.rows)
            else:
                ranges.append((at, at + group.rows))
        at += group.rows
    return None if ranges == [(0, segment.rows)] else tuple(ranges)


def overlaps(segment: SegmentRow, within: TimeRange) -> bool:
    """Whether a file may hold events of that time."""
    return (within.start is None or segment.max_time >= within.start) and (within.end is None or segment.min_time < within.end)


def costly(clause: Clause) -> bool:
    """Whether long texts have to be looked through: then newest events are looked for in slices of time."""
    return any(isinstance(leaf, Phrase) or (isinstance(leaf, Term) and leaf.pattern.literal is None) for leaf in leaves(clause))


def slices(parts: Sequence[Part], within: TimeRange, first: int) -> Iterator[TimeRange]:
    """`within`, newest first, in stretches that hold about `first` rows that may answer, and then eight times more each."""
    if not parts:
        return
    low = min(part.segment.min_time for part in parts)
    high = max(part.segment.max_time for part in parts) + 1
    low = low if within.start is None else max(low, within.start)
    high = high if within.end is None else min(high, within.end)
    rows = sum(_rows_between(part, low, high) for part in parts)
    width = max(1_000_000, int((high - low) * min(1.0, first / max(1.0, rows))))
    end = high
    while end > low:
        start = max(low, end - width)
        if start - low < width:
            start = low
        yield TimeRange(start, end)
        end, width = start, width * 8


def _rows_between(part: Part, low: int, high: int) -> float:
    first, last = part.segment.min_time, part.segment.max_time
    rows = part.segment.rows if part.rows is None else sum(end - start for start, end in part.rows)
    return rows * max(0, min(high, last + 1) - max(low, first)) / (last - first + 1)


def portions(parts: Sequence[Part], first: int) -> Iterator[list[Part]]:
    """`parts` in order, in portions of about `first` rows and then four times more each; few cut bytes in each."""
    held: list[Part] = []
    budget, rows, loaded = first, 0, 0
    for part in parts:
        size = part.segment.bytes if _loaded(part.segment) else 0
        if held and (rows + part.segment.rows > budget or loaded + size > _CUT_BYTES or len(held) >= _FILES):
            yield held
            held, rows, loaded = [], 0, 0
            budget *= 4
        held.append(part)
        rows += part.segment.rows
        loaded += size
    if held:
        yield held


def _loaded(segment: SegmentRow) -> bool:
    return segment.kind == "cut"


def sources(parts: Sequence[Part], wanted: frozenset[str], data: Path) -> Iterator[Source]:
    """The sources of a portion: one for all its cuts, one for each set of columns that its segments share.

    Raises pyarrow.ArrowException and OSError for a cut that cannot be read.
    """
    cuts = tuple(part for part in parts if _loaded(part.segment))
    if cuts:
        yield _cut_source(cuts, wanted, data)
    alike: dict[object, list[Part]] = {}
    for part in parts:
        if not _loaded(part.segment):
            alone = part.rows is not None or _collides(part.segment.columns, wanted)
            key: object = (part.segment.id, part.kv) if alone else (wanted.intersection(part.segment.columns), part.kv)
            alike.setdefault(key, []).append(part)
    for group in alike.values():
        paths = [str(data / part.segment.path) for part in group]
        columns = wanted.intersection(group[0].segment.columns) - ({KV} if not group[0].kv else set())
        alias, names = "", {name: quoted(name) for name in columns}
        if _collides(group[0].segment.columns, wanted):
            names = {name: f"c{i}" for i, name in enumerate(group[0].segment.columns) if name in columns}
            alias = f" AS file({', '.join(f'c{i}' for i in range(len(group[0].segment.columns)))})"
        if KV in names:
            names[KV] = f"map_entries({names[KV]})"
        yield Source(f"read_parquet(?, file_row_number=true){alias}", [paths], names, tuple(group), "file_index", "file_row_number")


@lru_cache(256)
def _collides(columns: tuple[str, ...], wanted: frozenset[str]) -> bool:
    """Whether a wanted column differs from another by case alone: DuckDB does not tell them apart."""
    times = Counter(name.lower() for name in columns)
    return any(times[name.lower()] > 1 for name in wanted.intersection(columns))


def _cut_source(cuts: tuple[Part, ...], wanted: frozenset[str], data: Path) -> Source:
    names = sorted(wanted.intersection(name for part in cuts for name in part.segment.columns))
    schema = pa.schema([(name, arrow_type(name)) for name in names])
    tables = []
    for number, part in enumerate(cuts):
        table = read_cut(data / part.segment.path, names)
        arrays = [table.column(n) if n in table.schema.names else pa.nulls(table.num_rows, schema.field(n).type) for n in names]
        arrays = [_entries(array) if name == KV else array for name, array in zip(names, arrays, strict=True)]
        height = table.num_rows if names else part.segment.rows
        tables.append(pa.table([*arrays, np.full(height, number, dtype=np.int64), np.arange(height)],
                               names=[*(f"c{i}" for i in range(len(names))), "f", "r"]))
    return Source("cuts", [], {name: f"c{i}" for i, name in enumerate(names)}, cuts, "f", "r", {"cuts": pa.concat_tables(tables)})


def _entries(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    """`kv` as a list of structs: DuckDB refuses maps that name a key twice."""
    kind = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return pa.chunked_array([
        pa.ListArray.from_arrays(chunk.offsets, pa.StructArray.from_arrays([chunk.keys, chunk.items], names=["key", "value"]), type=kind,
                                 mask=chunk.is_null() if chunk.null_count else None)
        for chunk in chunks], kind)
