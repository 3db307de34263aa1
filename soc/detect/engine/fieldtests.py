"""All tests that the rules of one log source make of one field: a value's true atoms, in one pass over the value.

Literals stand in one Aho-Corasick automaton; equal values in a dictionary; the few others one by one, those with a
necessary literal only where it occurs. A set of true atoms is a class; values are remembered by class, bounded.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import ahocorasick_rs

from soc.detect.compiled import AtomSpec
from soc.detect.engine.values import fold, glob_parts, test_of

__all__ = ["FieldTests"]

_LONG: Final = 256
"""Longer values are remembered by their digest."""
_ENTRY: Final = 160
"""Bytes a remembered value costs beside its text, roughly."""
_NOTHING: Final[frozenset[int]] = frozenset()

_CONTAINS, _STARTS, _ENDS, _GATE = range(4)
Value = str | tuple[str, ...]


class FieldTests:
    """The atoms (number, spec) of one field. Class 0 is what an event without the field makes true."""

    def __init__(self, atoms: Sequence[tuple[int, AtomSpec]]) -> None:
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
        del self._literals
        self.sets: list[frozenset[int]] = []
        self._classes: dict[frozenset[int], int] = {}
        self._known: dict[Value | bytes, int] = {}
        self.weight = 0
        self._absent, self._null = frozenset(absent), frozenset(null)
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered; class numbers begin anew."""
        self.sets, self._classes, self._known = [], {}, {}
        self.weight = 0
        self._class(self._absent)

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
            known = self._known[key] = self._class(self.true_atoms(value))
            self.weight += _ENTRY + min(size, _LONG)
        return known

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
            self.weight += _ENTRY + 64 * len(atoms)
        return number

    def _add(self, number: int, spec: AtomSpec) -> None:
        if spec.test == "any":
            self._always.append(number)
        elif spec.test == "is":
            table = self._equal_cased if spec.cased else self._equal
            table.setdefault(spec.literal if spec.cased else fold(spec.literal), []).append(number)
        elif spec.test in ("contains", "startswith", "endswith"):
            if spec.cased:
                self._gate(number, spec, spec.literal)
            else:
                kind = {"contains": _CONTAINS, "startswith": _STARTS, "endswith": _ENDS}[spec.test]
                self._literals.setdefault(fold(spec.literal), []).append((kind, number))
        elif spec.test == "like":
            texts = (part for part in glob_parts(spec.literal) if isinstance(part, str))
            self._gate(number, spec, max(texts, key=len, default=""))
        else:
            self._gate(number, spec, "")

    def _gate(self, number: int, spec: AtomSpec, literal: str) -> None:
        """A test by itself; where `literal` is necessary for it, only on values that contain it (case ignored)."""
        if not literal:
            self._single.append((number, test_of(spec)))
            return
        self._literals.setdefault(fold(literal), []).append((_GATE, len(self._gated)))
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
