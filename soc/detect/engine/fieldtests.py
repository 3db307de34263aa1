"""All tests that the rules of one kind of event make of one field: a value's true atoms, in one pass over the value.

Equal values, beginnings and ends stand in dictionaries; what may stand anywhere in one Aho-Corasick automaton; the few
others run one by one, those with a necessary literal only where it occurs. A set of true atoms is a class; values are
remembered by class, bounded.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import ahocorasick_rs
from msgspec import UNSET

from soc.detect.compiled import AtomSpec
from soc.detect.engine.needles import needles
from soc.detect.engine.scan import FOLDING_TO_ASCII, LONGEST, Scanner, available, heart
from soc.detect.engine.values import fold, glob_parts, test_of

__all__ = ["FieldTests", "Value"]

_LONG: Final = 4_096
"""Longer values are not remembered: telling them apart costs as much as testing them."""
_SCANNED: Final = 400
"""Characters from which Hyperscan is quicker than Aho-Corasick: by six at 5,000."""
_MOST_SCANNED: Final = 2_000
"""Patterns for which a second automaton is worth its memory."""
_UNWELCOME: Final = 200
"""Mean length of values from which a field is looked at last."""
_ENTRY: Final = 160
"""Bytes a remembered value costs beside its text, roughly."""
_NOTHING: Final[frozenset[int]] = frozenset()
_OF_NUMBERS: Final = frozenset("-0123456789")

_FOUND, _GATE = range(2)
Value = str | tuple[str, ...]


class FieldTests:
    """The atoms (number, spec) of one field. Class 0 is what an event without the field makes true."""

    def __init__(self, atoms: Sequence[tuple[int, AtomSpec]]) -> None:
        self.atoms = frozenset(number for number, _ in atoms)
        self._equal: dict[str, list[int]] = {}
        self._equal_cased: dict[str, list[int]] = {}
        self._ends, self._begins = _Edges(last=True), _Edges(last=False)
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
        self.absent, self.null = frozenset(absent), frozenset(null)
        """What holds where the field is missing, and where it is an explicit null."""
        patterns = list(self._literals)
        self._targets = list(self._literals.values())
        self._automaton = ahocorasick_rs.AhoCorasick(patterns, store_patterns=False) if patterns else None
        self._scans_long = available() and 0 < len(patterns) <= _MOST_SCANNED and all(0 < len(one) <= LONGEST for one in patterns)
        self._patterns = patterns
        self._in_long: Scanner | None = None
        self.may_hold_in_numbers = bool(self._single or self._always) or any(not set(one) - _OF_NUMBERS for one in patterns)
        hearts = [heart(one) for one in patterns]
        others = self._equal or self._equal_cased or self._always or self._single or present or self._ends or self._begins
        self.hearts: list[str] = hearts if hearts and all(hearts) and not others else []
        """Of which a value holds one if any atom is true for it; empty if that cannot be said."""
        self._scanner: Scanner | None = None
        del self._literals
        self.sets: list[frozenset[int]] = []
        self.known: dict[Any, int] = {}
        self._older: dict[Any, int] = {}
        self._classes: dict[frozenset[int], int] = {}
        self.value_weight = self._older_weight = self.class_weight = 0
        self.asked = self.length = 0
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered; class numbers begin anew."""
        self.sets, self._classes, self._older = [], {}, {}
        self.value_weight = self._older_weight = self.class_weight = 0
        self._class(self.absent)
        self.known = self._without_value()

    def age(self) -> None:
        """Drop the values that were not met since the last call; classes stay."""
        self._older, self._older_weight = self.known, self.value_weight
        self.known, self.value_weight = self._without_value(), 0

    def _without_value(self) -> dict[Any, int]:
        """What records read field by field have where there is no value: UNSET where it is absent, None for a null."""
        return {UNSET: 0, None: self._class(self.null)}

    @property
    def weight(self) -> int:
        """Bytes of what is remembered, roughly."""
        return self.value_weight + self._older_weight + self.class_weight

    @property
    def is_long(self) -> bool:
        """Whether the values met so far are so long that they are better not looked at."""
        return self.asked >= 50 and self.length > self.asked * _UNWELCOME

    def scanner(self) -> Scanner:
        """A scanner for `hearts`, made at first use. Raises RuntimeError where there is nothing to scan with."""
        if self._scanner is None:
            self._scanner = Scanner(self.hearts, FOLDING_TO_ASCII)
        return self._scanner

    def _long_scanner(self) -> Scanner:
        """What looks for the patterns in long values, made at first use."""
        if self._in_long is None:
            self._in_long = Scanner((), self._patterns, once=True)
        return self._in_long

    def null_class(self) -> int:
        """The class of an explicit null."""
        return self._class(self.null)

    def class_of(self, value: Value) -> int:
        """The class of a present value, or of the values of a list taken together."""
        size = len(value) if isinstance(value, str) else sum(map(len, value))
        known = self.known.get(value)
        if known is not None:
            return known
        self.asked += 1
        self.length += size
        if size > _LONG:
            return self._class(self.true_atoms(value))
        known = self._older.get(value)
        if known is None:
            known = self._class(self.true_atoms(value))
        self.known[value] = known
        self.value_weight += _ENTRY + size
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
            elif spec.test == "contains":
                self._literals.setdefault(fold(spec.literal), []).append((_FOUND, number))
            else:
                (self._ends if spec.test == "endswith" else self._begins).add(fold(spec.literal), number)
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
        if self._ends:
            self._ends.find(folded, found)
        if self._begins:
            self._begins.find(folded, found)
        if self._automaton is not None:
            if len(folded) > _SCANNED and self._scans_long:
                matches = self._long_scanner().which(folded.encode(errors="surrogatepass"))
            else:
                matches = {pattern for pattern, _, _ in self._automaton.find_matches_as_indexes(folded, overlapping=True)}
            if matches:
                self._anywhere(matches, text, found)
        for number, test in self._single:
            if test(text):
                found.append(number)
        return frozenset(found) if found else _NOTHING

    def _anywhere(self, patterns: set[int], text: str, found: list[int]) -> None:
        tried: set[int] = set()
        targets = self._targets
        for pattern in patterns:
            for kind, number in targets[pattern]:
                if kind == _FOUND:
                    found.append(number)
                elif number not in tried:
                    tried.add(number)
                    atom, test = self._gated[number]
                    if test(text):
                        found.append(atom)


