"""All tests that the rules of one log source make of one field: a value's true atoms, in one pass over the value.

Literals stand in one Aho-Corasick automaton; equal values in a dictionary; the few others one by one, those with a
necessary literal only where it occurs. A set of true atoms is a class; values are remembered by class, bounded.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from typing import Any, Final

import ahocorasick_rs
import numpy as np
import pyarrow.compute as pc

from soc.detect.compiled import AtomSpec
from soc.detect.engine.needles import needles
from soc.detect.engine.values import fold, glob_parts, test_of

__all__ = ["FieldTests"]

_LONG: Final = 256
"""Longer values are remembered by their digest."""
_ENTRY: Final = 160
"""Bytes a remembered value costs beside its text, roughly."""
_NOTHING: Final[frozenset[int]] = frozenset()

_OF_NUMBERS: Final = frozenset("-0123456789")

_CONTAINS, _STARTS, _ENDS, _GATE = range(4)
Value = str | tuple[str, ...]


class FieldTests:
    """The atoms (number, spec) of one field. Class 0 is what an event without the field makes true."""

    def __init__(self, atoms: Sequence[tuple[int, AtomSpec]], *, at_once: bool = False) -> None:
        self._equal: dict[str, list[int]] = {}
        self._equal_cased: dict[str, list[int]] = {}
        self._always: list[int] = []
        self._single: list[tuple[int, Callable[[str], bool]]] = []
        self._gated: list[tuple[int, Callable[[str], bool]]] = []
        self._literals: dict[str, list[tuple[int, int]]] = {}
        absent: set[int] = set()
        null: set[int] = set()
        present: set[int] = set()
        for number, spec in atoms:
            if spec.test == "null":
                absent.add(number)
                null.add(number)
            elif spec.test == "exists":
                null.add(number)
                present.add(number)
            else:
                self._add(number, spec)
        self._present = frozenset(present)
        patterns = list(self._literals)
        self._targets = list(self._literals.values())
        self._automaton = ahocorasick_rs.AhoCorasick(patterns, store_patterns=False) if patterns else None
        self.may_hold_in_numbers = bool(self._single or self._always) or any(not set(one) - _OF_NUMBERS for one in patterns)
        others = self._equal or self._equal_cased or self._always or self._single or present
        self.at_once = at_once and bool(patterns) and not others
        self._bytes = ahocorasick_rs.BytesAhoCorasick([one.encode() for one in patterns]) if self.at_once else None
        del self._literals
        self.sets: list[frozenset[int]] = []
        self._classes: dict[frozenset[int], int] = {}
        self._known: dict[Value | bytes, int] = {}
        self._older: dict[Value | bytes, int] = {}
        self.value_weight = self._older_weight = self.class_weight = 0
        self._absent, self._null = frozenset(absent), frozenset(null)
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered; class numbers begin anew."""
        self.sets, self._classes, self._known, self._older = [], {}, {}, {}
        self.value_weight = self._older_weight = self.class_weight = 0
        self._class(self._absent)

    def age(self) -> None:
        """Drop the values that were not met since the last call; classes stay."""
        self._older, self._older_weight = self._known, self.value_weight
        self._known, self.value_weight = {}, 0

    @property
    def weight(self) -> int:
        """Bytes of what is remembered, roughly."""
        return self.value_weight + self._older_weight + self.class_weight

    def null_class(self) -> int:
        """The class of an explicit null."""
        return self._class(self._null)

    def class_of(self, value: Value) -> int:
        """The class of a present value, or of the values of a list taken together."""
        if isinstance(value, str):
            size = len(value)
            key: Value | bytes = value if size <= _LONG else _digest(value)
        else:
            size = sum(map(len, value))
            key = value if size <= _LONG else _digest(repr(value))
        known = self._known.get(key)
        if known is None:
            known = self._older.get(key)
            if known is None:
                known = self._class(self.true_atoms(value))
            self._known[key] = known
            self.value_weight += _ENTRY + min(size, _LONG)
        return known

    def classes_at_once(self, texts: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The classes of a whole string array, by one scan over its buffer; nothing is remembered. Only if `at_once`."""
        assert self._bytes is not None
        empty = self._class(_NOTHING)
        found = np.full(len(texts), empty, np.int64)
        offsets = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4).astype(np.int64)
        plain = np.asarray(pc.equal(pc.binary_length(texts), pc.utf8_length(texts)))
        for at in np.flatnonzero(~plain).tolist():
            found[at] = self._class(self._test(texts[at].as_py()))
        lowered = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]].copy()
        lowered[(lowered >= 65) & (lowered <= 90)] += 32
        matches = self._bytes.find_matches_as_indexes(lowered.tobytes(), overlapping=True)
        if not matches:
            return found
        pattern, start, end = np.array(matches, np.int64).T
        value = np.searchsorted(offsets, start + offsets[0], "right") - 1
        inside = (end + offsets[0] <= offsets[value + 1]) & plain[value]
        atoms: dict[int, set[int]] = {}
        for at, number, at_start, at_end in zip(value[inside].tolist(), pattern[inside].tolist(),
                                                (start[inside] + offsets[0] == offsets[value[inside]]).tolist(),
                                                (end[inside] + offsets[0] == offsets[value[inside] + 1]).tolist(), strict=True):
            true = atoms.setdefault(at, set())
            for kind, atom in self._targets[number]:
                if kind == _GATE:
                    atom, test = self._gated[atom]
                    if atom not in true and test(texts[at].as_py()):
                        true.add(atom)
                elif kind == _CONTAINS or (kind == _STARTS and at_start) or (kind == _ENDS and at_end):
                    true.add(atom)
        for at, true in atoms.items():
            found[at] = self._class(frozenset(true))
        return found

    def true_atoms(self, value: Value) -> frozenset[int]:
        """The numbers of the atoms that hold for a present value."""
        if isinstance(value, str):
            return self._test(value) | self._present if self._present else self._test(value)
        return self._present.union(*map(self._test, value))

    def _class(self, atoms: frozenset[int]) -> int:
        number = self._classes.get(atoms)
        if number is None:
            number = self._classes[atoms] = len(self.sets)
            self.sets.append(atoms)
            self.class_weight += _ENTRY + 64 * len(atoms)
        return number

    def _add(self, number: int, spec: AtomSpec) -> None:
        if spec.test == "any":
            self._always.append(number)
        elif spec.test == "is":
            table = self._equal_cased if spec.cased else self._equal
            table.setdefault(spec.literal if spec.cased else fold(spec.literal), []).append(number)
        elif spec.test in ("contains", "startswith", "endswith"):
            if spec.cased:
                self._gate(number, spec, (spec.literal,))
            else:
                kind = {"contains": _CONTAINS, "startswith": _STARTS, "endswith": _ENDS}[spec.test]
                self._literals.setdefault(fold(spec.literal), []).append((kind, number))
        elif spec.test == "like":
            texts = (part for part in glob_parts(spec.literal) if isinstance(part, str))
            longest = max(texts, key=len, default="")
            self._gate(number, spec, (longest,) if longest else ())
        else:
            self._gate(number, spec, needles(spec.literal) if spec.test == "re" else ())

    def _gate(self, number: int, spec: AtomSpec, literals: Collection[str]) -> None:
        """A test by itself; where one of `literals` is necessary for it, only on values that contain one (case ignored)."""
        if not literals:
            self._single.append((number, test_of(spec)))
            return
        for literal in sorted({fold(one) for one in literals}):
            self._literals.setdefault(literal, []).append((_GATE, len(self._gated)))
        self._gated.append((number, test_of(spec)))

    def _test(self, text: str) -> frozenset[int]:
        folded = fold(text)
        found: list[int] = list(self._always)
        if self._equal:
            found += self._equal.get(folded, ())
        if self._equal_cased:
            found += self._equal_cased.get(text, ())
        if self._automaton is not None:
            end_of_text = len(folded)
            tried: set[int] = set()
            targets = self._targets
            for pattern, start, end in self._automaton.find_matches_as_indexes(folded, overlapping=True):
                for kind, number in targets[pattern]:
                    if kind == _CONTAINS:
                        found.append(number)
                    elif kind == _STARTS:
                        if start == 0:
                            found.append(number)
                    elif kind == _ENDS:
                        if end == end_of_text:
                            found.append(number)
                    elif number not in tried:
                        tried.add(number)
                        atom, test = self._gated[number]
                        if test(text):
                            found.append(atom)
        for number, test in self._single:
            if test(text):
                found.append(number)
        return frozenset(found) if found else _NOTHING


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
