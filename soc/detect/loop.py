"""The detector: cuts in, alerts out, in the order of arrival. Cursor, ledger and alerts commit as one.

`step` judges at most one cut, live before bulk. It never looks at event time: late events are met exactly once.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from sqlalchemy import Connection

from soc.database import Database
from soc.detect.compiled import CompiledRule
from soc.detect.engine import Hit
from soc.detect.ledger import Gap, Ledger
from soc.detect.match import Match, MatchSink
from soc.errors import StoreError
from soc.event import Event, Lane, Origin, Position, event_id
from soc.store.columns import event_of
from soc.store.cuts import read_ipc
from soc.store.damage import damage
from soc.store.manifest import Manifest
from soc.store.segment import SegmentRow

__all__ = ["Detector", "Matcher", "RuleSource"]


class RuleSource(Protocol):
    """Where the enabled rules come from (`soc.detect.rulestore`)."""

    def version(self) -> str: ...

    def enabled(self) -> Sequence[CompiledRule]: ...


class Matcher(Protocol):
    """The engine, or a test's stand-in for it."""

    def match(self, batch: pa.RecordBatch) -> Sequence[Hit]: ...


@dataclass(slots=True)
class _Loaded:
    version: str
    rules: dict[str, CompiledRule]
    engine: Matcher