class _Edges:
    """Literals that a text ends (or begins) with: by its last (or first) character, then by the lengths that occur there.

    Ends that are one file name, such as ``\\cmd.exe``, are found by the text's own last name at once.
    """

    __slots__ = ("_last", "_lengths", "_names", "_table")

    def __init__(self, *, last: bool) -> None:
        self._last = last
        self._table: dict[str, list[int]] = {}
        self._lengths: dict[str, tuple[int, ...]] = {}
        self._names: dict[str, list[tuple[str, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._table or self._names)

    def add(self, literal: str, atom: int) -> None:
        """One more literal, folded."""
        if self._last and "\\" in literal:
            self._names.setdefault(literal.rpartition("\\")[2], []).append((literal, atom))
            return
        known = self._table.setdefault(literal, [])
        known.append(atom)
        edge = literal[-1:] if self._last else literal[:1]
        self._lengths[edge] = tuple(sorted({*self._lengths.get(edge, ()), len(literal)}))

    def find(self, text: str, found: list[int]) -> None:
        """Add the atoms of every literal at this edge of `text`."""
        size = len(text)
        if self._names:
            at = text.rfind("\\")
            if at >= 0:
                for literal, atom in self._names.get(text[at + 1 :], ()):
                    if text.endswith(literal):
                        found.append(atom)
        table = self._table
        for length in self._lengths.get(text[-1:] if self._last else text[:1], ()):
            if length > size:
                break
            atoms = table.get(text[size - length :] if self._last else text[:length])
            if atoms:
                found += atoms

