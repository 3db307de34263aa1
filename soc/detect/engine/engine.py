"""The engine: batches of events in, hits out. One per process; stateless but for what it remembers, which is bounded.

An event's kind is its set of log sources and, for Windows, its event id as far as rules name it. The rules of a kind are
put together when its first event comes, so that starting and idling cost little.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from soc.detect.compiled import CompiledRule
from soc.detect.engine.atoms import Atoms, PreparedRule
from soc.detect.engine.cells import ABSENT, FIRST_VALUE, Columns
from soc.detect.engine.kind import Ids, Kind, Values, Verdict
from soc.detect.engine.values import fold
from soc.detect.match import Atom
from soc.detect.pipelines import Names, Pipelines, pipelines

__all__ = ["MEMORY", "Engine", "Hit"]

MEMORY: Final = 64 * 1024 * 1024
"""Bytes of remembered values, classes and verdicts, roughly; beyond it what was not met lately is forgotten."""
_ROUTES: Final = 10_000
_FOLLOWED: Final = 100
"""Changes of rules after which an engine begins anew: tests that no rule asks any more keep their numbers until then."""
_ROWS: Final = 65_536
_LOG_SOURCES: Final = Names(("soc.log_sources",))
_EVENT_ID: Final = "winlog.event_id"


@dataclass(frozen=True, slots=True)
class Hit:
    """Rule × row of the batch, with the tests that made it match (none from below a `not`)."""

    rule_id: str
    row: int
    atoms: tuple[Atom, ...]


@dataclass(slots=True)
class _Route:
    """The rules of one set of log sources, the event ids they name, and the kinds built so far."""

    rules: list[PreparedRule]
    ids: dict[str, set[int]]
    """Event id -> the atoms that ask for it."""
    asks: frozenset[int]
    """Every atom that asks for an event id."""
    kinds: dict[str | None, Kind | None]


class Engine:
    """Matches rules against record batches (`match`) and whatever else gives values by field (`match_rows`).

    `ignore_logsource` meets every event with every rule, for trying rules out. `previous` is an engine of other rules that
    this one follows: the kinds of events whose rules are the same are taken over with all they remember, so that a change
    costs only what it touches; it must not have failed, and begins anew itself. Raises ValueError, when a kind is built, for
    rules of another compiled format.
    """

    def __init__(self, rules: Iterable[Any], *, mapping: Pipelines | None = None, ignore_logsource: bool = False,
                 memory: int = MEMORY, previous: Engine | None = None) -> None:
        self._rules: list[CompiledRule] = list(rules)
        self._order = {rule.rule_id: at for at, rule in enumerate(self._rules)}
        self._sources = {rule.logsource for rule in self._rules}
        self._prepared: dict[str, PreparedRule] = {}
        self._mapping = mapping or pipelines()
        self._atoms = Atoms(self._mapping)
        self._ignore = ignore_logsource
        self._memory = memory
        self._routes: dict[str, _Route] = {}
        self._followed = 0
        if (previous is not None and previous._ignore == ignore_logsource and previous._followed < _FOLLOWED
                and previous._mapping.same_as(self._mapping)):
            self._follow(previous)

    def match(self, batch: pa.RecordBatch | pa.Table) -> list[Hit]:
        """Every rule × row that matches, by row, then in the order of the rules."""
        self.forget_if_full()
        hits: list[Hit] = []
        start = 0
        for part in batch.to_batches(max_chunksize=_ROWS) if isinstance(batch, pa.Table) else [batch]:
            for offset in range(0, part.num_rows, _ROWS):
                columns = Columns(part.slice(offset, _ROWS))
                for kind, rows in self._routed(columns):
                    hits += self.match_rows(kind, columns, rows, start + offset)
            start += part.num_rows
        hits.sort(key=lambda hit: (hit.row, self._order[hit.rule_id]))
        return hits

    def match_rows(self, kind: Kind, values: Values, rows: Ids | None, start: int = 0) -> Iterator[Hit]:
        """The hits of rows of one kind, in no order. Call `forget_if_full` now and then."""
        for row, verdict in kind.matching.match(values, rows):
            yield from _hits(start + row, verdict)

    @property
    def remembered(self) -> int:
        """Bytes of remembered values, classes and verdicts, roughly."""
        return sum(tests.weight for tests in self._atoms.every_test()) + sum(kind.weight for kind in self._kinds())

    def kind_of(self, log_sources: str, event_id: str | None) -> Kind | None:
        """The rules that events of these log sources meet; None if there are none.

        `event_id` is that of a Windows event that has just one, else None: then no rule is settled by it beforehand.
        """
        route = self._route(log_sources)
        key = None if event_id is None or not route.asks else folded if (folded := fold(event_id)) in route.ids else ""
        if key not in route.kinds:
            true = route.ids.get(key, set()) if key is not None else set()
            known = {atom: atom in true for atom in route.asks} if key is not None else {}
            kind = Kind(route.rules, self._atoms, known) if route.rules else None
            route.kinds[key] = kind if kind is not None and kind.rules else None
        return route.kinds[key]

    @property
    def atoms(self) -> Atoms:
        """The numbered tests of all rules met so far."""
        return self._atoms

    def order_of(self, rule_id: str) -> int:
        """The rule's place among all."""
        return self._order[rule_id]

    def _routed(self, columns: Columns) -> Iterable[tuple[Kind, Ids | None]]:
        """Which rows meet which rules."""
        if self._ignore:
            kind = self.kind_of("", None)
            if kind is not None:
                yield kind, None
            return
        cells = columns.cells(_LOG_SOURCES)
        if cells is None:
            return
        codes = columns.single(_EVENT_ID)
        pairs = cells.ids if codes is None else cells.ids * codes.size + codes.ids
        distinct, inverse = np.unique(pairs, return_inverse=True)
        members: dict[int, tuple[Kind, list[int]]] = {}
        for at, pair in enumerate(distinct.tolist()):
            source, code = divmod(pair, codes.size) if codes is not None else (pair, ABSENT)
            if source < FIRST_VALUE:
                continue
            value = cells.values(np.array([source]))[0]
            event_id = codes.values(np.array([code]))[0] if codes is not None and code >= FIRST_VALUE else None
            kind = self.kind_of(value if isinstance(value, str) else " ".join(value), event_id if isinstance(event_id, str) else None)
            if kind is not None:
                members.setdefault(id(kind), (kind, []))[1].append(at)
        for kind, numbers in members.values():
            if len(numbers) == len(distinct):
                yield kind, None
                continue
            chosen = np.zeros(len(distinct), bool)
            chosen[numbers] = True
            yield kind, np.flatnonzero(chosen[inverse.reshape(-1)])

    def _route(self, log_sources: str) -> _Route:
        route = self._routes.get(log_sources)
        if route is None:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            rules = [self._prepare(rule) for rule in self._meeting(log_sources)]
            asks = frozenset(atom for rule in rules for atom in rule.atoms if self._is_event_id(atom))
            ids: dict[str, set[int]] = {}
            for atom in asks:
                ids.setdefault(fold(self._atoms.specs[atom].literal), set()).add(atom)
            route = self._routes[log_sources] = _Route(rules, ids, asks, {})
        return route

    def _meeting(self, log_sources: str) -> list[CompiledRule]:
        """The rules that events of these log sources meet."""
        meets = {source: self._ignore or source.matches(log_sources) for source in self._sources}
        return [rule for rule in self._rules if meets[rule.logsource]]

    def _follow(self, previous: Engine) -> None:
        """Take over what is the same, and let `previous` begin anew: classes are numbered by one engine alone."""
        before = {rule.rule_id: rule for rule in previous._rules}
        same = {rule.rule_id for rule in self._rules if before.get(rule.rule_id) == rule}
        self._followed = previous._followed + 1
        self._atoms, previous._atoms = previous._atoms, Atoms(previous._mapping)
        self._prepared = {rule_id: one for rule_id, one in previous._prepared.items() if rule_id in same}
        for log_sources, route in previous._routes.items():
            wanted = [rule.rule_id for rule in self._meeting(log_sources)]
            if same.issuperset(wanted) and wanted == [rule.rule_id for rule in route.rules]:
                self._routes[log_sources] = route
        self._atoms.keep_tests(tests for kind in self._kinds() for tests in kind.tests())
        previous._prepared, previous._routes, previous._followed = {}, {}, 0

    def _prepare(self, rule: CompiledRule) -> PreparedRule:
        found = self._prepared.get(rule.rule_id)
        if found is None:
            found = self._prepared[rule.rule_id] = self._atoms.prepare(rule, self._order[rule.rule_id])
        return found

    def _is_event_id(self, atom: int) -> bool:
        """Whether it asks for an event id and nothing else, so that a kind settles it."""
        spec, names = self._atoms.specs[atom], self._atoms.names[atom]
        return spec.test == "is" and not spec.cased and names.fields[:1] == (_EVENT_ID,) and not names.every

    def _kinds(self) -> Iterable[Kind]:
        return (kind for route in self._routes.values() for kind in route.kinds.values() if kind is not None)

    def forget_if_full(self) -> None:
        """If half of the memory is used, drop the values not met since the last time; if most of it are classes and verdicts, all."""
        every = list(self._atoms.every_test())
        classes = sum(tests.class_weight for tests in every) + sum(kind.weight for kind in self._kinds())
        values = sum(tests.value_weight for tests in every)
        if classes + values <= self._memory // 2:
            return
        if classes > values:
            for tests in every:
                tests.forget()
            for kind in self._kinds():
                kind.forget()
            return
        for tests in every:
            tests.age()
        if self.remembered > self._memory // 2:
            for tests in every:
                tests.age()


def _hits(row: int, verdict: Verdict) -> Iterator[Hit]:
    return (Hit(rule_id, row, atoms) for rule_id, atoms in verdict)
