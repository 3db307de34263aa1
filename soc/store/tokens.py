"""The token index: for each few hundred rows of a segment a Bloom filter of the folded words of their texts, and their `kv` fields.

Built by the compactor, read by searches to leave out rows that cannot hold a word or a field. One group of rows' index is
magic, rows, filter bits, probes and bytes of names (struct `_HEAD`), the names (JSON; true: those of the group before), the
bits; a segment's `.tok` file holds them one behind the other, each behind its length (u32 LE). Never says no to a word of
three or more characters that is there.
"""
from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from soc.errors import DamagedError
from soc.store.columns import KV
from soc.store.fold import SUFFIX, lower
from soc.store.query_tree import FREE_TEXT

__all__ = ["SHORTEST", "Group", "blocks", "build", "groups", "groups_in", "hashes", "may_contain"]

SHORTEST = 3
"""Shorter words are in no index and rule nothing out."""

_HEAD = struct.Struct("<4sIIII")
_MAGIC = b"tok1"
_BITS_PER_WORD = 14
_PROBES = 9
"""One group in a thousand that lacks a word is looked through for it all the same: at one in a hundred a word that is
nowhere cost three times as much."""
BLOCK_ROWS = 512
"""Rows of one filter. Like events lie together, so that few of these hold a given word where nearly every row group does:
`privilege token` 7 % against 100 %, `process create` 27 %, at 1.5 bytes an event more than one filter for 8,192 rows."""
_MOST_NAMES = 2000
_BLOCK = 1 << 18
_SLICE, _SLICE_BYTES = 2048, 10 << 20
_MARKS = (',"', "\\", "\n", " ")
_WORD = re.compile(rf"\w{{{SHORTEST},}}")

_IN_WORD = np.zeros(256, dtype=np.bool_)
_IN_WORD[[*range(48, 58), *range(65, 91), *range(97, 123), 95]] = True
_PRIME = 0x9E3779B97F4A7C15 | 1
_INVERSE = pow(_PRIME, -1, 1 << 64)


@dataclass(frozen=True, slots=True)
class Group:
    """One group's filter, how many rows it stands for, and the fields in their `kv` (None: too many to list)."""

    rows: int
    names: frozenset[str] | None
    bits: int
    probes: int
    body: memoryview | bytes

    def may_contain(self, wanted: Sequence[int]) -> bool:
        """Whether every one of these hashes may be there."""
        return all(self._has(word) for word in wanted)

    def _has(self, word: int) -> bool:
        step = (word >> 32) | 1
        return all(self.body[at >> 3] >> (at & 7) & 1 for at in (((word + i * step) & _MASK) % self.bits for i in range(self.probes)))


_MASK = (1 << 64) - 1


def blocks(table: pa.Table) -> list[bytes]:
    """The indexes of the rows of `table`, `BLOCK_ROWS` at a time. About 18 CPU s per million events of 2 kB."""
    names: object = _names(table)
    found = []
    for at in range(0, max(1, table.num_rows), BLOCK_ROWS):
        found.append(_packed(table.slice(at, BLOCK_ROWS), names))
        names = True
    return found


def build(table: pa.Table) -> bytes:
    """The index of all rows of `table` as one group."""
    return _packed(table, _names(table))


def _packed(table: pa.Table, names: object) -> bytes:
    found = _distinct_hashes(_texts(table))
    bits = max(64, len(found) * _BITS_PER_WORD)
    bits += -bits % 8
    flags = np.zeros(bits, dtype=np.bool_)
    step = (found >> np.uint64(32)) | np.uint64(1)
    at = found.copy()
    with np.errstate(over="ignore"):
        for _ in range(_PROBES):
            flags[at % np.uint64(bits)] = True
            at += step
    said = orjson.dumps(names)
    return _HEAD.pack(_MAGIC, table.num_rows, bits, _PROBES, len(said)) + said + np.packbits(flags, bitorder="little").tobytes()


def hashes(words: Iterable[str]) -> list[int]:
    """The hashes of folded words, those too short for the index left out."""
    return [_hash(word.encode()) for word in words if len(word) >= SHORTEST]


def may_contain(index: bytes | Path, words: Iterable[str]) -> bool:
    """Whether a group of rows (its bytes) or any group of a segment (its `.tok` file) may hold all of these folded words.

    Raises DamagedError if it is no token index, OSError if the file cannot be read.
    """
    wanted = hashes(words)
    found = groups(index) if isinstance(index, Path) else [_group(memoryview(index), None)]
    return any(group.may_contain(wanted) for group in found)


def groups(path: Path) -> list[Group]:
    """The groups of rows of a segment's `.tok` file, in order. Raises DamagedError, OSError."""
    return groups_in(path.read_bytes())


def groups_in(data: bytes) -> list[Group]:
    """The groups of rows in the bytes of a `.tok` file. Raises DamagedError."""
    view, at = memoryview(data), 0
    found: list[Group] = []
    while at < len(view):
        size = int.from_bytes(view[at:at + 4], "little")
        if size < _HEAD.size or at + 4 + size > len(view):
            raise DamagedError("a token index is cut short")
        found.append(_group(view[at + 4:at + 4 + size], found[-1] if found else None))
        at += 4 + size
    return found


