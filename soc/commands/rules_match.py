"""Rules against files of events: the hits of `soc rules match`, by the real parsers and the real engine.

Hits come as they are found and are not kept: memory is that of one frame, however large the input.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from soc.commands.eventfile import STDIN, EventFile
from soc.detect.compiled import CompiledRule
from soc.detect.engine import Engine
from soc.detect.match import Atom
from soc.detect.pipelines import Pipelines
from soc.event import FrameContext
from soc.normalise.records import Parsers
from soc.store.columns import batch_of
from soc.store.fold import SUFFIX, add_folded

__all__ = ["FRAME", "FileHit", "Matcher", "Totals", "match_file"]

FRAME: Final = 5_000
"""Records that are parsed and matched at once."""


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
        parsed = matcher.parsers.parse_frame(context, [raw for _, raw in block])
        totals.events += len(parsed.events)
        totals.dead += len(parsed.dead)
        if matcher.folded:
            for one in parsed.events:
                add_folded(one.event)
        found = matcher.engine.match(batch_of([one.event for one in parsed.events])) if parsed.events else []
        totals.hits += len(found)
        yield [FileHit(matcher.rules[hit.rule_id], file.path, block[parsed.events[hit.row].index][0], hit.atoms) for hit in found]
    totals.dead += file.tally.bad
    totals.faults += [f"{file.path}: {fault}" for fault in file.tally.faults]
