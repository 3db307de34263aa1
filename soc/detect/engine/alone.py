"""One rule against one event: what is asked of the few events that a sieve lets through.

The same field tests as everywhere, only of one rule's atoms.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from soc.detect.engine.atoms import Atoms, PreparedRule
from soc.detect.engine.cells import searched_by_keywords
from soc.detect.engine.fieldtests import FieldTests, Value
from soc.detect.engine.values import compare_fields, text_of
from soc.detect.match import Atom
from soc.detect.pipelines import Names
from soc.event import Event

__all__ = ["Alone", "EventLookup", "Lookup"]

_KEYWORDS: Final = Names(())
_SHORT: Final = 100
"""Characters of a value that is likely to come again: others are tested anew."""
_MOST_STATES: Final = 100
"""Different outcomes of its tests that a rule remembers."""


class Lookup(Protocol):
    """One event's values by the field of a rule."""

    def value(self, names: Names) -> Value | None:
        """The value, or the values of a list; None if there is none."""
        ...

    def is_null(self, names: Names) -> bool:
        """Of a field without a value: whether it is an explicit null."""
        ...

    def searched(self) -> Iterable[Value]:
        """Every value that keywords are looked for in."""
        ...


class _State:
    """What is known of an event once some fields were looked at: the true atoms, and what follows from those of the next field."""

    __slots__ = ("after", "true", "verdict")

    def __init__(self, true: frozenset[int], verdict: tuple[Atom, ...] | None) -> None:
        self.true, self.verdict = true, verdict
        self.after: dict[frozenset[int], _State | None] = {}
        """By the true atoms of the next field; None where the rule cannot match any more."""


class Alone:
    """A rule with its own field tests, and what came of them: events differ, but what is true of their fields repeats itself."""

    def __init__(self, rule: PreparedRule, atoms: Atoms) -> None:
        self._rule, self._atoms = rule, atoms
        by_field, keywords, self._references = atoms.by_field(rule.atoms)
        cheapest = sorted(by_field.items(), key=lambda item: len(item[1]))
        self._fields: list[tuple[Names, FieldTests, frozenset[int]]] = []
        """Each field with its tests and the atoms that are still open once it is known."""
        open_ = rule.atoms
        for names, found in cheapest:
            open_ -= found
            self._fields.append((names, atoms.tests(names, found), open_))
        self._keywords = atoms.tests(_KEYWORDS, keywords) if keywords else None
        self._states = 0
        self._first = _State(frozenset(), self._verdict(frozenset()) if not self._fields else None)

    def judge(self, event: Lookup) -> tuple[Atom, ...] | None:
        """The tests that speak for a match; None if the rule does not match."""
        state = self._first
        for names, tests, open_ in self._fields:
            value = event.value(names)
            if value is None:
                found = tests.null if event.is_null(names) else tests.absent
            elif value.__class__ is str and len(value) <= _SHORT:
                found = tests.sets[tests.class_of(value)]
            else:
                found = tests.true_atoms(value)
            if found in state.after:
                after = state.after[found]
            else:
                after = self._after(state, found, open_)
            if after is None:
                return None
            state = after
        if self._keywords is None and not self._references:
            return state.verdict
        true = set(state.true)
        if self._keywords is not None:
            for value in event.searched():
                true |= self._keywords.true_atoms(value)
        for atom in self._references:
            ours, theirs = _texts(event.value(self._atoms.names[atom])), _texts(event.value(self._atoms.other(atom)))
            if any(compare_fields(self._atoms.specs[atom].test, one, other) for one in ours for other in theirs):
                true.add(atom)
        return self._verdict(frozenset(true))

    def _after(self, state: _State, found: frozenset[int], open_: frozenset[int]) -> _State | None:
        true = state.true | found
        settled = self._rule.tree.settle(true, open_) if open_ else self._rule.tree.holds(true)
        after = None if settled is False else _State(true, None if open_ else self._verdict(true))
        if self._states < _MOST_STATES:
            self._states += 1
            state.after[found] = after
        return after

    def _verdict(self, true: frozenset[int]) -> tuple[Atom, ...] | None:
        return self._atoms.reasons(self._rule, true) if self._rule.tree.holds(true) else None


class EventLookup:
    """An event as the parsers make it."""

    def __init__(self, event: Event) -> None:
        self._event = event
        named = event.get("soc.null_fields", ())
        self._nulls = {named} if isinstance(named, str) else set(named) if isinstance(named, list) else set()

    def value(self, names: Names) -> Value | None:
        """Of several places the first that has a value, or the values of all (`every`)."""
        found = [_value(self._event[field]) for field in names.fields if field in self._event]
        if not names.every or not found:
            return found[0] if found else None
        return tuple(text for value in found for text in _texts(value))

    def is_null(self, names: Names) -> bool:
        """Whether the parser named the field in soc.null_fields."""
        return not self._nulls.isdisjoint(names.fields)

    def searched(self) -> Iterable[Value]:
        """Every value that the source sent."""
        return (_value(value) for field, value in self._event.items() if searched_by_keywords(field))


def _value(value: object) -> Value:
    if isinstance(value, str):
        return value
    return tuple(map(text_of, value)) if isinstance(value, list) else text_of(value)


def _texts(value: Value | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else value
