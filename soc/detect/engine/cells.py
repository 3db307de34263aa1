"""The cells of a record batch by field: one small number per row, each distinct value once.

A field may lie in three places (`soc.store.columns`): its column, its list column, and the kv map. Numbers: 0 the event
lacks the field, 1 it holds an explicit null (named in `soc.null_fields`), from 2 on a value or a tuple of values.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from soc.detect.engine.fieldtests import FieldTests, Value
from soc.detect.engine.scan import available
from soc.detect.engine.values import compare_fields, text_of
from soc.detect.pipelines import Names
from soc.store.columns import KV, field_of

__all__ = ["ABSENT", "FIRST_VALUE", "NULL", "Cells", "Columns", "searched_by_keywords"]

ABSENT: Final = 0
NULL: Final = 1
FIRST_VALUE: Final = 2

Ids = np.ndarray[Any, np.dtype[np.int64]]

_NOT_SEARCHED: Final = frozenset({
    "@timestamp", "ecs.version", "event.category", "event.created", "event.dataset", "event.id", "event.ingested", "event.kind",
    "event.module", "event.original", "event.type", "organization.id"})


def searched_by_keywords(field: str) -> bool:
    """Whether keywords are looked for in this field: all that the source said, nothing that we added."""
    return field not in _NOT_SEARCHED and not field.startswith("soc.") and not field.endswith(".folded")


class Cells:
    """One field of a batch: `ids` per row, and the values behind the numbers."""

    __slots__ = ("_parts", "ids", "size")

    def __init__(self, ids: Ids, parts: list[tuple[int, Any]], size: int) -> None:
        self.ids, self._parts, self.size = ids, parts, size

    def values(self, wanted: Ids) -> list[Value]:
        """The values of these numbers (ascending, all from FIRST_VALUE on)."""
        found: list[Value] = []
        for at, (start, part) in enumerate(self._parts):
            end = self._parts[at + 1][0] if at + 1 < len(self._parts) else self.size
            inside = wanted[(wanted >= start) & (wanted < end)] - start
            if isinstance(part, list):
                found += [part[int(i)] for i in inside]
            elif len(inside):
                texts = part.take(pa.array(inside)).to_pylist()
                found += texts if pa.types.is_string(part.type) else [text_of(value) for value in texts]
        return found

    def over(self, other: Cells) -> Cells:
        """Of each row our value, or where we have none the other's."""
        shift = self.size - FIRST_VALUE
        theirs = np.where(other.ids >= FIRST_VALUE, other.ids + shift, other.ids)
        ids = np.where(self.ids == ABSENT, theirs, self.ids)
        parts = self._parts + [(start + shift, part) for start, part in other._parts]
        return Cells(ids, parts, shift + other.size)

    def beside(self, other: Cells) -> Cells:
        """Of each row the values of both."""
        pairs, inverse = np.unique(self.ids * other.size + other.ids, return_inverse=True)
        joined: list[Value] = []
        lut = np.zeros(len(pairs), np.int64)
        for at, pair in enumerate(pairs):
            left, right = divmod(int(pair), other.size)
            both = (*self.texts(left), *other.texts(right))
            if both:
                lut[at] = FIRST_VALUE + len(joined)
                joined.append(both)
        return Cells(lut[inverse], [(FIRST_VALUE, joined)], FIRST_VALUE + len(joined))

    def texts(self, number: int) -> tuple[str, ...]:
        """The values behind one number."""
        if number < FIRST_VALUE:
            return ()
        value = self.values(np.array([number]))[0]
        return (value,) if isinstance(value, str) else value


