"""A rule that somebody holds judges nothing until it is resumed, whatever happens meanwhile; then it sees all that it missed, once."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection

from soc.detect.isolation import HELD, Isolation
from soc.detect.ledger import FILLED, Ledger
from soc.detect.match import Match
from tests.detector_under_test import NOW, SECOND, Faults, Parts, Rules, Sink

ALL = list(range(100))
DAY = 86_400 * SECOND


def held(parts: Parts, rule_id: str = "held", version: str = "1") -> Isolation:
    isolation = Isolation(parts.state)
    with parts.state.write() as connection:
        isolation.hold(connection, rule_id, version, "held by an: too loud", parts.now)
    return isolation


def resume(parts: Parts, rule_id: str = "held") -> bool:
    with parts.state.write() as connection:
        return Isolation(parts.state).resume(connection, rule_id)


def open_gaps(parts: Parts, rule_id: str = "held") -> list[tuple[int, int, str]]:
    return [(gap.first, gap.last, gap.reason) for gap in Ledger(parts.state).gaps(rule_id)]


def test_a_held_rule_is_never_tried_and_sees_all_once_it_is_resumed(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    held(parts)
    judge = parts.detector(Rules("a", "held"), sink)
    parts.run(judge)
    parts.now += 30 * DAY
    parts.run(judge)
    parts.run(parts.detector(Rules("a", "held", "new"), sink))  # through restarts and other rule sets, which let rules that failed be tried
    assert sink.of("held") == [] and sink.of("a") == ALL
    assert open_gaps(parts) == [(0, 100, "held by an: too loud")]
    assert resume(parts) and not resume(parts)
    parts.run(judge)
    assert sink.of("held") == ALL and sink.of("a") == ALL
    assert {match.late for match in sink.matches if match.rule_id == "held"} == {30 * DAY}
    assert [(one.first, one.last, one.outcome) for one in Ledger(parts.state).closed("held")] == [(0, 100, FILLED)]
    assert open_gaps(parts) == [] and judge.isolated == {}


def test_another_version_stays_held_and_fills_the_gap(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    isolation = held(parts)
    parts.run(parts.detector(Rules("held"), sink))
    judge = parts.detector(Rules("held:2"), sink)
    parts.run(judge)
    assert sink.matches == [] and isolation.all()["held"].kind == HELD
    resume(parts)
    parts.run(judge)
    assert sink.of("held") == ALL and {match.rule_version for match in sink.matches} == {"2"}


def test_what_a_detector_finds_out_meanwhile_does_not_end_a_hold(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    isolation = held(parts)
    with parts.state.write() as connection:
        isolation.put(connection, "held", "1", "throws", "ZeroDivisionError: no", NOW)
        isolation.release(connection, ["held"], NOW)
        isolation.release(connection, ["held"])
        isolation.hurry(connection, NOW)
    assert [(one.kind, one.reason, one.due) for one in isolation.all().values()] == [(HELD, "held by an: too loud", 0)]


def test_a_rule_that_fails_may_be_held_and_once_resumed_fails_for_itself(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    judge = parts.detector(Rules("a", "held"), sink, Faults(held=None))
    judge.step(parts.clock)
    assert Isolation(parts.state).all()["held"].kind == "throws"
    isolation = held(parts)
    parts.now += DAY
    parts.run(judge)
    assert isolation.all()["held"].kind == HELD
    resume(parts)
    judge.step(parts.clock)
    assert sink.of("held") == [] and sink.of("a") == ALL
    assert sum(last - first for first, last, _ in open_gaps(parts)) == 100, "what it failed at stays its gap"


def test_a_rule_that_is_removed_while_a_cut_is_judged_leaves_no_gap_behind(tmp_path: Path) -> None:
    parts, rules = Parts(tmp_path), Rules("a", "held")

    class Removing(Sink):
        def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> None:
            super().deliver(connection, matches, now)
            if len(self.of("a")) >= 50 and "held" in rules.names:
                rules.names = ("a",)
                Isolation(parts.state).forget(connection, ["held"])
                Ledger(parts.state).forget(connection, ["held"])

    sink = Removing()
    held(parts)
    parts.run(parts.detector(rules, sink))
    assert sink.of("a") == ALL and sink.of("held") == []
    assert open_gaps(parts) == [] and Ledger(parts.state).closed("held") == [] and Isolation(parts.state).all() == {}
