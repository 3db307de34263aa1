"""Rules against files of events: the hits of `soc rules match`, by the real parsers and the real engine.

Hits come as they are found and are not kept: memory is that of one frame, however large the input.
"""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from soc.commands.eventfile import STDIN, Block, EventFile
from soc.detect.assembly import RuleSet
from soc.detect.compiled import CompiledRule
from soc.detect.correlation.memory import MemoryCorrelations
from soc.detect.engine import Engine, Hit
from soc.detect.engine.flat import FlatFrame, FlatMatcher
from soc.detect.engine.lines import Places
from soc.detect.engine.scan import available
from soc.detect.match import Atom, Match
from soc.detect.pipelines import Pipelines
from soc.errors import InputRefused
from soc.event import Event, FrameContext, Lane, Origin, Position
from soc.normalise.parser import ParsedEvent
from soc.normalise.records import Parsers
from soc.store.columns import batch_of
from soc.store.fold import SUFFIX, add_folded

__all__ = ["FRAME", "LONG_FRAME", "FileHit", "Matcher", "Totals", "as_match", "last_hits", "match_file"]

FRAME: Final = 8_192
"""Records that are parsed and matched at once."""
LONG_FRAME: Final = 65_536
"""Records that are sieved before their hits are told: each kind of event among them costs about 0.2 ms."""
_MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class FileHit:
    """Rule × event of a file: the event's line from 1 (its place, in a file that has no lines), and what spoke for it.

    Of a correlation, the line of the event that completed it, and (`related`, a capped sample) of others in its window.
    """

    rule: CompiledRule
    file: str
    line: int
    atoms: tuple[Atom, ...]
    related: tuple[int, ...] = ()

    def fields(self) -> list[str]:
        """The fields that matched, each once; text found anywhere is "(keyword)"."""
        return list(dict.fromkeys(atom.field or "(keyword)" for atom in self.atoms))

    def row(self) -> dict[str, Any]:
        """As JSON says it."""
        return {
            "rule_id": self.rule.rule_id, "title": self.rule.title, "level": self.rule.level, "file": self.file, "line": self.line,
            "fields": self.fields(), **({"related": list(self.related)} if self.related else {}),
            "atoms": [{"field": atom.field, "test": atom.test, "literal": atom.literal} for atom in self.atoms]}


class Frame:
    """Records of one file that are matched at once: `flat` those that go straight to the matcher, `records` otherwise."""

    def __init__(self, context: FrameContext, flat: FlatFrame | None = None) -> None:
        self.context, self.flat = context, flat
        self.records: list[bytes] = []
        self.count = 0
        self._firsts: list[int] = []
        self._numbers: list[tuple[int, Places]] = []
        self._size = 0

    def add(self, block: Block) -> None:
        """A few more."""
        self._firsts.append(self.count)
        self._numbers.append((block.before, block.records.numbers))
        self.count += len(block.records)
        if self.flat is not None:
            self.flat.add(block.records)
        else:
            self.records += map(bytes, block.records)
            self._size += len(block.records.text)

    @property
    def is_full(self) -> bool:
        """Whether it is time to match them."""
        if self.flat is not None:
            return self.count >= LONG_FRAME or self.flat.left >= FRAME
        return self.count >= FRAME or self._size >= _MOST_BYTES

    def number(self, place: int) -> int:
        """The number of a record in its file, from 1."""
        at = bisect_right(self._firsts, place) - 1
        before, numbers = self._numbers[at]
        return before + int(numbers[place - self._firsts[at]])


@dataclass(slots=True)
class Totals:
    """What a run has come to so far, over all its files."""

    hits: int = 0
    events: int = 0
    dead: int = 0
    """Records that no parser takes, or that the file holds damaged."""
    faults: list[str] = field(default_factory=list)
    """The first few damages, in words."""


class Matcher:
    """What the files of one run share: the rules in an engine that stays warm, the parsers, the totals."""

    def __init__(self, rules: RuleSet, now: int, *, ignore_logsource: bool = False, format: str = "auto",
                 timezone: str = "Asia/Ho_Chi_Minh", mapping: Pipelines | None = None) -> None:
        """`now` in µs; `format` names the parser, "auto" lets each record choose; `timezone` of times without one."""
        self.engine = Engine(rules.rules, ignore_logsource=ignore_logsource, mapping=mapping)
        self.rules = {rule.rule_id: rule for rule in (*rules.rules, *(one.rule for one in rules.correlations))}
        self.silent = rules.silent
        self.correlations = MemoryCorrelations(rules) if rules.correlations else None
        self.stream = all(one.spec.grows for one in rules.correlations)
        self.parsers = Parsers()
        self.folded = mapping is not None or any(SUFFIX.encode() in rule.detection for rule in rules.rules)
        """Whether any rule may ask a folded copy: else none is made."""
        self.now, self.format, self.timezone = now, format, timezone
        self.totals = Totals()
        self._flat = FlatMatcher(self.engine) if available() and not (ignore_logsource or self.folded or self.correlations) else None

    def frame(self, file: EventFile) -> Frame:
        """An empty frame for records of a file."""
        context = FrameContext(
            source="match", stream="match", first=0, count=0, read_at=self.now, ingested=self.now, format=self.format,
            timezone=self.timezone, path="" if file.path == STDIN else file.path, file_time=file.file_time)
        if self._flat is None or self.parsers.first(context) != "windows":
            return Frame(context)
        return Frame(context, self._flat.frame(lambda lines: self._events(context, lines)))

    def hits(self, frame: Frame) -> list[Hit]:
        """The hits in a frame (`row` is a record's place), by record, then in the order of the rules."""
        found: list[Hit] = []
        records, places = frame.records, list(range(frame.count))
        if frame.flat is not None:
            flat = frame.flat.finish()
            found, places = flat.hits, sorted(flat.left)
            records = list(map(flat.left.__getitem__, places))
            self.totals.dead += flat.dead
            self.totals.events += frame.count - len(places) - flat.dead
        if records:
            events = self.parsed(frame.context, records)
            if events:
                hits = self.engine.match(batch_of([one.event for one in events]))
                found += [Hit(hit.rule_id, places[events[hit.row].index], hit.atoms) for hit in hits]
        found.sort(key=lambda hit: (hit.row, self.engine.order_of(hit.rule_id)))
        return found

    def parsed(self, context: FrameContext, records: Sequence[bytes]) -> Sequence[ParsedEvent]:
        """The events of records, counted."""
        found = self.parsers.parse_frame(context, records)
        self.totals.events += len(found.events)
        self.totals.dead += len(found.dead)
        if self.folded:
            for one in found.events:
                add_folded(one.event)
        return found.events

    def _events(self, context: FrameContext, records: list[bytes]) -> list[Event | None]:
        """The event of each record, None where no parser takes it."""
        events: list[Event | None] = [None] * len(records)
        for one in self.parsers.parse_frame(context, records).events:
            events[one.index] = one.event
        return events


