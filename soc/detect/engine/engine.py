"""The engine: batches of events in, hits out. One per process; stateless but for what it remembers, which is bounded.

Rules are grouped by the log source they ask for; an event meets the groups that its set of log sources matches.
A group is built when the first such event comes, so that starting and idling cost little.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from soc.detect.compiled import CompiledRule, LogSource
from soc.detect.engine.cells import ABSENT, FIRST_VALUE, Columns, Ids
from soc.detect.engine.group import Group
from soc.detect.match import Atom
from soc.detect.pipelines import Names, Pipelines, pipelines

__all__ = ["MEMORY", "Engine", "Hit"]

MEMORY: Final = 64 * 1024 * 1024
"""Bytes of remembered values, classes and verdicts, roughly; beyond it everything is forgotten between two batches."""
_ROUTES: Final = 10_000
_ROWS: Final = 65_536
_LOG_SOURCES: Final = Names(("soc.log_sources",))


@dataclass(frozen=True, slots=True)
class Hit:
    """Rule × row of the batch, with the tests that made it match (none from below a `not`)."""

    rule_id: str
    row: int
    atoms: tuple[Atom, ...]


class Engine:
    """Matches rules against record batches.

    `ignore_logsource` meets every event with every rule, for trying rules out. Raises ValueError, when a group is
    built, for rules of another compiled format.
    """

    def __init__(self, rules: Iterable[Any], *, mapping: Pipelines | None = None, ignore_logsource: bool = False,
                 memory: int = MEMORY) -> None:
        self._waiting: dict[LogSource, list[CompiledRule]] = {}
        for rule in rules:
            self._waiting.setdefault(rule.logsource, []).append(rule)
        self._mapping = mapping or pipelines()
        self._ignore = ignore_logsource
        self._memory = memory
        self._groups: dict[LogSource, Group] = {}
        self._routes: dict[str, tuple[LogSource, ...]] = {}
        self._order = {rule.rule_id: at for at, rule in enumerate(rule for rules in self._waiting.values() for rule in rules)}

    def match(self, batch: pa.RecordBatch | pa.Table) -> list[Hit]:
        """Every rule × row that matches, by row, then in the order of the rules."""
        hits: list[Hit] = []
        start = 0
        for part in batch.to_batches(max_chunksize=_ROWS) if isinstance(batch, pa.Table) else [batch]:
            for offset in range(0, part.num_rows, _ROWS):
                piece = part.slice(offset, _ROWS)
                hits += self._match(piece, start + offset)
            start += part.num_rows
        hits.sort(key=lambda hit: (hit.row, self._order[hit.rule_id]))
        return hits

    @property
    def remembered(self) -> int:
        """Bytes of remembered values, classes and verdicts, roughly."""
        return sum(group.weight for group in self._groups.values())

    def _match(self, batch: pa.RecordBatch, start: int) -> list[Hit]:
        if self.remembered > self._memory:
            for group in self._groups.values():
                group.forget()
        columns = Columns(batch)
        hits: list[Hit] = []
        for logsource, rows in self._routed(columns):
            for row, verdict in self._group(logsource).match(columns, rows):
                hits += [Hit(rule_id, start + row, atoms) for rule_id, atoms in verdict]
        return hits

    def _routed(self, columns: Columns) -> Iterable[tuple[LogSource, Ids | None]]:
        """Which rows meet which rules."""
        if self._ignore:
            yield from ((logsource, None) for logsource in self._sources())
            return
        cells = columns.cells(_LOG_SOURCES)
        if cells is None:
            return
        seen = np.zeros(cells.size, bool)
        seen[cells.ids] = True
        seen[ABSENT] = False
        present = np.flatnonzero(seen[FIRST_VALUE:]) + FIRST_VALUE
        members: dict[LogSource, list[int]] = {}
        for number, value in zip(present.tolist(), cells.values(present), strict=True):
            for logsource in self._route(value if isinstance(value, str) else " ".join(value)):
                members.setdefault(logsource, []).append(number)
        for logsource, numbers in members.items():
            chosen = np.zeros(cells.size, bool)
            chosen[numbers] = True
            mask = chosen[cells.ids]
            yield logsource, None if mask.all() else np.flatnonzero(mask)

    def _route(self, log_sources: str) -> tuple[LogSource, ...]:
        route = self._routes.get(log_sources)
        if route is None:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            route = tuple(logsource for logsource in self._sources() if logsource.matches(log_sources))
            self._routes[log_sources] = route
        return route

    def _sources(self) -> Sequence[LogSource]:
        return list(self._waiting)

    def _group(self, logsource: LogSource) -> Group:
        group = self._groups.get(logsource)
        if group is None:
            group = self._groups[logsource] = Group(self._waiting[logsource], self._mapping)
            self._waiting[logsource] = []
        return group
