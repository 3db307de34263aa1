"""The detector's loop: a rule that throws is left out and noted, damage is named, nothing is judged twice or skipped."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection

from soc.detect.ledger import Ledger
from soc.detect.match import Match
from soc.event import Lane
from tests.detector_under_test import Faults, Parts, Rules, Sink


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def test_a_rule_that_throws_is_left_out_and_the_others_see_every_event(parts: Parts) -> None:
    sink = Sink()
    judge = parts.detector(Rules("a", "bad", "b"), sink, Faults(bad=None))
    parts.run(judge)
    assert sorted(sink.found) == sorted((rule, n) for rule in ("a", "b") for n in range(100))
    assert list(judge.isolated) == ["bad"]
    gaps = Ledger(parts.state).gaps("bad")
    assert sorted(n for g in gaps for n in range(g.first, g.last)) == list(range(100))
    assert "ZeroDivisionError" in gaps[0].reason


def test_a_second_detector_goes_on_where_the_first_stopped(parts: Parts) -> None:
    sink = Sink()
    first = parts.detector(Rules("a"), sink)
    for _ in range(3):
        first.step(parts.clock)
    parts.run(parts.detector(Rules("a", "b"), sink))
    assert sink.of("a") == list(range(100))
    assert sink.of("b") == list(range(30, 100))
    assert {(s.version, s.first, s.last) for s in Ledger(parts.state).spans()} == {("a", 0, 30), ("a-b", 30, 100)}


def test_a_damaged_cut_is_quarantined_named_and_the_rest_judged(parts: Parts) -> None:
    victim = parts.manifest.cut_segments(Lane.LIVE, 40, 50)[0]
    (parts.data / victim.path).write_bytes(b"nothing like a cut")
    sink = Sink()
    parts.run(parts.detector(Rules("a"), sink))
    assert sink.of("a") == [n for n in range(100) if not 40 <= n < 50]
    assert [path for _, path, _ in parts.manifest.quarantined()] == [victim.path]
    assert [(c.rule_id, c.first, c.last, c.outcome) for c in Ledger(parts.state).closed()] == [("*", 40, 50, "lost")]


def test_a_failing_sink_moves_no_cursor(parts: Parts) -> None:
    class Failing(Sink):
        def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> None:
            raise RuntimeError("the database is gone")

    judge = parts.detector(Rules("a"), Failing())
    with pytest.raises(RuntimeError):
        judge.step(parts.clock)
    assert Ledger(parts.state).positions().get(Lane.LIVE, 0) == 0
    sink = Sink()
    parts.run(parts.detector(Rules("a"), sink))
    assert len(sink.found) == 100