def match_file(matcher: Matcher, file: EventFile) -> Iterator[list[FileHit]]:
    """The hits of an open file by line, a list for every frame read (empty ones too: they show the way is going on).

    `matcher.totals` grows along. Raises InputRefused where the file cannot be read, or read on.
    """
    totals = matcher.totals
    frame = matcher.frame(file)
    try:
        for block in file.blocks():
            frame.add(block)
            if frame.is_full or block.is_last:
                yield _matched(matcher, file, frame)
                frame = matcher.frame(file)
    except InputRefused:
        yield _matched(matcher, file, frame)  # what came before the damage
        raise
    yield _matched(matcher, file, frame)
    totals.dead += file.tally.bad
    totals.faults += [f"{file.path}: {fault}" for fault in file.tally.faults]


def _matched(matcher: Matcher, file: EventFile, frame: Frame) -> list[FileHit]:
    if matcher.correlations is None:
        hits = [FileHit(matcher.rules[hit.rule_id], file.path, frame.number(hit.row), hit.atoms)
                for hit in matcher.hits(frame) if hit.rule_id not in matcher.silent]
    else:
        hits = _correlated(matcher, file, frame, matcher.parsed(frame.context, frame.records))
    matcher.totals.hits += len(hits)
    return hits


def last_hits(matcher: Matcher) -> list[FileHit]:
    """The hits of correlations that later events could still have undone, once all files are read."""
    if matcher.correlations is None or matcher.stream:
        return []
    found = [_of_correlation(matcher, match) for match in matcher.correlations.matches.values()]
    matcher.totals.hits += len(found)
    return sorted(found, key=lambda hit: (hit.file, hit.line, hit.rule.rule_id))


def as_match(rule: CompiledRule, event: Event, line: int, place: str, atoms: Sequence[Atom], now: int) -> Match:
    """A hit as correlations take it: `place` becomes the event's id; an event without a time happened `now` (µs UTC)."""
    event = event | {"event.id": place}
    time = event.get("@timestamp")
    return Match(
        rule_id=rule.rule_id, rule_version=rule.version, title=rule.title, level=rule.level, tags=rule.tags, event_id=place,
        event_time=time if isinstance(time, int) else now, event=event, position=Position(Lane.BULK, line), agency="",
        origin=Origin.IMPORT, import_id="", entity="", entity_kind="host", atoms=tuple(atoms))


def _correlated(matcher: Matcher, file: EventFile, frame: Frame, events: Sequence[ParsedEvent]) -> list[FileHit]:
    """The hits of events, and of the correlations that they complete."""
    assert matcher.correlations is not None
    found = matcher.engine.match(batch_of([one.event for one in events])) if events else []
    hits = [FileHit(matcher.rules[hit.rule_id], file.path, frame.number(events[hit.row].index), hit.atoms)
            for hit in found if hit.rule_id not in matcher.silent]
    made = matcher.correlations.observe([_base(matcher, file, frame, events, hit) for hit in found], matcher.now)
    return hits + [_of_correlation(matcher, match) for match in made if matcher.stream]


def _base(matcher: Matcher, file: EventFile, frame: Frame, events: Sequence[ParsedEvent], hit: Hit) -> Match:
    """A hit as correlations take it; its event's id is the place in the file."""
    parsed = events[hit.row]
    line = frame.number(parsed.index)
    return as_match(matcher.rules[hit.rule_id], parsed.event, line, f"{line}.{parsed.sub} {file.path}", hit.atoms, matcher.now)


def _of_correlation(matcher: Matcher, match: Match) -> FileHit:
    lines = [_place(event) for event in match.related]
    line, name = _place(match.event)
    return FileHit(matcher.rules[match.rule_id], name, line, match.atoms, tuple(at for at, of in lines if of == name))


def _place(event: Event) -> tuple[int, str]:
    where, _, name = str(event["event.id"]).partition(" ")
    return int(where.partition(".")[0]), name