def _group(view: memoryview, before: Group | None) -> Group:
    if len(view) < _HEAD.size:
        raise DamagedError("a token index is cut short")
    magic, rows, bits, probes, size = _HEAD.unpack_from(view)
    if magic != _MAGIC or bits % 8 or len(view) != _HEAD.size + size + bits // 8:
        raise DamagedError("this is no token index")
    try:
        names = orjson.loads(view[_HEAD.size:_HEAD.size + size])
    except orjson.JSONDecodeError:
        raise DamagedError("this is no token index") from None
    if names is True and before is None:
        raise DamagedError("this token index lacks its beginning")
    known = before.names if names is True and before is not None else None if names is None else frozenset(names)
    return Group(rows, known, bits, probes, view[_HEAD.size + size:])


def _names(table: pa.Table) -> list[str] | None:
    if KV not in table.schema.names:
        return []
    names: set[str] = set()
    for chunk in table.column(KV).chunks:
        names.update(pc.unique(chunk.keys).to_pylist())
    return sorted(names) if len(names) <= _MOST_NAMES else None


def _texts(table: pa.Table) -> pa.ChunkedArray:
    """Every distinct stretch of the free-text fields between marks that stand in no word: far less text than the lines.

    A few rows at a time: while they are split they are in memory several times.
    """
    few = max(1, min(_SLICE, _SLICE_BYTES * table.num_rows // max(1, table.nbytes)))
    found = [_stretches(table.slice(at, few)) for at in range(0, max(1, table.num_rows), few)]
    return pa.chunked_array([pc.unique(pa.chunked_array([chunk for each in found for chunk in each.chunks], pa.string()))])


def _stretches(table: pa.Table) -> pa.ChunkedArray:
    names = set(table.schema.names)
    columns: list[pa.ChunkedArray] = []
    for name in FREE_TEXT:
        for plain, twin in ((name, name + SUFFIX), (name + "[]", name + SUFFIX + "[]")):
            found = [_flat(table.column(n)) for n in (twin, plain) if n in names]
            columns += [pc.coalesce(*found)] if len(found) == 2 and not plain.endswith("[]") else found
    if KV in names:
        entries = [pc.map_lookup(table.column(KV).combine_chunks(), name, "all") for name in (*FREE_TEXT, *(f + SUFFIX for f in FREE_TEXT))]
        columns += [_flat(pa.chunked_array([entry])) for entry in entries]
    for mark in _MARKS:
        split = [pc.list_flatten(pc.split_pattern(chunk, mark)) for column in columns for chunk in column.chunks if len(chunk)]
        columns = [pa.chunked_array([pc.unique(pa.chunked_array(split, pa.string())).drop_null()])] if split else []
    return columns[0] if columns else pa.chunked_array([pa.array([], pa.string())])


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    while pa.types.is_list(column.type):
        column = pc.list_flatten(column)
    return column


def _distinct_hashes(pieces: pa.ChunkedArray) -> np.ndarray:
    plain = pc.string_is_ascii(pieces)
    found = [_hash_words(pc.ascii_lower(pieces.filter(plain)))]
    strange = {word for text in pieces.filter(pc.invert(plain)).to_pylist() for word in _WORD.findall(lower(text))}
    if strange:
        found.append(np.fromiter((_hash(word.encode()) for word in strange), dtype=np.uint64, count=len(strange)))
    return np.unique(np.concatenate(found))


def _hash_words(pieces: pa.ChunkedArray) -> np.ndarray:
    """The distinct hashes of the words in ASCII pieces, over their joined bytes at once."""
    found = [np.empty(0, dtype=np.uint64)]
    for chunk in pc.binary_join_element_wise(pieces, "", "\n").chunks:  # each piece and a newline, one behind the other
        if not len(chunk):
            continue
        ends = np.frombuffer(chunk.buffers()[1], dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        data = np.frombuffer(chunk.buffers()[2], dtype=np.uint8)
        at = 0
        while at < len(chunk):
            upto = max(at + 1, int(np.searchsorted(ends, ends[at] + _BLOCK, "right")) - 1)
            found.append(_hash_block(data[ends[at] : ends[upto]]))
            at = upto
    return np.unique(np.concatenate(found))


def _hash_block(data: np.ndarray) -> np.ndarray:
    """A word's hash is the sum of byte × prime**place: differences of one running sum give every word's at once."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], _IN_WORD[data], [False])).view(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    long_enough = ends - starts >= SHORTEST
    starts, ends = starts[long_enough], ends[long_enough]
    if not len(starts):
        return np.empty(0, dtype=np.uint64)
    with np.errstate(over="ignore"):
        powers, inverses = _powers(len(data))
        sums = np.zeros(len(data) + 1, dtype=np.uint64)
        np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers[: len(data)], out=sums[1:])
        return np.unique(_mixed((sums[ends] - sums[starts]) * inverses[starts]))


def _powers(size: int) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(over="ignore"):
        up = np.full(size, _PRIME, dtype=np.uint64)
        down = np.full(size, _INVERSE, dtype=np.uint64)
        up[0] = down[0] = 1
        return np.multiply.accumulate(up), np.multiply.accumulate(down)


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed


def _hash(word: bytes) -> int:
    value, power = 0, 1
    for byte in word:
        value += (byte + 1) * power
        power = power * _PRIME & _MASK
    value &= _MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)
