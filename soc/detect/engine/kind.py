"""The rules that events of one kind meet, matched together: values -> classes -> signatures -> verdicts.

A kind is a set of log sources and, for Windows, an event id: what a rule asks of those is settled once, when the kind is
built. Each distinct value of a field is tested once; the classes of a row's values are its signature; a verdict is worked
out once per signature and remembered. Long fields that few rules ask for (a call trace) are left alone unless a verdict
still depends on them.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import numpy as np

from soc.detect.engine.atoms import Atoms, PreparedRule
from soc.detect.engine.fieldtests import FieldTests
from soc.detect.engine.tree import NEVER, Node, witness
from soc.detect.match import Atom
from soc.detect.pipelines import Names

__all__ = ["Ids", "Kind", "Matching", "Values", "Verdict"]

Ids = np.ndarray[Any, np.dtype[np.int64]]
Verdict = tuple[tuple[str, tuple[Atom, ...]], ...]
"""(rule id, the tests that spoke for it) of every rule that matches."""

_FEW_RULES: Final = 64
_VERDICT: Final = 400
"""Bytes of a remembered verdict, roughly."""


class Values(Protocol):
    """Rows as the matcher asks for them: a batch's columns, or JSON lines."""

    height: int

    def classes(self, names: Names, tests: FieldTests, rows: Ids | None) -> Ids | None:
        """The class of each row's value (`rows` None: of all); None if no row has the field."""
        ...

    def keyword_classes(self, tests: FieldTests, rows: Ids | None) -> Iterable[Ids]:
        """The classes of every searched field in turn."""
        ...

    def compared(self, test: str, left: Names, right: Names, rows: Ids | None) -> Ids | None:
        """1 where two fields' values agree as `test` asks, else 0; None if they nowhere do."""
        ...


class Kind:
    """The rules of one kind of event. `known` are the atoms that are settled for every event of it."""

    def __init__(self, rules: Sequence[PreparedRule], atoms: Atoms, known: dict[int, bool]) -> None:
        self._atoms = atoms
        self.known = known
        self.rules: list[PreparedRule] = []
        self.trees: list[Node] = []
        """What is left to ask, rule by rule."""
        for rule in rules:
            tree = rule.tree.assume(known) if not known.keys().isdisjoint(rule.atoms) else rule.tree
            if tree is not NEVER:
                self.rules.append(rule)
                self.trees.append(tree)
        self._matching: Matching | None = None

    @property
    def matching(self) -> Matching:
        """Its rules ready to be matched, made at first use."""
        if self._matching is None:
            settled = frozenset(number for number, truth in self.known.items() if truth)
            self._matching = Matching(self.rules, self.trees, self._atoms, settled)
        return self._matching

    @property
    def weight(self) -> int:
        """Bytes of remembered verdicts, roughly."""
        return self._matching.weight if self._matching is not None else 0

    def forget(self) -> None:
        """Drop the verdicts: class numbers begin anew."""
        if self._matching is not None:
            self._matching.forget()

    def tests(self) -> Iterable[FieldTests]:
        """The tests its rules use so far."""
        if self._matching is not None:
            yield from (tests for _, tests in self._matching.fields)
            if self._matching.keywords is not None:
                yield self._matching.keywords


