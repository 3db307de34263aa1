"""The rules of one log source, matched together: columns -> classes -> signatures -> verdicts.

Each distinct value of a column is tested once; the classes of a row's values are its signature; a verdict is worked out
once per signature and remembered. Rows are handled by numpy only: Python sees distinct values and distinct signatures.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from soc.detect.compiled import AtomSpec, CompiledRule
from soc.detect.engine.cells import FIRST_VALUE, NULL, Cells, Columns, Ids, searched_by_keywords
from soc.detect.engine.fieldtests import FieldTests
from soc.detect.engine.values import compare_fields
from soc.detect.match import Atom
from soc.detect.pipelines import Names, Pipelines

__all__ = ["Group", "Verdict"]

_MAX_ATOMS: Final = 50
"""Reasons that one hit carries."""
_AND, _OR, _NOT = "&", "|", "!"
Verdict = tuple[tuple[str, tuple[Atom, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Node:
    """A tree node: atoms and subtrees under one sign."""

    sign: str
    atoms: frozenset[int]
    parts: tuple[_Node, ...]

    def holds(self, true: frozenset[int]) -> bool:
        if self.sign == _AND:
            return self.atoms <= true and all(part.holds(true) for part in self.parts)
        if self.sign == _OR:
            return not self.atoms.isdisjoint(true) or any(part.holds(true) for part in self.parts)
        return self.atoms.isdisjoint(true) and not any(part.holds(true) for part in self.parts)

    def reasons(self, true: frozenset[int]) -> Iterable[int]:
        """The true atoms that speak for it (none from below a `not`)."""
        if self.sign != _NOT:
            yield from sorted(self.atoms & true)
            for part in self.parts:
                if part.holds(true):
                    yield from part.reasons(true)


class _Reference:
    """A fieldref atom: the values of two fields compared, each distinct pair once."""

    def __init__(self, number: int, spec: AtomSpec, left: Names, right: Names) -> None:
        self.number, self.test, self.left, self.right = number, spec.test, left, right

    def column(self, columns: Columns, rows: Ids | None) -> Ids | None:
        left, right = columns.cells(self.left), columns.cells(self.right)
        if left is None or right is None:
            return None
        ours, theirs = (left.ids, right.ids) if rows is None else (left.ids[rows], right.ids[rows])
        pairs, inverse = np.unique(ours * right.size + theirs, return_inverse=True)
        truth = np.zeros(len(pairs), np.int64)
        for at, pair in enumerate(pairs.tolist()):
            one, other = divmod(pair, right.size)
            if one >= FIRST_VALUE and other >= FIRST_VALUE:
                truth[at] = any(compare_fields(self.test, a, b) for a in _texts(left, one) for b in _texts(right, other))
        return truth[inverse.reshape(-1)] if truth.any() else None


class Group:
    """Rules that ask for the same log source."""

    def __init__(self, rules: Sequence[CompiledRule], pipelines: Pipelines) -> None:
        self._rules = [rule.rule_id for rule in rules]
        self._specs: list[AtomSpec] = []
        self._trees: list[_Node] = []
        self._always: list[int] = []
        self._index: dict[int, list[int]] = {}
        logsource = rules[0].logsource
        numbers: dict[AtomSpec, int] = {}
        for rule in rules:
            detection = rule.unpacked()
            own = [numbers.setdefault(spec, len(numbers)) for spec in detection.atoms]
            tree = _node(detection.tree, own)
            self._trees.append(tree)
        self._specs = list(numbers)
        for at, tree in enumerate(self._trees):
            witness = _witness(tree, self._specs)
            if witness is None:
                self._always.append(at)
            for atom in witness[1] if witness else ():
                self._index.setdefault(atom, []).append(at)
        by_field: dict[Names, list[tuple[int, AtomSpec]]] = {}
        keywords: list[tuple[int, AtomSpec]] = []
        self._references: list[_Reference] = []
        for number, spec in enumerate(self._specs):
            if not spec.field:
                keywords.append((number, spec))
            elif spec.test.startswith("fieldref"):
                self._references.append(_Reference(
                    number, spec, pipelines.names(logsource, spec.field), pipelines.names(logsource, spec.literal)))
            else:
                by_field.setdefault(pipelines.names(logsource, spec.field), []).append((number, spec))
        self._fields = [(names, FieldTests(atoms)) for names, atoms in by_field.items()]
        self._keywords = FieldTests(keywords, at_once=True) if keywords else None
        self._verdicts: dict[Any, Verdict] = {}

    @property
    def weight(self) -> int:
        """Bytes of what is remembered, roughly."""
        known = sum(tests.weight for _, tests in self._fields) + (self._keywords.weight if self._keywords else 0)
        return known + 400 * len(self._verdicts)

    def forget(self) -> None:
        """Drop the values not met since the last time; if classes and verdicts are the most of it, everything."""
        every = [tests for _, tests in self._fields] + ([self._keywords] if self._keywords else [])
        classes = sum(tests.class_weight for tests in every) + 400 * len(self._verdicts)
        if classes * 2 > self.weight:
            self._verdicts.clear()
            for tests in every:
                tests.forget()
        else:
            for tests in every:
                tests.age()

    def match(self, columns: Columns, rows: Ids | None) -> Iterable[tuple[int, Verdict]]:
        """(row, what it matches) of every row that some rule matches; `rows` None means all."""
        height = columns.height if rows is None else len(rows)
        if not height:
            return
        signature = _Signature(height)
        for at, (names, tests) in enumerate(self._fields):
            cells = columns.cells(names)
            if cells is not None:
                signature.add(at, _classes(cells, rows, tests), len(tests.sets))
        if self._keywords is not None:
            for cells in _searched(columns, self._keywords.may_hold_in_numbers):
                signature.add(-1, _classes(cells, rows, self._keywords), len(self._keywords.sets))
        for at, reference in enumerate(self._references):
            truth = reference.column(columns, rows)
            if truth is not None:
                signature.add(-2 - at, truth, 2)
        for key, members in signature.distinct():
            verdict = self._verdicts.get(key)
            if verdict is None:
                verdict = self._verdicts[key] = self._judge(key)
            if verdict:
                for member in members().tolist():
                    yield (member if rows is None else int(rows[member])), verdict

    def _judge(self, key: tuple[tuple[int, int], ...]) -> Verdict:
        """What an event of these classes matches; fields not named in `key` are of class 0."""
        named = dict(key)
        sets = [tests.sets[named.get(at, 0)] for at, (_, tests) in enumerate(self._fields)]
        for at, number in key:
            if at == -1 and self._keywords is not None:
                sets.append(self._keywords.sets[number])
            elif at < -1:
                sets.append(frozenset((self._references[-2 - at].number,)))
        true: frozenset[int] = frozenset().union(*sets)
        asked: dict[int, None] = dict.fromkeys(self._always)
        for atom in true:
            for rule in self._index.get(atom, ()):
                asked[rule] = None
        return tuple((self._rules[rule], self._reasons(rule, true)) for rule in sorted(asked) if self._trees[rule].holds(true))

    def _reasons(self, rule: int, true: frozenset[int]) -> tuple[Atom, ...]:
        numbers = list(dict.fromkeys(self._trees[rule].reasons(true)))[:_MAX_ATOMS]
        return tuple(Atom(spec.field, spec.test, spec.literal) for spec in (self._specs[number] for number in numbers))


class _Signature:
    """The classes of every row, column by column, kept as one number per row."""

    def __init__(self, height: int) -> None:
        self._height = height
        self._constant: list[tuple[int, int]] = []
        self._columns: list[tuple[int, Ids]] = []
        self._sum: Ids | None = None
        self._span = 1

    def add(self, at: int, classes: Ids, count: int) -> None:
        first = int(classes[0])
        if bool((classes == first).all()):
            if first:
                self._constant.append((at, first))
            return
        self._columns.append((at, classes))
        if self._sum is None:
            self._sum, self._span = classes.astype(np.int64), count
        else:
            if self._span * count >= 2**62:
                distinct, inverse = np.unique(self._sum, return_inverse=True)
                self._sum, self._span = inverse.reshape(-1).astype(np.int64), len(distinct)
            self._sum = self._sum * count + classes
            self._span *= count

    def distinct(self) -> Iterable[tuple[tuple[tuple[int, int], ...], Any]]:
        """(key, a function giving its rows) of every distinct signature."""
        if self._sum is None:
            yield _key(self._constant), lambda: np.arange(self._height)
            return
        _, firsts, inverse = np.unique(self._sum, return_index=True, return_inverse=True)
        inverse = inverse.reshape(-1)
        places = [at for at, _ in self._columns]
        table = np.stack([classes[firsts] for _, classes in self._columns], axis=1).tolist()
        order: list[Ids] = []

        def members(number: int) -> Ids:
            if not order:
                order.append(np.argsort(inverse, kind="stable"))
                order.append(np.concatenate(([0], np.cumsum(np.bincount(inverse)))))
            return order[0][order[1][number] : order[1][number + 1]]

        for number, row in enumerate(table):
            named = [(at, one) for at, one in zip(places, row, strict=True) if one]
            yield _key(self._constant + named), partial(members, number)


def _key(named: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(set(named)))


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
        texts = cells.texts(wanted) if tests.at_once else None
        if texts is not None:
            lut[wanted] = tests.classes_at_once(texts)
        else:
            class_of = tests.class_of
            lut[wanted] = [class_of(value) for value in cells.values(wanted)]
    return lut[ids]


def _searched(columns: Columns, numbers: bool) -> Iterable[Cells]:
    """The cells that keywords are looked for in; whole numbers only where a keyword could stand in one."""
    for field in columns.fields():
        if searched_by_keywords(field) and (numbers or not columns.is_number(field)):
            cells = columns.cells(Names((field,)))
            if cells is not None:
                yield cells
    spilled = columns.spilled()
    if spilled is not None:
        yield spilled


def _texts(cells: Cells, number: int) -> tuple[str, ...]:
    value = cells.values(np.array([number]))[0]
    return (value,) if isinstance(value, str) else value


def _node(tree: Any, own: Sequence[int]) -> _Node:
    if isinstance(tree, int):
        return _Node(_AND, frozenset((own[tree],)), ())
    sign, *parts = tree
    atoms = frozenset(own[part] for part in parts if isinstance(part, int))
    return _Node(sign, atoms, tuple(_node(part, own) for part in parts if not isinstance(part, int)))


def _witness(node: _Node, specs: Sequence[AtomSpec]) -> tuple[float, frozenset[int]] | None:
    """(cost, atoms) of which at least one is true whenever the node holds; None if it can hold without any."""
    if node.sign == _NOT:
        return None
    found = [_witness(part, specs) for part in node.parts]
    if node.sign == _AND:
        able = [one for one in found if one is not None] + [(_cost(specs[atom]), frozenset((atom,))) for atom in node.atoms]
        return min(able, key=lambda one: one[0]) if able else None
    if any(one is None for one in found):
        return None
    cost = sum(one[0] for one in found if one) + sum(_cost(specs[atom]) for atom in node.atoms)
    return cost, node.atoms.union(*(one[1] for one in found if one))


_COMMON: Final = frozenset({"EventID", "Channel", "Provider_Name", "type", "eventSource", "cs-method", "sc-status", "Initiated"})


def _cost(spec: AtomSpec) -> float:
    """How often an atom is likely to be true, as a guess: only speed depends on it."""
    if spec.test in ("is", "contains", "startswith", "endswith"):
        size = max(len(spec.literal), 1)
        return (8.0 if spec.field in _COMMON else 1.0) / size + 0.001
    return {"re": 0.3, "like": 0.1, "cidr": 0.5, "fieldref": 0.5}.get(spec.test, 4.0)
