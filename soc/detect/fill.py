"""Fills gaps: lets rules see what they have missed, oldest first, in small pieces, each tried again with growing pauses.

The detector calls it with the time it has left. A rule that stands aside is tried alone, on the newest of what it has
missed; when that goes well it is taken in again and the rest of its gap is filled like any other.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from soc.database import Database
from soc.detect.compiled import CompiledRule
from soc.detect.isolation import HANGS, HELD, SUSPECT, THROWS, Isolated, Isolation
from soc.detect.judge import Judge, Jury, Seen
from soc.detect.ledger import EVERY_RULE, Gap, Ledger, damaged, pause
from soc.detect.ranges import minus
from soc.detect.watch import FILL, TRIAL
from soc.errors import SocError
from soc.event import Lane

__all__ = ["PIECE", "Filler"]

PIECE: Final = 20_000
"""Positions filled at a time: well under a second, so that new events never wait longer for it."""
_TRIAL: Final = 5_000
_TRIAL_LIMIT: Final = 1.0
"""Seconds that one rule may take over a trial: where it hangs, everyone waits so long."""
_SUSPECTED: Final = 65_536
"""Positions, the first that they missed, at which suspects are tried."""
_HUNG: Final = f"it did not finish within {_TRIAL_LIMIT:g} s, or crashed"
_STRANGE: Final = "the rule fails at this event"
_ABSENT: Final = "no file holds these positions any more"
_log = logging.getLogger(__name__)


class Filler:
    """One per node fills (the first detector)."""

    def __init__(self, *, judge: Judge, database: Database, ledger: Ledger, isolation: Isolation, piece: int = PIECE) -> None:
        self._judge, self._database, self._ledger, self._isolation, self._piece = judge, database, ledger, isolation, piece
        self._kept: Jury | None = None
        self.filled = self.matches = 0

    def trial(self, rules: Mapping[str, CompiledRule], aside: Iterable[Isolated], version: str, now: Callable[[], int], *,
              urgent: bool = False) -> bool:
        """Try the rule set aside that has waited longest (only a suspect, if `urgent`); False if none is due."""
        at = now()
        waiting = [one for one in aside if one.due <= at and one.rule_id in rules and one.kind != HELD and (not urgent or one.kind == SUSPECT)]
        if waiting:
            behind = self._ledger.waiting()  # a suspect is tried once the others have judged what it was suspected at
            waiting = [one for one in waiting if one.kind != SUSPECT or one.rule_id in behind]
        if not waiting:
            return False
        if suspects := [one for one in waiting if one.kind == SUSPECT]:
            self._clear(suspects, rules, now)
        else:
            self._try(min(waiting, key=lambda one: (one.due, one.rule_id)), rules, version, now)
        return True

    def _clear(self, suspects: Sequence[Isolated], rules: Mapping[str, CompiledRule], now: Callable[[], int]) -> None:
        """Find the guilty among rules that did not finish together: each alone, at the first of what they have missed. The others are free."""
        gap = self._ledger.gaps(suspects[0].rule_id)[0]
        last = min(gap.last, gap.first + _SUSPECTED)
        guilty = self._judge.unfinished([[rules[one.rule_id]] for one in suspects], Lane(gap.lane), gap.first, last, _TRIAL_LIMIT)
        at = now()
        with self._database.write() as connection:
            for number, one in enumerate(suspects):
                if number in guilty:
                    self._isolation.put(connection, one.rule_id, one.version, HANGS, _HUNG, at)
                else:
                    self._isolation.release(connection, [one.rule_id], at)
                    self._ledger.hurry(connection, one.rule_id)
        _log.error("rules suspected of not finishing were tried alone",
                   extra={"guilty": [suspects[number].rule_id for number in guilty], "free": len(suspects) - len(guilty)})

    def _try(self, one: Isolated, rules: Mapping[str, CompiledRule], version: str, now: Callable[[], int]) -> None:
        missed = [gap for gap in self._ledger.gaps(one.rule_id) if gap.attempts == 0]
        rule = rules[one.rule_id]
        if not missed:
            self._release(one, now())
            return
        gap = max(missed, key=lambda g: (g.lane == Lane.LIVE.value, g.last))
        lane, first = Lane(gap.lane), max(gap.first, gap.last - _TRIAL)
        if one.kind == HANGS and self._judge.unfinished([[rule]], lane, first, gap.last, _TRIAL_LIMIT):
            self._failed_again(rule, HANGS, _HUNG, now())
            return
        jury = Jury(version, {rule.rule_id: rule}, self._judge.engine([rule]))
        seen = self._judge.look(jury, lane, first, gap.last, now(), kind=TRIAL, limit=_TRIAL_LIMIT)
        error = seen.failed.get(rule.rule_id)
        if error is None:
            self._settle([gap], first, gap.last, seen, version, now, releases=one)
            _log.warning("a rule works again; what it has missed is filled", extra={"rule": rule.rule_id})
            return
        self._failed_again(rule, THROWS, error, now())

    def _failed_again(self, rule: CompiledRule, kind: str, error: str, now: int) -> None:
        with self._database.write() as connection:
            self._isolation.put(connection, rule.rule_id, rule.version, kind, error, now)
        _log.error("a rule that stands aside failed again", extra={"rule": rule.rule_id, "fault": error})

    def _release(self, one: Isolated, now: int) -> None:
        with self._database.write() as connection:
            self._isolation.release(connection, [one.rule_id], now)
            self._ledger.hurry(connection, one.rule_id)

    def step(self, live: Jury, aside: Mapping[str, Isolated], now: Callable[[], int]) -> int:
        """Fill one piece of the oldest gaps that are due; returns how many positions that was (0: none is due).

        What all rules have missed is filled by `live`; for the rules `aside` it becomes a gap of their own.
        """
        at = now()
        due = [gap for gap in self._ledger.due(at) if gap.rule_id == EVERY_RULE or gap.rule_id in live.rules]
        if not due:
            self._kept = None
            return 0
        oldest = due[0]
        together = [oldest]
        if oldest.rule_id != EVERY_RULE and not oldest.attempts:
            together = [g for g in due if (g.lane, g.first, g.attempts) == (oldest.lane, oldest.first, 0) and g.rule_id != EVERY_RULE]
        piece = max(1, self._piece >> (3 * oldest.attempts))  # what failed as a whole is narrowed down to the event
        first, last = oldest.first, min(oldest.first + piece, *(gap.last for gap in together), oldest.last)
        jury = live if oldest.rule_id == EVERY_RULE else self._jury(live, [gap.rule_id for gap in together])
        try:
            seen = self._judge.look(jury, Lane(oldest.lane), first, last, at, kind=FILL)
        except SocError as fault:
            self._failed(together, first, last, str(fault), now())
            return 0
        self._settle(together, first, last, seen, live.version, now, aside=aside)
        return last - first

    def _jury(self, live: Jury, ids: Sequence[str]) -> Jury:
        """Just these rules with an engine, kept while piece follows piece."""
        rules = {rule_id: live.rules[rule_id] for rule_id in ids}
        if self._kept is None or self._kept.rules != rules or self._kept.version != live.version:
            self._kept = Jury(live.version, rules, self._judge.engine(list(rules.values())))
        return self._kept

    def _settle(self, gaps: Sequence[Gap], first: int, last: int, seen: Seen, version: str, now: Callable[[], int],
                releases: Isolated | None = None, aside: Mapping[str, Isolated] | None = None) -> None:
        """Matches, and what the gaps have become of it, in one transaction."""
        at = now()
        lane = gaps[0].lane
        with self._database.write() as connection:
            kept = self._judge.deliver(connection, seen.matches, at)
            for gap in gaps:
                if error := seen.failed.get(gap.rule_id, ""):
                    self._ledger.fail(connection, gap.rule_id, lane, first, last, error, at)
                    continue
                gone = [(low, high, damaged(path)) for path, low, high in seen.damaged] + [(low, high, _ABSENT) for low, high in seen.absent]
                for low, high, reason in gone:
                    self._ledger.gone(connection, gap.rule_id, lane, low, high, reason, at)
                for low, high in minus([(first, last)], [(low, high) for low, high, _ in gone]):
                    self._ledger.fill(connection, gap.rule_id, lane, low, high, version, at)
            if gaps[0].rule_id == EVERY_RULE:
                new = [Gap(rule_id, lane, first, last, error, 1, at, at + pause(1), error) for rule_id, error in seen.failed.items()]
                new += [Gap(one.rule_id, lane, first, last, one.reason, 0, at) for one in (aside or {}).values()]
                self._ledger.note_gaps(connection, new)
            if releases is not None:
                self._isolation.release(connection, [releases.rule_id], at)
                self._ledger.hurry(connection, releases.rule_id)
            tries = max(gap.attempts for gap in gaps) + 1
            for rule_id in seen.strange.keys() - seen.failed.keys():
                self._ledger.note_gaps(connection, [
                    Gap(rule_id, lane, place, place + 1, _STRANGE, tries, at, at + pause(tries), _STRANGE) for place in seen.strange[rule_id]])
        self.filled += last - first
        self.matches += len(kept)

    def _failed(self, gaps: Sequence[Gap], first: int, last: int, error: str, now: int) -> None:
        with self._database.write() as connection:
            for gap in gaps:
                self._ledger.fail(connection, gap.rule_id, gap.lane, first, last, error, now)
        _log.warning("a gap could not be filled; it is tried again", extra={"fault": error})
