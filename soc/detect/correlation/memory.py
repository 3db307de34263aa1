"""Correlations without a data folder: the same passes over rows in a database in memory (`soc rules match` and `test`)."""
from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from soc.detect.assembly import RuleSet
from soc.detect.correlation.correlator import Correlator
from soc.detect.correlation.rows import COUNTS, EVENTS, ROWS
from soc.detect.match import Match
from soc.detect.rulestore import entity_by_default
from soc.event import UNASSIGNED

__all__ = ["MemoryCorrelations"]


class MemoryCorrelations:
    """What the correlations of a rule set make of matches that are given bit by bit.

    `matches` holds, by (rule id, event id), what correlations have made and not taken back.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.matches: dict[tuple[str, str], Match] = {}
        self._made = {one.rule.rule_id for one in rules.correlations}
        self._correlator = Correlator(
            self, version=lambda: "one", load=lambda: rules, ancestor=lambda agencies, at: UNASSIGNED, fallback=entity_by_default)
        self._engine = create_engine("sqlite://", poolclass=StaticPool)
        with self._engine.begin() as connection:
            for table in (ROWS, EVENTS, COUNTS):
                table.create(connection)

    def observe(self, matches: Sequence[Match], now: int) -> list[Match]:
        """The correlations' own matches that these base matches add. `now` is µs UTC."""
        with self._engine.begin() as connection:
            shown = self._correlator.observe(connection, matches, now)
        made = [match for match in shown if match.rule_id in self._made and (match.rule_id, match.event_id) not in self.matches]
        self.deliver(None, made, now)
        return made

    def deliver(self, connection: Connection | None, matches: Sequence[Match], now: int) -> None:
        """Remember matches, each once."""
        self.matches |= {(match.rule_id, match.event_id): match for match in matches}

    def withdraw(self, connection: Connection | None, matches: Sequence[tuple[str, str]], now: int) -> None:
        """Forget matches."""
        for identity in matches:
            self.matches.pop(identity, None)