class Detector:
    """Judges cuts. One per node for now; it owns its manifest connection."""

    def __init__(self, *, data: Path, manifest: Manifest, database: Database, rules: RuleSource,
                 engine: Callable[[Sequence[CompiledRule]], Matcher], entity: Callable[[CompiledRule, Event], tuple[str, str]],
                 sink: MatchSink, undone: Callable[[Connection, Sequence[str]], set[str]], live_share: int = 4) -> None:
        self._data, self._manifest, self._database, self._rules = data, manifest, database, rules
        self._engine, self._entity, self._sink, self._undone = engine, entity, sink, undone
        self._ledger = Ledger(database)
        self._cursors: dict[Lane, int] = {lane: self._ledger.positions().get(lane, 0) for lane in Lane}
        self._loaded: _Loaded | None = None
        self._isolated: dict[str, str] = {}
        self._live_share, self._turn = live_share, 0
        self.events = self.matches = 0

    def refresh(self) -> str:
        """Load the rules if the enabled set has changed; returns its version."""
        version = self._rules.version()
        if self._loaded is None or self._loaded.version != version:
            rules = list(self._rules.enabled())
            self._loaded = _Loaded(version, {r.rule_id: r for r in rules}, self._engine(rules))
            self._isolated = {}
        return version

    @property
    def rules(self) -> int:
        """How many rules are loaded."""
        return len(self._loaded.rules) if self._loaded else 0

    @property
    def isolated(self) -> Mapping[str, str]:
        """Rules that failed and are left out until the rule set changes, with the error."""
        return self._isolated

    def step(self, now: Callable[[], int]) -> int:
        """Judge at most one cut; returns the positions it covers (0: nothing waits). Raises StoreError."""
        self.refresh()
        order = (Lane.BULK, Lane.LIVE) if self._turn >= self._live_share else (Lane.LIVE, Lane.BULK)
        for lane in order:
            found = self._manifest.next_cut(lane, self._cursors[lane])
            if found is not None:
                self._turn = self._turn + 1 if lane is Lane.LIVE else 0
                return self._judge(lane, *found, now)
            if lane is Lane.BULK:
                self._turn = 0
        return 0

    def _judge(self, lane: Lane, first: int, last: int, now: Callable[[], int]) -> int:
        assert self._loaded is not None
        begin = self._cursors[lane]
        at = now()
        gaps: list[Gap] = []
        if first > begin:
            gaps.append(Gap("*", lane.value, begin, first, "no cut holds these positions", 0, at))
        matches: list[Match] = []
        for segment in self._manifest.cut_segments(lane, first, last):
            try:
                table = read_ipc(self._data / segment.path)
            except (pa.ArrowException, OSError) as fault:
                if segment.id not in {s.id for s in self._manifest.snapshot().segments}:
                    continue  # removed while we looked: an import was undone
                reason = damage(segment, self._data)
                if not reason:
                    raise StoreError(f"{segment.path} could not be read: {fault}") from fault
                self._manifest.quarantine(segment.id, reason, at)
                gaps.append(Gap("*", lane.value, first, last, f"{segment.path} is damaged", 0, at))
                continue
            for batch in table.to_batches():
                matches += self._matches(segment, batch, lane, first, last, gaps, at)
        with self._database.write() as connection:
            undone = self._undone(connection, sorted({m.import_id for m in matches if m.import_id})) if matches else set()
            kept = [m for m in matches if m.import_id not in undone]
            if kept:
                self._sink.deliver(connection, kept, now())
            if gaps:
                self._ledger.note_gaps(connection, gaps)
            self._ledger.advance(connection, self._loaded.version, lane, begin, last, now())
        self._cursors[lane] = last
        self.events += last - first
        self.matches += len(kept)
        return last - begin

    def _matches(self, segment: SegmentRow, batch: pa.RecordBatch, lane: Lane, first: int, last: int, gaps: list[Gap],
                 at: int) -> list[Match]:
        assert self._loaded is not None
        try:
            hits = self._loaded.engine.match(batch)
        except Exception:  # noqa: BLE001  one rule must not stop the others: find it, leave it out, say so
            hits = self._isolate(batch)
        for rule_id, reason in self._isolated.items():
            gaps.append(Gap(rule_id, lane.value, first, last, reason, 1, at))
        events: dict[int, Event] = {}
        return [self._match(segment, batch, hit, lane, events) for hit in hits]

    def _isolate(self, batch: pa.RecordBatch) -> list[Hit]:
        """Match by halves of the rule set until the rules that throw stand alone; they are left out from now on."""
        assert self._loaded is not None
        hits: list[Hit] = []
        waiting = [[r for r in self._loaded.rules.values() if r.rule_id not in self._isolated]]
        while waiting:
            rules = waiting.pop()
            try:
                hits += self._engine(rules).match(batch)
            except Exception as fault:  # noqa: BLE001  see above
                if len(rules) == 1:
                    self._isolated[rules[0].rule_id] = f"{type(fault).__name__}: {fault}"[:300]
                elif rules:
                    waiting += [rules[: len(rules) // 2], rules[len(rules) // 2 :]]
        sound = [r for r in self._loaded.rules.values() if r.rule_id not in self._isolated]
        self._loaded.engine = self._engine(sound)
        return hits

    def _match(self, segment: SegmentRow, batch: pa.RecordBatch, hit: Hit, lane: Lane, events: dict[int, Event]) -> Match:
        assert self._loaded is not None
        rule = self._loaded.rules[hit.rule_id]
        event = events.get(hit.row)
        if event is None:
            event = event_of(batch, hit.row)
            identity = event_id(_number(event, "event.created"), str(event["soc.stream_hash"]), _number(event, "soc.n"), _number(event, "soc.sub"))
            event["event.id"] = identity
            events[hit.row] = event
        entity, kind = self._entity(rule, event)
        return Match(
            rule_id=rule.rule_id, rule_version=rule.version, title=rule.title, level=rule.level, tags=tuple(rule.tags),
            event_id=str(event["event.id"]), event_time=_number(event, "@timestamp"), event=event,
            position=Position(lane, _number(event, "soc.seq")), agency=str(event.get("organization.id", "")),
            origin=Origin(segment.origin), import_id=segment.import_id, entity=entity, entity_kind=kind, atoms=tuple(hit.atoms))


def _number(event: Event, field: str) -> int:
    value = event.get(field, 0)
    return value if isinstance(value, int) else 0
