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
from soc.detect.rulesets import note_set
from soc.errors import StoreError
from soc.event import Lane
from soc.store.retention import expire
from tests.detector_under_test import NOW, SECOND, Faults, Frames, Parts, Rules, Sink

ALL = list(range(100))
HOUR = 3_600 * SECOND


class Known(Rules):
    """Rules whose set the state database knows, as the rule store has it: without, nothing is seen by any version."""

    def __init__(self, parts: Parts, *names: str) -> None:
        super().__init__(*names)
        with parts.state.write() as connection:
            self._version = note_set(connection, sorted((rule.rule_id, rule.version) for rule in self.enabled()), NOW)

    def version(self) -> str:
        return self._version


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


def test_F72_only_what_a_damaged_file_held_is_lost_to_a_rule_that_comes_late(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    judge = parts.detector(Rules("bad"), sink, faults)
    parts.run(judge)
    faults.throws.clear()
    victim = parts.manifest.cut_segments(Lane.LIVE, 40, 50)[0]
    (parts.data / victim.path).write_bytes(b"nothing like a cut")
    parts.now += HOUR
    parts.run(judge)
    assert sink.of("bad") == [n for n in ALL if not 40 <= n < 50]
    ledger = Ledger(parts.state)
    assert ledger.gaps() == []
    assert [(c.first, c.last, c.reason) for c in ledger.closed("bad") if c.outcome == LOST] == [(40, 50, f"damaged: {victim.path}")]


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


@pytest.mark.parametrize("bad", [["bad"], ["bad", "worse"]])
def test_trouble_names_rules_that_stand_aside(tmp_path: Path, bad: list[str]) -> None:
    parts = Parts(tmp_path)
    parts.run(parts.detector(Rules("a", *bad), Sink(), Faults(**dict.fromkeys(bad))))
    found = trouble(parts.state, parts.now)
    assert sorted(found) == bad and all("ZeroDivisionError" in word for word in found.values())


def test_a_quarantined_file_is_a_named_loss_and_tried_no_more(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    victim = parts.manifest.cut_segments(Lane.LIVE, 40, 50)[0]
    (parts.data / victim.path).write_bytes(b"nothing like a cut")
    parts.run(parts.detector(Known(parts, "a"), sink))
    ledger = Ledger(parts.state)
    assert ledger.gaps() == [], "nothing is left that could be tried"
    [lost] = ledger.closed()
    assert (lost.rule_id, lost.first, lost.last, lost.outcome, lost.reason) == (EVERY_RULE, 40, 50, LOST, f"damaged: {victim.path}")
    assert sink.of("a") == [n for n in ALL if not 40 <= n < 50]
    view = coverage(parts.state, "a", "1")
    assert view.seen == {"live": [(0, 40), (50, 100)]} and positions(view.lost) == list(range(40, 50)) and view.gaps == []
    assert [path for _, path, _ in parts.manifest.quarantined()] == [victim.path]


def test_a_quarantined_file_that_is_restored_is_judged_late_and_once(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    victim = parts.manifest.cut_segments(Lane.LIVE, 40, 50)[0]
    whole = (parts.data / victim.path).read_bytes()
    (parts.data / victim.path).write_bytes(b"nothing like a cut")
    parts.run(parts.detector(Known(parts, "a"), sink))
    (parts.data / victim.path).write_bytes(whole)
    with parts.manifest.node.write() as connection:  # as a rebuild of the manifest from the files finds it
        connection.execute("DELETE FROM segments WHERE id = ?", (victim.id,))
    parts.manifest.adopt([victim], {victim.id: 0}, {}, parts.now)
    parts.now += HOUR
    parts.run(parts.detector(Known(parts, "a"), sink))
    assert sink.of("a") == ALL
    ledger = Ledger(parts.state)
    assert ledger.gaps() == [] and [(c.outcome, c.first, c.last) for c in ledger.closed()] == [(FILLED, 40, 50)]
    assert coverage(parts.state, "a", "1").seen == {"live": [(0, 100)]}
    parts.run(parts.detector(Known(parts, "a"), sink))
    assert sink.of("a") == ALL, "it is reopened once"


def test_positions_that_no_file_holds_are_lost_and_not_filled(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    victim = parts.manifest.cut_segments(Lane.LIVE, 40, 50)[0]
    with parts.manifest.node.write() as connection:  # a manifest older or newer than the state: it knows nothing of this cut
        connection.execute("DELETE FROM segments WHERE id = ?", (victim.id,))
        connection.execute("DELETE FROM cuts WHERE lane = 'live' AND first = 40")
    parts.run(parts.detector(Known(parts, "a"), sink))
    ledger = Ledger(parts.state)
    assert ledger.gaps() == [] and sink.of("a") == [n for n in ALL if not 40 <= n < 50]
    [lost] = ledger.closed()
    assert (lost.rule_id, lost.outcome, lost.first, lost.last) == (EVERY_RULE, LOST, 40, 50) and "no file holds" in lost.reason
    assert coverage(parts.state, "a", "1").seen == {"live": [(0, 40), (50, 100)]}


def test_a_cut_without_events_is_no_gap_of_a_rule_that_stands_aside(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    victim = parts.manifest.cut_segments(Lane.LIVE, 40, 50)[0]
    with parts.manifest.node.write() as connection:  # as a cut of records of which none became an event
        connection.execute("DELETE FROM segments WHERE id = ?", (victim.id,))
    parts.run(parts.detector(Rules("a", "bad"), sink, faults))
    ledger = Ledger(parts.state)
    rest = [n for n in ALL if not 40 <= n < 50]
    assert positions(ledger.gaps()) == rest
    faults.throws.clear()
    parts.now += HOUR
    parts.run(parts.detector(Rules("a", "bad"), sink, faults))
    assert sink.of("bad") == rest and ledger.gaps() == [] and {one.outcome for one in ledger.closed()} == {FILLED}


def test_retention_of_a_gap_is_recorded_once(tmp_path: Path) -> None:
    parts, sink, faults = Parts(tmp_path), Sink(), Faults(bad=None)
    parts.run(parts.detector(Rules("a", "bad"), sink, faults))
    parts.compact()
    parts.now += 10 * 24 * HOUR
    expire(parts.manifest, {}, 24 * 3600.0, parts.now, Ledger(parts.state).expiring(parts.clock))
    faults.throws.clear()
    parts.run(parts.detector(Rules("a", "bad"), sink, faults))
    assert [(one.outcome, one.first, one.last) for one in Ledger(parts.state).closed("bad")] == [(LOST, 0, 100)]