class Columns:
    """A batch as cells by field, each worked out once however many rules ask."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self.height: int = batch.num_rows
        self._at = {name: index for index, name in enumerate(batch.schema.names)}
        self._numbers = {column.name for column in batch.schema if pa.types.is_integer(column.type)}
        self._cells: dict[Names, Cells | None] = {}
        self._searched: dict[int, list[str]] = {}
        self._kv = _Spilled.of(batch.column(self._at[KV])) if KV in self._at else None
        self._nulls = self._null_rows()

    def fields(self) -> list[str]:
        """Every field that has a column of its own."""
        return list(dict.fromkeys(field_of(name) for name in self._at if name != KV))

    def single(self, field: str) -> Cells | None:
        """The cells of the field's own column; None where it has another shape too (a list, kv) or no values."""
        if field + "[]" in self._at or (self._kv is not None and field in self._kv.codes):
            return None
        return self.cells(Names((field,)))

    def classes(self, names: Names, tests: FieldTests, rows: Ids | None) -> Ids | None:
        """The class of each row's value; None if no row has the field and so all are of class 0."""
        cells = self.cells(names)
        return None if cells is None else _classes(cells, rows, tests)

    def keyword_classes(self, tests: FieldTests, rows: Ids | None) -> Iterator[Ids]:
        """The classes of every field that keywords are looked for in; whole numbers only where a keyword could stand in one."""
        searched = self._searched.get(id(tests))
        if searched is None:
            searched = self._searched[id(tests)] = [field for field in self.fields() if self._may_hold(field, tests)]
        for field in searched:
            cells = self.cells(Names((field,)))
            if cells is not None:
                yield _classes(cells, rows, tests)
        spilled = self.spilled()
        if spilled is not None:
            yield _classes(spilled, rows, tests)

    def _may_hold(self, field: str, tests: FieldTests) -> bool:
        """Whether anything in the field's own column could hold one of the keywords: one scan over its buffer, once a batch."""
        if not searched_by_keywords(field) or (self._is_number(field) and not tests.may_hold_in_numbers):
            return False
        if not tests.hearts or not available():
            return True
        if field + "[]" in self._at or field not in self._at:
            return True
        column = self._batch.column(self._at[field])
        if not pa.types.is_string(column.type):
            return True
        offsets = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)
        data = column.buffers()[2]
        first, last = int(offsets[0]), int(offsets[-1])
        return data is not None and last > first and bool(tests.scanner().found(memoryview(data)[first:last]))

    def compared(self, test: str, left: Names, right: Names, rows: Ids | None) -> Ids | None:
        """1 where the two fields' values agree as a fieldref test asks, else 0; each distinct pair compared once."""
        ours, theirs = self.cells(left), self.cells(right)
        if ours is None or theirs is None:
            return None
        first, second = (ours.ids, theirs.ids) if rows is None else (ours.ids[rows], theirs.ids[rows])
        pairs, inverse = np.unique(first * theirs.size + second, return_inverse=True)
        truth = np.zeros(len(pairs), np.int64)
        for at, pair in enumerate(pairs.tolist()):
            one, other = divmod(pair, theirs.size)
            if one >= FIRST_VALUE and other >= FIRST_VALUE:
                truth[at] = any(compare_fields(test, a, b) for a in ours.texts(one) for b in theirs.texts(other))
        return truth[inverse.reshape(-1)] if truth.any() else None

    def _is_number(self, field: str) -> bool:
        """Whether the field's column holds whole numbers."""
        return field in self._numbers and field + "[]" not in self._at

    def cells(self, names: Names) -> Cells | None:
        """The cells of a rule's field; None if no event of the batch has it."""
        if names not in self._cells:
            self._cells[names] = self._resolve(names)
        return self._cells[names]

    def _resolve(self, names: Names) -> Cells | None:
        found: Cells | None = None
        for field in names.fields:
            cells = self._one(field)
            if cells is not None:
                found = cells if found is None else found.beside(cells) if names.every else found.over(cells)
        for field in names.fields:
            rows = self._nulls.get(field)
            if rows is not None:
                if found is None:
                    found = Cells(np.zeros(self.height, np.int64), [], FIRST_VALUE)
                ids = found.ids.copy()
                ids[rows] = np.where(ids[rows] == ABSENT, NULL, ids[rows])
                found = Cells(ids, found._parts, found.size)
        return found

    def _one(self, field: str) -> Cells | None:
        found: Cells | None = None
        single, many = self._at.get(field), self._at.get(field + "[]")
        if single is not None and not field.endswith("[]") and field != KV:
            column = self._batch.column(single)
            found = _scalar_cells(column) if column.null_count < self.height else None
        if many is not None:
            column = self._batch.column(many)
            lists = _list_cells(column) if column.null_count < self.height else None
            found = lists if found is None else found if lists is None else found.over(lists)
        if self._kv is not None and field in self._kv.codes:
            spilled = self._kv.cells(self._kv.keys == self._kv.codes[field], self.height)
            if spilled is not None:
                found = spilled if found is None else found.over(spilled)
        return found

    def spilled(self) -> Cells | None:
        """Every kv value that keywords are looked for in, of each row all of them."""
        if self._kv is None:
            return None
        asked = [code for name, code in self._kv.codes.items() if searched_by_keywords(name)]
        return self._kv.cells(np.isin(self._kv.keys, asked), self.height)

    def _null_rows(self) -> dict[str, Ids]:
        rows: dict[str, list[int]] = {}
        for name in ("soc.null_fields", "soc.null_fields[]"):
            if name in self._at:
                column = self._batch.column(self._at[name])
                for row in np.flatnonzero(np.asarray(column.is_valid())).tolist():
                    named = column[row].as_py()
                    for field in named if isinstance(named, list) else [named]:
                        rows.setdefault(field, []).append(row)
        return {field: np.array(found, np.int64) for field, found in rows.items()}


