"""Every atom of the loaded rules, numbered once, and the field tests that kinds of events share."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from soc.detect.compiled import AtomSpec, CompiledRule, LogSource
from soc.detect.engine.fieldtests import FieldTests
from soc.detect.engine.tree import Node, node_of
from soc.detect.match import Atom
from soc.detect.pipelines import Names, Pipelines

__all__ = ["Atoms", "PreparedRule"]

_MAX_ATOMS: Final = 50
"""Reasons that one hit carries."""


@dataclass(frozen=True, slots=True)
class PreparedRule:
    """A rule with its atoms as the engine numbers them; `order` is its place among all rules when it was numbered."""

    rule_id: str
    order: int
    tree: Node
    atoms: frozenset[int]


class Atoms:
    """The numbers of (our fields, test): rules of different log sources may mean different fields by one name."""

    def __init__(self, mapping: Pipelines) -> None:
        self._mapping = mapping
        self._numbers: dict[tuple[Names, AtomSpec, Names | None], int] = {}
        self.specs: list[AtomSpec] = []
        self.names: list[Names] = []
        self._others: dict[int, Names] = {}
        self._tests: dict[tuple[Names, frozenset[int]], FieldTests] = {}

    def prepare(self, rule: CompiledRule, order: int) -> PreparedRule:
        """Number a rule's atoms. Raises ValueError if it is compiled for another format."""
        detection = rule.unpacked()
        own = [self._number(rule.logsource, spec) for spec in detection.atoms]
        return PreparedRule(rule.rule_id, order, node_of(detection.tree, own), frozenset(own))

    def other(self, atom: int) -> Names:
        """The second field of a fieldref."""
        return self._others[atom]

    def names_of(self, logsource: LogSource, field: str) -> Names:
        """Our fields for a rule's field."""
        return self._mapping.names(logsource, field)

    def by_field(self, atoms: Iterable[int]) -> tuple[dict[Names, set[int]], set[int], list[int]]:
        """Atoms by the field they test; those of keywords; those that compare two fields."""
        fields: dict[Names, set[int]] = {}
        keywords: set[int] = set()
        references: list[int] = []
        for atom in sorted(atoms):
            spec = self.specs[atom]
            if not spec.field:
                keywords.add(atom)
            elif spec.test.startswith("fieldref"):
                references.append(atom)
            else:
                fields.setdefault(self.names[atom], set()).add(atom)
        return fields, keywords, references

    def reasons(self, rule: PreparedRule, true: frozenset[int]) -> tuple[Atom, ...]:
        """The tests that made a rule match where these atoms are true."""
        numbers = list(dict.fromkeys(rule.tree.reasons(true)))[:_MAX_ATOMS]
        return tuple(Atom(spec.field, spec.test, spec.literal) for spec in (self.specs[number] for number in numbers))

    def tests(self, names: Names, atoms: Iterable[int]) -> FieldTests:
        """The tests of these atoms of one field: kinds that ask the same share them, and what they remember."""
        key = names, frozenset(atoms)
        found = self._tests.get(key)
        if found is None:
            found = self._tests[key] = FieldTests([(number, self.specs[number]) for number in sorted(key[1])])
        return found

    def every_test(self) -> Iterable[FieldTests]:
        """All field tests in use."""
        return self._tests.values()

    def keep_tests(self, wanted: Iterable[FieldTests]) -> None:
        """Let go of the field tests that are not among these."""
        kept = {id(tests) for tests in wanted}
        self._tests = {key: tests for key, tests in self._tests.items() if id(tests) in kept}

    def _number(self, logsource: LogSource, spec: AtomSpec) -> int:
        names = self._mapping.names(logsource, spec.field) if spec.field else Names(())
        other = self._mapping.names(logsource, spec.literal) if spec.test.startswith("fieldref") else None
        number = self._numbers.setdefault((names, spec, other), len(self.specs))
        if number == len(self.specs):
            self.specs.append(spec)
            self.names.append(names)
            if other is not None:
                self._others[number] = other
        return number
