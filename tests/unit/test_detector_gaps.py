"""Gaps: what a rule missed it sees later, oldest first, live first, marked late, once; and what it can never see is recorded."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from soc.detect.coverage import coverage, trouble
from soc.detect.isolation import Isolation
from soc.detect.ledger import EVERY_RULE, FILLED, LOST, Ledger, pause
from soc.detect.match import Match
from soc.errors import StoreError
from soc.event import Lane
from soc.store.retention import expire
from tests.detector_under_test import SECOND, Faults, Frames, Parts, Rules, Sink

ALL = list(range(100))
HOUR = 3_600 * SECOND


def positions(gaps: Any) -> list[int]:
    return sorted(n for gap in gaps for n in range(gap.first, gap.last))


def test_F72_a_rule_that_works_again_sees_all_it_missed_and_it_is_marked_late(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    judge = parts.detector(Rules("a", "bad"), sink, faults)
    parts.run(judge)
    assert sink.of("bad") == [] and positions(Ledger(parts.state).gaps("bad")) == ALL
    faults.throws.clear()
    parts.run(judge)
    assert sink.of("bad") == [], "it is tried again only when its pause is over"
    parts.now += 31 * SECOND
    parts.run(judge)
    assert sink.of("bad") == ALL and sink.of("a") == ALL
    assert {m.late for m in sink.matches if m.rule_id == "bad"} == {31 * SECOND}
    assert {m.late for m in sink.matches if m.rule_id == "a"} == {0}
    assert Ledger(parts.state).gaps() == [] and judge.isolated == {}
    assert positions(one for one in Ledger(parts.state).closed("bad") if one.outcome == FILLED) == ALL


def test_F72_the_gap_of_a_detector_that_was_down_is_filled_from_compacted_segments(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    parts.run(parts.detector(Rules("a", "bad"), sink, faults))
    parts.compact()
    assert {s.kind for s in parts.manifest.snapshot().segments} == {"segment"}
    parts.now += 3 * 24 * HOUR
    faults.throws.clear()
    parts.run(parts.detector(Rules("a", "bad"), sink, faults))
    assert sink.of("bad") == ALL and sink.of("a") == ALL


def test_F72_a_store_error_in_the_middle_of_a_fill_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    class Failing(Sink):
        broken = True

        def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> None:
            if self.broken and any(match.late for match in matches):
                raise StoreError("the database is gone")
            super().deliver(connection, matches, now)

    parts, sink, faults = Parts(tmp_path), Failing(), Faults(bad=None)
    judge = parts.detector(Rules("a", "bad"), sink, faults)
    parts.run(judge)
    faults.throws.clear()
    parts.now += HOUR
    for _ in range(3):
        with pytest.raises(StoreError):
            judge.step(parts.clock)
    assert positions(Ledger(parts.state).gaps("bad")) == ALL and sink.of("bad") == []
    sink.broken = False
    parts.run(judge)
    assert sink.of("bad") == ALL and sink.of("a") == ALL and Ledger(parts.state).gaps() == []


def test_F72_only_what_a_damaged_file_held_stays_a_gap_and_its_pauses_grow(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    judge = parts.detector(Rules("bad"), sink, faults)
    parts.run(judge)
    faults.throws.clear()
    victim = parts.manifest.cut_segments(Lane.LIVE, 40, 50)[0]
    (parts.data / victim.path).write_bytes(b"nothing like a cut")
    dues = []
    for _ in range(3):
        parts.now += HOUR
        parts.run(judge)
        assert sink.of("bad") == [n for n in ALL if not 40 <= n < 50]
        [gap] = Ledger(parts.state).gaps("bad")
        assert (gap.first, gap.last) == (40, 50) and victim.path in gap.error
        dues.append(gap.due - parts.now)
    assert dues == sorted(set(dues)), "each pause is longer"


def test_pauses_grow_to_an_hour_and_no_further() -> None:
    found = [pause(n) for n in range(1, 40)]
    assert found[:3] == [10 * SECOND, 20 * SECOND, 40 * SECOND] and max(found) == HOUR and found == sorted(found)


def test_a_rule_that_fails_at_one_event_sees_every_other_one(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(odd=["37"])
    judge = parts.detector(Rules("a", "odd"), sink, faults)
    parts.run(judge)
    assert sink.of("odd") == ALL[:30], "isolated at once, with the cut it failed at"
    parts.now += 31 * SECOND
    parts.run(judge)
    assert sink.of("odd") == [n for n in ALL if n != 37]
    [gap] = Ledger(parts.state).gaps("odd")
    assert (gap.first, gap.last, gap.attempts) == (37, 38, 1)
    assert judge.isolated == {}


def test_new_events_go_before_gaps_and_live_before_bulk(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path, Frames(live=500, bulk=100)), Sink(), Faults(bad=None)
    judge = parts.detector(Rules("bad"), sink, faults)
    judge.step(parts.clock)
    faults.throws.clear()
    parts.now += 31 * SECOND
    order: list[tuple[str, int, int]] = []
    seen = 0

    def note() -> None:
        nonlocal seen
        order.extend((m.position.lane, m.position.sequence, m.late) for m in sink.matches[seen:])
        seen = len(sink.matches)

    parts.run(judge, after=note)
    live = [n for lane, n, _ in order if lane == "live"]
    assert sorted(live) == list(range(500)) and len([1 for lane, _, _ in order if lane == "bulk"]) == 100
    first_bulk = next(i for i, (lane, _, late) in enumerate(order) if lane == "bulk" and not late)
    assert sum(1 for lane, _, late in order[:first_bulk] if lane == "live") >= 40, "four live cuts to one of bulk"


def test_gaps_are_filled_oldest_first(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    judge = parts.detector(Rules("bad"), sink, faults)
    for _ in range(10):
        judge.step(parts.clock)
        parts.now += SECOND
    faults.throws.clear()
    parts.now += 31 * SECOND
    parts.run(judge)
    late = [n for _, n in sink.found]
    trial = 100 - late[0]
    assert late[trial:] == sorted(late[trial:]), "but for the trial, in the order of arrival"
    assert sorted(late) == ALL


def test_F74_an_edited_rule_is_another_version_and_what_the_old_one_missed_the_new_one_sees(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    rules = Rules("a", "bad:1")
    judge = parts.detector(rules, sink, faults)
    parts.run(judge)
    faults.throws.clear()
    rules.names = ("a", "bad:2")
    parts.run(judge)
    assert sink.of("bad") == ALL and {m.rule_version for m in sink.matches if m.rule_id == "bad"} == {"2"}
    assert judge.isolated == {} and Ledger(parts.state).gaps() == []


def test_F74_a_rule_removed_during_a_run_leaves_no_gap_but_a_record(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    rules = Rules("a", "bad")
    judge = parts.detector(rules, sink, faults)
    for _ in range(5):
        judge.step(parts.clock)
    rules.names = ("a",)
    parts.run(judge)
    assert Ledger(parts.state).gaps() == [] and Isolation(parts.state).all() == {}
    assert positions(one for one in Ledger(parts.state).closed("bad") if one.outcome == LOST) == ALL[:50]
    assert sink.of("a") == ALL


def test_F74_a_rule_switched_off_and_on_keeps_its_gap_and_fills_it_once(tmp_path: Path) -> None:
    class Off(Rules):
        def known(self, ids: Any) -> set[str]:
            return set(ids)

    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    rules = Off("a", "bad")
    judge = parts.detector(rules, sink, faults)
    for _ in range(5):
        judge.step(parts.clock)
    rules.names = ("a",)
    judge.step(parts.clock)
    faults.throws.clear()
    rules.names = ("a", "bad")
    parts.now += 31 * SECOND
    parts.run(judge)
    assert sink.of("bad") == [n for n in ALL if not 50 <= n < 60], "what passed while it was off is no gap"
    assert sink.of("a") == ALL


def test_retention_closes_a_gap_as_a_recorded_loss(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    parts.run(parts.detector(Rules("a", "bad"), sink, faults))
    parts.compact()
    ledger = Ledger(parts.state)
    parts.now += 10 * 24 * HOUR
    expire(parts.manifest, {}, 24 * 3600.0, parts.now, ledger.expiring(parts.clock))
    lost = [one for one in ledger.closed("bad") if one.outcome == LOST]
    assert positions(lost) == ALL and "retention" in lost[0].reason
    faults.throws.clear()
    parts.run(parts.detector(Rules("a", "bad"), sink, faults))
    assert ledger.gaps() == [] and sink.of("bad") == []
    view = coverage(parts.state, "bad", "1")
    assert view.seen == {} and positions(view.lost) == ALL and positions(view.gaps) == []


def test_a_damaged_file_is_a_gap_of_every_rule_until_it_is_given_up(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    victim = parts.manifest.cut_segments(Lane.LIVE, 40, 50)[0]
    (parts.data / victim.path).write_bytes(b"nothing like a cut")
    parts.run(parts.detector(Rules("a"), sink))
    parts.now += HOUR
    parts.run(parts.detector(Rules("a"), sink))
    [gap] = Ledger(parts.state).gaps()
    assert (gap.rule_id, gap.first, gap.last) == (EVERY_RULE, 40, 50) and gap.attempts >= 1 and victim.path in gap.error
    assert sink.of("a") == [n for n in ALL if not 40 <= n < 50]


@pytest.mark.parametrize("bad", [["bad"], ["bad", "worse"]])
def test_trouble_names_rules_that_stand_aside(tmp_path: Path, bad: list[str]) -> None:
    parts = Parts(tmp_path)
    parts.run(parts.detector(Rules("a", *bad), Sink(), Faults(**dict.fromkeys(bad))))
    found = trouble(parts.state, parts.now)
    assert sorted(found) == bad and all("ZeroDivisionError" in word for word in found.values())