def _classes(cells: Cells, rows: Ids | None, tests: FieldTests) -> Ids:
    """The class of each row's value: each distinct value that these rows hold is asked for once."""
    ids = cells.ids if rows is None else cells.ids[rows]
    seen = np.zeros(cells.size, bool)
    seen[ids] = True
    lut = np.zeros(cells.size, np.int64)
    if seen[NULL]:
        lut[NULL] = tests.null_class()
    wanted = np.flatnonzero(seen[FIRST_VALUE:]) + FIRST_VALUE
    if len(wanted):
        class_of = tests.class_of
        lut[wanted] = [class_of(value) for value in cells.values(wanted)]
    return lut[ids]


def _scalar_cells(array: Any) -> Cells:
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    elif pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    encoded = array.dictionary_encode()
    indices = encoded.indices
    ids = np.frombuffer(indices.buffers()[1], np.int32, len(indices), indices.offset * 4).astype(np.int64) + FIRST_VALUE
    if indices.null_count:
        ids[~np.asarray(indices.is_valid())] = ABSENT
    return Cells(ids, [(FIRST_VALUE, encoded.dictionary)], FIRST_VALUE + len(encoded.dictionary))


def _list_cells(array: Any) -> Cells:
    """Rows of lists: rows of one length are compared as a matrix, so that Python sees each distinct list once."""
    height = len(array)
    valid = np.asarray(array.is_valid())
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0)).astype(np.int64)
    encoded = array.flatten().cast(pa.string()).dictionary_encode()
    codes = np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int64)
    texts: list[str] = encoded.dictionary.to_pylist()
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])) if height else np.zeros(0, np.int64)
    ids = np.zeros(height, np.int64)
    values: list[Value] = []
    for length in np.unique(lengths[valid]).tolist():
        rows = np.flatnonzero(valid & (lengths == length))
        matrix = codes[starts[rows][:, None] + np.arange(length)]
        if not length:
            ids[rows] = FIRST_VALUE + len(values)
            values.append(())
            continue
        distinct, inverse = np.unique(matrix, axis=0, return_inverse=True)
        ids[rows] = inverse.reshape(-1) + FIRST_VALUE + len(values)
        values += [tuple(texts[code] for code in row if code >= 0) for row in distinct.tolist()]
    return Cells(ids, [(FIRST_VALUE, values)], FIRST_VALUE + len(values))


class _Spilled:
    """The kv column: per entry its row, its key as a code, and its value."""

    __slots__ = ("codes", "items", "keys", "rows")

    def __init__(self, rows: Ids, keys: Ids, items: Any, codes: dict[str, int]) -> None:
        self.rows, self.keys, self.items, self.codes = rows, keys, items, codes

    @classmethod
    def of(cls, column: Any) -> _Spilled:
        lengths: Ids = np.diff(np.asarray(column.offsets, np.int64)).astype(np.int64)
        valid = np.asarray(column.is_valid())
        first, last = (column.offsets[0].as_py(), column.offsets[-1].as_py()) if len(column) else (0, 0)
        keys = column.keys.slice(first, last - first).dictionary_encode()
        rows = np.repeat(np.arange(len(column)), lengths)
        codes = np.asarray(keys.indices).astype(np.int64)
        codes[~valid[rows]] = -1
        numbers = {key: number for number, key in enumerate(keys.dictionary.to_pylist())}
        return cls(rows, codes, column.items.slice(first, last - first), numbers)

    def cells(self, chosen: np.ndarray[Any, np.dtype[np.bool_]], height: int) -> Cells | None:
        entries = np.flatnonzero(chosen)
        if not len(entries):
            return None
        rows = self.rows[entries]
        items = self.items.take(pa.array(entries))
        lengths = np.bincount(rows, minlength=height)
        if lengths.max() > 1:
            offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
            found = _list_cells(pa.ListArray.from_arrays(offsets, items))
            found.ids[lengths == 0] = ABSENT
            return found
        cells = _scalar_cells(items)
        ids = np.zeros(height, np.int64)
        ids[rows] = cells.ids
        return Cells(ids, cells._parts, cells.size)