class Matching:
    """Rules with their common tests, and what is remembered of values and verdicts."""

    def __init__(self, rules: Sequence[PreparedRule], trees: Sequence[Node], atoms: Atoms, settled: frozenset[int]) -> None:
        """`settled` are atoms that hold for every event and that no tree asks any more."""
        self._rules, self._trees, self._atoms, self._settled_atoms = rules, trees, atoms, settled
        self._always: list[int] = []
        self._index: dict[int, list[int]] = {}
        self._askers: dict[int, list[int]] = {}
        for at, tree in enumerate(self._trees):
            found = witness(tree, atoms.specs)
            if found is None:
                self._always.append(at)
            for atom in found[1] if found else ():
                self._index.setdefault(atom, []).append(at)
            for atom in set(tree.every_atom()):
                self._askers.setdefault(atom, []).append(at)
        asked, keywords, self.references = atoms.by_field(self._askers)
        self.fields: list[tuple[Names, FieldTests]] = [(names, atoms.tests(names, found)) for names, found in asked.items()]
        self.keywords = atoms.tests(Names(()), keywords) if keywords else None
        self._few = [at for at, (_, tests) in enumerate(self.fields) if len(self._rules_on(tests.atoms)) <= _FEW_RULES]
        self._late: tuple[int, ...] = ()
        self._unknown: frozenset[int] = frozenset()
        self._open_rules: list[int] = []
        self._verdicts: dict[Any, Verdict] = {}
        self._first: dict[Any, tuple[Verdict, tuple[int, ...]]] = {}

    def asked(self) -> Iterable[Names]:
        """Every field that its rules ask for, keywords apart."""
        yield from (names for names, _ in self.fields)
        for atom in self.references:
            yield from (self._atoms.names[atom], self._atoms.other(atom))

    @property
    def weight(self) -> int:
        """Bytes of remembered verdicts, roughly; values are weighed with their tests."""
        return _VERDICT * (len(self._verdicts) + len(self._first))

    def forget(self) -> None:
        """Drop the verdicts: class numbers begin anew."""
        self._verdicts.clear()
        self._first.clear()

    def match(self, values: Values, rows: Ids | None) -> Iterable[tuple[int, Verdict]]:
        """(row, what it matches) of every row that some rule matches; `rows` None means all."""
        height = values.height if rows is None else len(rows)
        if not height or not self._trees:
            return
        signature = _Signature(height)
        for at, (names, tests) in enumerate(self.fields):
            if at not in self._late:
                signature.add(at, values.classes(names, tests, rows), tests)
        if self.keywords is not None:
            for classes in values.keyword_classes(self.keywords, rows):
                signature.add(-1, classes, self.keywords)
        for at, atom in enumerate(self.references):
            spec = self._atoms.specs[atom]
            signature.add(-2 - at, values.compared(spec.test, self._atoms.names[atom], self._atoms.other(atom), rows), None)
        later: list[tuple[Any, tuple[int, ...], Ids]] = []
        for key, members in signature.distinct():
            verdict, needed = self._first_verdict(key)
            if needed:
                later.append((key, needed, members()))
            elif verdict:
                for member in members().tolist():
                    yield (member if rows is None else int(rows[member])), verdict
        if later:
            yield from self._look_closer(values, rows, later)
        self._reconsider()

    def _first_verdict(self, key: Any) -> tuple[Verdict, tuple[int, ...]]:
        """The verdict of a first signature, and the late fields it still depends on (then the verdict counts for nothing)."""
        known = self._first.get(key)
        if known is None:
            needed: tuple[int, ...] = ()
            if self._late:
                true = self._true(key)
                open_ = [at for at in self._open_rules if self._trees[at].settle(true, self._unknown) is None]
                atoms = {atom for at in open_ for atom in self._trees[at].every_atom()}
                needed = tuple(at for at in self._late if not self.fields[at][1].atoms.isdisjoint(atoms))
            known = self._first[key] = ((), needed) if needed else (self._judge(key), ())
        return known

    def _look_closer(self, values: Values, rows: Ids | None, later: list[tuple[Any, tuple[int, ...], Ids]]) -> Iterable[tuple[int, Verdict]]:
        members = np.concatenate([found for _, _, found in later])
        owner = np.repeat(np.arange(len(later)), [len(found) for _, _, found in later])
        signature = _Signature(len(members))
        signature.add_plain(-1, owner, len(later))
        for at in self._late:
            wanting = np.array([at in needed for _, needed, _ in later])[owner]
            chosen = np.flatnonzero(wanting)
            if not len(chosen):
                continue
            names, tests = self.fields[at]
            places = members[chosen] if rows is None else rows[members[chosen]]
            found = values.classes(names, tests, places)
            if found is not None:
                classes = np.zeros(len(members), np.int64)
                classes[chosen] = found
                signature.add(at, classes, tests)
        for key, chosen_rows in signature.distinct(keep_zero=-1):
            named = dict(key)
            first, needed, _ = later[named[-1]]
            whole = (*first, *((at, named.get(at, 0)) for at in needed))
            verdict = self._verdicts.get(whole)
            if verdict is None:
                verdict = self._verdicts[whole] = self._judge(whole)
            if verdict:
                for member in members[chosen_rows()].tolist():
                    yield (member if rows is None else int(rows[member])), verdict

    def _reconsider(self) -> None:
        """Fields that turn out to be long, and that few rules ask for, are looked at last from now on."""
        late = tuple(at for at in self._few if self.fields[at][1].is_long)
        if late != self._late and len(late) < len(self.fields):
            self._late = late
            self._unknown = frozenset().union(*(self.fields[at][1].atoms for at in late))
            self._open_rules = sorted(self._rules_on(self._unknown))
            self.forget()

    def _rules_on(self, atoms: frozenset[int]) -> set[int]:
        return {rule for atom in atoms for rule in self._askers.get(atom, ())}

    def _true(self, key: Any) -> frozenset[int]:
        """The atoms that hold for a signature; fields it does not name are of class 0, late ones hold nothing."""
        named = dict(key)
        sets = [tests.sets[named.get(at, 0)] for at, (_, tests) in enumerate(self.fields) if at in named or at not in self._late]
        for at, number in key:
            if at == -1 and self.keywords is not None:
                sets.append(self.keywords.sets[number])
            elif at < -1:
                sets.append(frozenset((self.references[-2 - at],)))
        return frozenset().union(*sets)

    def _judge(self, key: Any) -> Verdict:
        """What an event of these classes matches. No verdict depends on a late field that the signature does not name."""
        true = self._true(key)
        asked: dict[int, None] = dict.fromkeys(self._always)
        for atom in true:
            for rule in self._index.get(atom, ()):
                asked[rule] = None
        found = [rule for rule in sorted(asked) if self._trees[rule].holds(true)]
        return tuple((self._rules[rule].rule_id, self._atoms.reasons(self._rules[rule], true | self._settled_atoms)) for rule in found)


class _Signature:
    """The classes of every row, column by column, kept as one number per row."""

    def __init__(self, height: int) -> None:
        self._height = height
        self._constant: list[tuple[int, int]] = []
        self._columns: list[tuple[int, Ids]] = []
        self._sum: Ids | None = None
        self._span = 1

    def add(self, at: int, classes: Ids | None, tests: FieldTests | None) -> None:
        """The classes of one more field (None: all of class 0)."""
        if classes is not None:
            self.add_plain(at, classes, len(tests.sets) if tests else 2)

    def add_plain(self, at: int, classes: Ids, count: int) -> None:
        """The same for numbers below `count`."""
        first = int(classes[0])
        if bool((classes == first).all()):
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

    def distinct(self, keep_zero: int | None = None) -> Iterable[tuple[tuple[tuple[int, int], ...], Callable[[], Ids]]]:
        """(key, a function giving its rows) of every distinct signature; class 0 is left out but for column `keep_zero`."""
        if self._sum is None:
            yield _key(self._constant, keep_zero), partial(np.arange, self._height)
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
            yield _key([*self._constant, *zip(places, row, strict=True)], keep_zero), partial(members, number)


def _key(named: list[tuple[int, int]], keep_zero: int | None) -> tuple[tuple[int, int], ...]:
    return tuple(sorted({(at, number) for at, number in named if number or at == keep_zero}))


