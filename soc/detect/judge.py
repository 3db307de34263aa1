"""Rules look at a stretch of positions: files are read, the engine is asked, hits become matches and are handed over.

What the detector does with new cuts and the filler with gaps is the same look; only what follows from it differs.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa
from sqlalchemy import Connection

from soc.detect.compiled import CompiledRule
from soc.detect.engine import Hit
from soc.detect.match import Match, MatchSink
from soc.detect.probe import unfinished
from soc.detect.ranges import Range, minus
from soc.detect.watch import LIVE, Watch
from soc.errors import StoreError
from soc.event import Event, Lane, Origin, Position, event_id
from soc.store.columns import event_of
from soc.store.damage import damage
from soc.store.manifest import Manifest
from soc.store.segment import SegmentRow
from soc.store.stretch import read_stretch

__all__ = ["EngineMaker", "Judge", "Jury", "Matcher", "Seen", "chunks"]

_BAD_ROWS: Final = 64
"""Beyond this many events that a rule fails at, the rule is broken rather than the events strange."""
_TRIES: Final = 3


class Matcher(Protocol):
    """The engine, or a test's stand-in for it."""

    def match(self, batch: pa.RecordBatch) -> Sequence[Hit]: ...


class EngineMaker(Protocol):
    """Makes an engine of rules; `previous` is the one it follows, whose work on unchanged rules it may take over."""

    def __call__(self, rules: Sequence[CompiledRule], previous: Matcher | None = None) -> Matcher: ...


@dataclass(slots=True)
class Jury:
    """The rules that look together (by id), with their engine. `version` is that of the rule set they come from."""

    version: str
    rules: dict[str, CompiledRule]
    engine: Matcher
    whole: bool = False

    @property
    def named(self) -> tuple[str, ...] | None:
        """Their ids; None for the whole rule set."""
        return None if self.whole else tuple(self.rules)


@dataclass(slots=True)
class Seen:
    """What came of a look: matches, the rules that failed with their error, damaged files, and events that were too much.

    `damaged` names each file with the positions it held; `absent` are positions that no file holds, damaged or whole; `strange`
    holds, per rule, sequences at which it failed while it judged the others. `files`: how many were read.
    """

    matches: list[Match] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    damaged: list[tuple[str, int, int]] = field(default_factory=list)
    absent: list[Range] = field(default_factory=list)
    strange: dict[str, list[int]] = field(default_factory=dict)
    files: int = 0

    def add(self, other: Seen) -> None:
        """Take in what another look at the same positions found."""
        self.matches += other.matches
        self.failed |= other.failed
        self.damaged += [one for one in other.damaged if one not in self.damaged]
        self.absent = other.absent
        self.strange |= other.strange
        self.files = max(self.files, other.files)


@dataclass(frozen=True, slots=True)
class _Place:
    """What a look is, at which positions, and how many seconds each batch may take."""

    kind: str
    lane: Lane
    first: int
    last: int
    limit: float


