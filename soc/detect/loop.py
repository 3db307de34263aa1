"""The detector: cuts in, alerts out, in the order of arrival. Cursor, ledger and alerts commit as one.

`step` does one thing: judge one cut (live before bulk), or, with the time that is left and a small share of a busy day,
try a rule that stands aside or fill a piece of a gap. It never looks at event time: late events are met exactly once.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection

from soc.database import Database
from soc.detect.claims import Claims
from soc.detect.compiled import CompiledRule
from soc.detect.fill import Filler
from soc.detect.isolation import HANGS, SUSPECT, THROWS, Isolated, Isolation, outdated
from soc.detect.judge import EngineMaker, Judge, Jury, Matcher, Seen, chunks
from soc.detect.ledger import EVERY_RULE, Gap, Ledger, damaged
from soc.detect.match import MatchSink
from soc.detect.ranges import Range, behind
from soc.detect.watch import FILL, Evaluation, Watch
from soc.event import Event, Lane
from soc.store.manifest import Manifest

__all__ = ["Detector", "Matcher", "RuleSource"]

_GROUPS: Final = 32
"""Groups in which all rules are tried after a hang, to find out in which the guilty one is."""
_GROUP_LIMIT: Final = 1.0
_CHUNK: Final = 50
"""Rules looked at together where that found none."""
_CHUNK_LIMIT: Final = 1.5
_FILL_SHARE: Final = 16
"""Cuts judged one after the other before a waiting gap gets its turn."""
_log = logging.getLogger(__name__)


class RuleSource(Protocol):
    """Where the enabled rules come from (`soc.detect.rulestore`)."""

    def version(self) -> str: ...

    def enabled(self) -> Sequence[CompiledRule]: ...

    def known(self, ids: Sequence[str]) -> set[str]: ...


class Detector:
    """Judges cuts. It owns its manifest connection.

    `hang` is how many seconds an evaluation may take before whoever reads `watch` kills this process; `verdict` is what
    one before was killed over (`soc.detect.watch`). With `claims`, several share the lanes, and one of them fills gaps.
    """

    def __init__(self, *, data: Path, manifest: Manifest, database: Database, rules: RuleSource,
                 engine: EngineMaker, entity: Callable[[CompiledRule, Event], tuple[str, str]],
                 sink: MatchSink, undone: Callable[[Connection, Sequence[str]], set[str]], live_share: int = 4,
                 claims: Claims | None = None, watch: Watch | None = None, hang: float = 3.0, verdict: Evaluation | None = None) -> None:
        self._manifest, self._database, self._rules, self._engine = manifest, database, rules, engine
        self._ledger, self._isolation = Ledger(database), Isolation(database)
        self._judge = Judge(data=data, manifest=manifest, engine=engine, entity=entity, sink=sink, undone=undone, watch=watch, limit=hang)
        self._filler = Filler(judge=self._judge, database=database, ledger=self._ledger, isolation=self._isolation)
        self._on: dict[str, CompiledRule] = {}
        self._jury: Jury | None = None
        self._aside: dict[str, Isolated] = {}
        self._live_share, self._turn = live_share, 0
        self._claims, self._busy = claims, 0
        self._verdict = verdict
        self._hunt: tuple[str, int, int] | None = None
        self.events = self.matches = 0

    # ---- the rules

    def refresh(self, now: int) -> Jury:
        """The rules that judge now: loaded anew if the enabled set, or what stands aside, has changed."""
        version = self._rules.version()
        if self._jury is None or self._jury.version != version:
            self._on = {rule.rule_id: rule for rule in self._rules.enabled()}
            self._changed(first=self._jury is None, now=now)
        if self._verdict is not None:
            self._suspect(self._verdict, now)
        self._aside = {rule_id: one for rule_id, one in self._isolation.all().items() if rule_id in self._on}
        wanted = self._on.keys() - self._aside.keys()
        if self._jury is None or self._jury.version != version or self._jury.rules.keys() != wanted:
            rules = {rule_id: rule for rule_id, rule in self._on.items() if rule_id in wanted}
            previous = self._jury.engine if self._jury is not None else None
            self._jury = Jury(version, rules, self._engine(list(rules.values()), previous), whole=True)
        return self._jury

    def _changed(self, *, first: bool, now: int) -> None:
        """The rule set is another one: rules set aside in another version are well, the others are tried, the gone have no gaps."""
        if first:
            self._ledger.reopen({segment.path for segment in self._manifest.snapshot().segments}, now)
        aside = self._isolation.all()
        renewed = outdated(aside, {rule_id: rule.version for rule_id, rule in self._on.items()})
        missing = [rule_id for rule_id in {*self._ledger.waiting(), *aside} - self._on.keys() if rule_id != EVERY_RULE]
        gone = [rule_id for rule_id in missing if rule_id not in self._rules.known(missing)]
        if renewed or gone or (not first and (aside or self._ledger.waiting())):
            with self._database.write() as connection:
                self._isolation.release(connection, renewed)
                self._isolation.forget(connection, gone)
                self._ledger.withdraw(connection, gone, "the rule was removed before it saw them", now)
                if not first:
                    self._isolation.hurry(connection, now)
                    self._ledger.hurry(connection)

    def hear(self, verdict: Evaluation) -> None:
        """A detector was killed over this: this one finds the guilty rule at its next step."""
        self._verdict = verdict

    def _suspect(self, verdict: Evaluation, now: int) -> None:
        """Draw the consequence of having been killed over an evaluation: set its rules aside, or narrow them down."""
        self._verdict = None
        rules = None if verdict.rules is None else [self._on[r] for r in verdict.rules if r in self._on]
        if verdict.kind == FILL:
            with self._database.write() as connection:
                for rule_id in verdict.rules or (EVERY_RULE,):
                    self._ledger.fail(connection, rule_id, verdict.lane, verdict.first, verdict.last, "it did not finish in time", now)
        elif len(self._on if rules is None else rules) > _CHUNK or (rules is None and len(self._on) > 1):
            self._hunt = (verdict.lane, verdict.first, verdict.last)
        else:
            self._put_aside(list(self._on.values()) if rules is None else rules, verdict.limit, now)

    def _put_aside(self, rules: Sequence[CompiledRule], limit: float, now: int) -> None:
        """Leave out rules that did not finish: one alone is guilty, several are suspects."""
        if not rules:
            return
        kind = HANGS if len(rules) == 1 else SUSPECT
        with self._database.write() as connection:
            for rule in rules:
                self._isolation.put(connection, rule.rule_id, rule.version, kind, f"it did not finish within {limit:g} s, or crashed", now)
        _log.error("rules did not finish and are left out", extra={"kind": kind, "rules": [r.rule_id for r in rules][:_CHUNK]})

    @property
    def rules(self) -> int:
        """How many rules are loaded."""
        return len(self._on)

    @property
    def isolated(self) -> Mapping[str, str]:
        """Rules that failed and are left out until they work again, with the error."""
        return {rule_id: one.reason for rule_id, one in self._aside.items()}

    @property
    def filled(self) -> int:
        """Positions that were filled so far."""
        return self._filler.filled

    # ---- one step

    def step(self, now: Callable[[], int], *, fill: bool = True) -> int:
        """Do one thing; returns the positions it covers (0: nothing waits). Raises StoreError.

        `fill` False leaves gaps alone this time.
        """
        jury = self.refresh(now())
        fills = self._claims is None or self._claims.fills()
        if fills and self._filler.trial(self._on, self._aside.values(), jury.version, now, urgent=True):
            return 1
        if fill and fills and self._busy >= _FILL_SHARE:
            self._busy = 0
            if covered := self._catch_up(jury, now):
                return covered
        try:
            found = self._next()
            if found is not None:
                self._busy += 1
                return self._cut(jury, *found, now)
        finally:
            if self._claims is not None:
                self._claims.release()
        return self._catch_up(jury, now) if fill and fills else 0

    def _catch_up(self, jury: Jury, now: Callable[[], int]) -> int:
        if self._filler.trial(self._on, self._aside.values(), jury.version, now):
            return 1
        return self._filler.step(jury, self._aside, now)

    def _next(self) -> tuple[Lane, int, int, int] | None:
        """(lane, where judging begins, first and last of the next cut), live before bulk but for bulk's share."""
        judged = self._ledger.judged()
        for lane in (Lane.BULK, Lane.LIVE) if self._turn >= self._live_share else (Lane.LIVE, Lane.BULK):
            found = self._free(lane, judged[lane])
            if found is not None:
                self._turn = self._turn + 1 if lane is Lane.LIVE else 0
                return lane, *found
            if lane is Lane.BULK:
                self._turn = 0
        return None

    def _free(self, lane: Lane, judged: Sequence[Range]) -> tuple[int, int, int] | None:
        """The first cut of a lane that is not judged and, of several detectors, no other looks at; claimed. None if there is none."""
        begin = behind(judged, 0)
        while (found := self._manifest.next_cut(lane, begin)) is not None:
            if self._claims is None:
                return begin, *found
            if self._claims.take(lane, begin, found[1]):
                judged = self._ledger.judged()[lane]
                if behind(judged, begin) == begin:
                    return begin, *found
                self._claims.release()  # it was judged between our two looks
            begin = behind(judged, found[1])
        return None

    def _cut(self, jury: Jury, lane: Lane, begin: int, first: int, last: int, now: Callable[[], int]) -> int:
        at = now()
        first = max(first, begin)
        hunted = self._hunt == (lane.value, first, last)
        if hunted and self._set_apart(jury, lane, first, last, now):
            jury, hunted = self.refresh(now()), False
        seen = self._in_groups(jury, lane, first, last, at) if hunted else self._judge.look(jury, lane, first, last, at)
        self._hunt = None if self._hunt == (lane.value, first, last) else self._hunt
        gaps = [Gap(EVERY_RULE, lane.value, begin, first, "no cut holds these positions", 0, at)] if first > begin else []
        gaps += [Gap(EVERY_RULE, lane.value, low, high, damaged(path), 0, at) for path, low, high in seen.damaged]
        reasons = {one.rule_id: one.reason for one in self._aside.values()} | {r: f"{THROWS}: {e}" for r, e in seen.failed.items()}
        if not seen.files and not seen.damaged:  # in a cut of which no record became an event there was nothing to miss
            reasons = {}
        with self._database.write() as connection:
            kept = self._judge.deliver(connection, seen.matches, now())
            there = self._rules.known(list(reasons)) if reasons else set()  # a rule that was removed meanwhile misses nothing
            gaps += [Gap(rule_id, lane.value, first, last, reason, 0, at) for rule_id, reason in reasons.items() if rule_id in there]
            self._ledger.note_gaps(connection, gaps)
            for rule_id in there & seen.failed.keys():
                self._isolation.put(connection, rule_id, self._on[rule_id].version, THROWS, seen.failed[rule_id], now())
            self._ledger.advance(connection, jury.version, lane, begin, last, now(), shared=self._claims is not None)
        for rule_id, error in seen.failed.items():
            _log.error("a rule failed and is left out", extra={"rule": rule_id, "fault": error})
        self.events += last - first
        self.matches += len(kept)
        return last - begin

    def _set_apart(self, jury: Jury, lane: Lane, first: int, last: int, now: Callable[[], int]) -> bool:
        """The last look at this cut did not finish: set the rules aside among which the guilty one is; False if none is found."""
        groups = list(chunks(list(jury.rules.values()), max(1, -(-len(jury.rules) // _GROUPS))))
        found = [rule for number in self._judge.unfinished(groups, lane, first, last, _GROUP_LIMIT) for rule in groups[number]]
        self._put_aside(found, _GROUP_LIMIT, now())
        return bool(found)

    def _in_groups(self, jury: Jury, lane: Lane, first: int, last: int, at: int) -> Seen:
        """The look of all rules at a cut, in groups that whoever kills this process finds named."""
        seen = Seen()
        for some in chunks(list(jury.rules.values()), _CHUNK):
            group = Jury(jury.version, {rule.rule_id: rule for rule in some}, self._engine(some))
            seen.add(self._judge.look(group, lane, first, last, at, limit=_CHUNK_LIMIT))
        return seen
