"""Rules against files of events: the hits of `soc rules match`, by the real parsers and the real engine.

Hits come as they are found and are not kept: memory is that of one frame, however large the input.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from soc.commands.eventfile import STDIN, EventFile
from soc.detect.compiled import CompiledRule
from soc.detect.engine import Engine, Hit
from soc.detect.engine.flat import FlatMatcher
from soc.detect.match import Atom
from soc.detect.pipelines import Pipelines
from soc.event import Event, FrameContext
from soc.normalise.records import Parsers
from soc.store.columns import batch_of
from soc.store.fold import SUFFIX, add_folded

__all__ = ["FRAME", "FileHit", "Matcher", "Totals", "match_file"]

FRAME: Final = 16_384
"""Records that are matched at once: each kind of event among them costs about 0.1 ms."""


@dataclass(frozen=True, slots=True)
class FileHit:
    """Rule × event of a file: the event's line from 1 (its place, in a file that has no lines), and what spoke for it."""

    rule: CompiledRule
    file: str
    line: int
    atoms: tuple[Atom, ...]

    def fields(self) -> list[str]:
        """The fields that matched, each once; text found anywhere is "(keyword)"."""
        return list(dict.fromkeys(atom.field or "(keyword)" for atom in self.atoms))

    def row(self) -> dict[str, Any]:
        """As JSON says it."""
        return {
            "rule_id": self.rule.rule_id, "title": self.rule.title, "level": self.rule.level, "file": self.file, "line": self.line,
            "fields": self.fields(),
            "atoms": [{"field": atom.field, "test": atom.test, "literal": atom.literal} for atom in self.atoms]}


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

    def __init__(self, rules: Sequence[CompiledRule], now: int, *, ignore_logsource: bool = False, format: str = "auto",
                 timezone: str = "Asia/Ho_Chi_Minh", mapping: Pipelines | None = None) -> None:
        """`now` in µs; `format` names the parser, "auto" lets each record choose; `timezone` of times without one."""
        self.engine = Engine(rules, ignore_logsource=ignore_logsource, mapping=mapping)
        self.rules = {rule.rule_id: rule for rule in rules}
        self.parsers = Parsers()
        self.folded = mapping is not None or any(SUFFIX.encode() in rule.detection for rule in rules)
        """Whether any rule may ask a folded copy: else none is made."""
        self.now, self.format, self.timezone = now, format, timezone
        self.totals = Totals()
        self._flat = None if ignore_logsource or self.folded else FlatMatcher(self.engine)

    def hits(self, context: FrameContext, records: Sequence[bytes]) -> list[Hit]:
        """The hits in a frame's records (`row` is a record's place), by record, then in the order of the rules."""
        found: list[Hit] = []
        places: Sequence[int] = range(len(records))
        if self._flat is not None and self.parsers.first(context) == "windows":
            flat = self._flat.match(records, lambda lines: self._events(context, lines))
            found, places = flat.hits, flat.left
            self.totals.dead += flat.dead
            self.totals.events += len(records) - len(places) - flat.dead
        if places:
            events = self._events(context, [records[place] for place in places])
            sound = [(place, event) for place, event in zip(places, events, strict=True) if event is not None]
            self.totals.events += len(sound)
            self.totals.dead += len(events) - len(sound)
            if sound:
                hits = self.engine.match(batch_of([event for _, event in sound]))
                found += [Hit(hit.rule_id, sound[hit.row][0], hit.atoms) for hit in hits]
        found.sort(key=lambda hit: (hit.row, self.engine.order_of(hit.rule_id)))
        return found

    def _events(self, context: FrameContext, records: list[bytes]) -> list[Event | None]:
        """The event of each record, None where no parser takes it."""
        events: list[Event | None] = [None] * len(records)
        for one in self.parsers.parse_frame(context, records).events:
            if self.folded:
                add_folded(one.event)
            events[one.index] = one.event
        return events


def match_file(matcher: Matcher, file: EventFile) -> Iterator[list[FileHit]]:
    """The hits of an open file by line, a list for every frame read (empty ones too: they show the way is going on).

    `matcher.totals` grows along. Raises InputRefused where the file cannot be read, or read on.
    """
    path = "" if file.path == STDIN else file.path
    totals = matcher.totals
    for block in file.blocks(FRAME):
        context = FrameContext(
            source="match", stream="match", first=0, count=len(block), read_at=matcher.now, ingested=matcher.now,
            format=matcher.format, timezone=matcher.timezone, path=path, file_time=file.file_time)
        found = matcher.hits(context, [raw for _, raw in block])
        totals.hits += len(found)
        yield [FileHit(matcher.rules[hit.rule_id], file.path, block[hit.row][0], hit.atoms) for hit in found]
    totals.dead += file.tally.bad
    totals.faults += [f"{file.path}: {fault}" for fault in file.tally.faults]