class Judge:
    """Looks, and delivers. `limit` is how many seconds one batch may take before the watch calls it a hang."""

    def __init__(self, *, data: Path, manifest: Manifest, engine: EngineMaker, entity: Callable[[CompiledRule, Event], tuple[str, str]],
                 sink: MatchSink, undone: Callable[[Connection, Sequence[str]], set[str]], watch: Watch | None, limit: float) -> None:
        self._data, self.manifest, self.engine = data, manifest, engine
        self._entity, self._sink, self._undone, self._watch, self._limit = entity, sink, undone, watch, limit

    def look(self, jury: Jury, lane: Lane, first: int, last: int, now: int, *, kind: str = LIVE, limit: float = 0.0) -> Seen:
        """Let `jury` see [first, last). A rule that throws is left out of the jury from there on (and its hits before kept).

        With another `kind` than live, matches are late, and a rule that throws is tried event by event. A damaged file is
        quarantined and named. Raises StoreError if the files cannot be read now.
        """
        for _ in range(_TRIES):  # a file may be compacted or undone under our hands: then look at what stands now
            seen = Seen()
            if self._looked(seen, jury, lane, first, last, now, kind, limit or self._limit):
                seen.damaged = self.manifest.quarantined_within(lane, first, last)
                held = [(s.first, s.last) for s in self.manifest.covering(lane, first, last)]
                seen.absent = minus([(first, last)], [*held, *((low, high) for _, low, high in seen.damaged)])
                return seen
        raise StoreError(f"the files of {lane}/{first}-{last} change faster than they can be read")

    def _looked(self, seen: Seen, jury: Jury, lane: Lane, first: int, last: int, now: int, kind: str, limit: float) -> bool:
        for segment in self.manifest.covering(lane, first, last):
            try:
                for batch in read_stretch(self._data, segment, first, last):
                    hits = self._hits(seen, jury, batch, _Place(kind, lane, first, last, limit))
                    events: dict[int, Event] = {}
                    seen.matches += [self._match(jury.rules, segment, batch, hit, lane, events, now if kind != LIVE else 0) for hit in hits]
            except (pa.ArrowException, OSError) as fault:
                if segment.id not in {s.id for s in self.manifest.snapshot().segments}:
                    return False
                reason = damage(segment, self._data)
                if not reason:
                    raise StoreError(f"{segment.path} could not be read: {fault}") from fault
                self.manifest.quarantine(segment.id, reason, now)
            seen.files += 1
        for rule_id in seen.failed:
            jury.rules.pop(rule_id, None)
        return True

    def unfinished(self, groups: Sequence[Sequence[CompiledRule]], lane: Lane, first: int, last: int, limit: float) -> list[int]:
        """Which of these groups of rules do not get through [first, last) within `limit` seconds each, or crash: tried in a copy of this process."""
        try:
            batches = [batch for segment in self.manifest.covering(lane, first, last) for batch in read_stretch(self._data, segment, first, last)]
        except (pa.ArrowException, OSError):  # whoever looks next meets it, and says so
            return []

        def attempt(number: int) -> None:
            engine = self.engine(groups[number])
            for batch in batches:
                engine.match(batch)

        return unfinished(len(groups), attempt, limit)

    def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> list[Match]:
        """Hand matches over, but for those of imports undone meanwhile; returns what was handed over."""
        undone = self._undone(connection, sorted({m.import_id for m in matches if m.import_id})) if matches else set()
        kept = [m for m in matches if m.import_id not in undone]
        if kept:
            self._sink.deliver(connection, kept, now)
        return kept

    # ---- asking the engine

    def _ask(self, engine: Matcher, batch: pa.RecordBatch, place: _Place, named: tuple[str, ...] | None) -> list[Hit]:
        if self._watch is None:
            return list(engine.match(batch))
        with self._watch.evaluating(place.kind, place.lane.value, place.first, place.last, named, place.limit):
            return list(engine.match(batch))

    def _hits(self, seen: Seen, jury: Jury, batch: pa.RecordBatch, place: _Place) -> list[Hit]:
        try:
            return self._ask(jury.engine, batch, place, jury.named)
        except Exception:  # noqa: BLE001  one rule must not stop the others: find it, leave it out, say so
            hits, failed = self._apart([r for r in jury.rules.values() if r.rule_id not in seen.failed], batch, place)
        for rule_id, error in list(failed.items()) if place.kind != LIVE else ():
            found, strange = self._by_rows(jury.rules[rule_id], batch, place)
            if strange is not None:
                hits += found
                seen.strange.setdefault(rule_id, []).extend(strange)
                del failed[rule_id]
            if len(seen.strange.get(rule_id, ())) > _BAD_ROWS:
                failed[rule_id] = error
        seen.failed |= failed
        jury.engine = self.engine([r for r in jury.rules.values() if r.rule_id not in seen.failed])  # anew: the other was left half way
        return hits

    def _apart(self, rules: list[CompiledRule], batch: pa.RecordBatch, place: _Place) -> tuple[list[Hit], dict[str, str]]:
        """Match by halves of the rules until those that throw stand alone: (hits of the others, rule -> error)."""
        hits: list[Hit] = []
        failed: dict[str, str] = {}
        waiting = [rules] if rules else []
        while waiting:
            some = waiting.pop()
            try:
                hits += self._ask(self.engine(some), batch, place, tuple(rule.rule_id for rule in some))
            except Exception as fault:  # noqa: BLE001  see above
                if len(some) == 1:
                    failed[some[0].rule_id] = f"{type(fault).__name__}: {fault}"[:300]
                else:
                    waiting += [some[: len(some) // 2], some[len(some) // 2 :]]
        return hits, failed

    def _by_rows(self, rule: CompiledRule, batch: pa.RecordBatch, place: _Place) -> tuple[list[Hit], list[int] | None]:
        """Match one rule by halves of the events: its hits, and the sequences of events it fails at (None: too many)."""
        hits: list[Hit] = []
        strange: list[int] = []
        engine, waiting = self.engine([rule]), [(0, batch.num_rows)]
        while waiting:
            start, end = waiting.pop()
            try:
                found = self._ask(engine, batch.slice(start, end - start), place, (rule.rule_id,))
            except Exception:  # noqa: BLE001  see above
                engine = self.engine([rule])  # it may have been left half way
                if end - start > 1:
                    waiting += [(start, (start + end) // 2), ((start + end) // 2, end)]
                    continue
                strange.append(int(batch.column("soc.seq")[start].as_py()))
                if len(strange) > _BAD_ROWS:
                    return [], None
            else:
                hits += [Hit(hit.rule_id, start + hit.row, tuple(hit.atoms)) for hit in found]
        return hits, strange

    def _match(self, rules: Mapping[str, CompiledRule], segment: SegmentRow, batch: pa.RecordBatch, hit: Hit, lane: Lane,
               events: dict[int, Event], late_at: int) -> Match:
        rule = rules[hit.rule_id]
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
            origin=Origin(segment.origin), import_id=segment.import_id, entity=entity, entity_kind=kind, atoms=tuple(hit.atoms),
            late=max(1, late_at - _number(event, "event.ingested")) if late_at else 0)


def chunks(rules: Sequence[CompiledRule], size: int) -> Iterator[list[CompiledRule]]:
    """Rules in small groups, those of one log source together."""
    ordered = sorted(rules, key=lambda r: (str(getattr(r, "logsource", "")), r.rule_id))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _number(event: Event, name: str) -> int:
    value = event.get(name, 0)
    return value if isinstance(value, int) else 0
