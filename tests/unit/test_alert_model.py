"""Alerts as values: every transition there is, what closing needs, merging and linking."""
from __future__ import annotations

from dataclasses import replace

import pytest

from alerts.model import (
    TRANSITIONS,
    Alert,
    Disposition,
    State,
    TransitionRefused,
    alert_id,
    assign,
    escalate,
    key_of,
    merge,
    transition,
)
from alerts.sessions import GAP, join, link, sample
from soc.errors import InputRefused

LEGAL = {
    ("new", "in_progress"), ("new", "waiting"), ("new", "closed"),
    ("in_progress", "waiting"), ("in_progress", "closed"),
    ("waiting", "in_progress"), ("waiting", "closed"),
    ("closed", "reopened"),
    ("reopened", "in_progress"), ("reopened", "waiting"), ("reopened", "closed"),
}


def alert(first: int = 0, last: int | None = None, event: str = "e", **values: object) -> Alert:
    made = Alert(
        id=alert_id("k", event), key="k", rule_id="r", rule_version="1", title="Title", level="high", tags=(), agency="north",
        entity="pc1", entity_kind="host", origin="live", import_id="", first_seen=first, first_event=event,
        last_seen=first if last is None else last, last_event=event, count=1, created_at=5, updated_at=5)
    return replace(made, **values)


@pytest.mark.parametrize("to", State)
@pytest.mark.parametrize("start", State)
def test_every_transition_is_legal_or_refused(start, to):
    given = {"disposition": "benign", "reason": "known scanner"} if to is State.CLOSED else {}
    if (start.value, to.value) in LEGAL:
        moved = transition(alert(state=start), to, at=9, **given)
        assert (moved.state, moved.touched, moved.updated_at) == (to, True, 9)
    else:
        with pytest.raises(TransitionRefused, match="cannot become"):
            transition(alert(state=start), to, at=9, **given)


def test_every_state_has_its_ways_and_none_leads_nowhere():
    assert set(TRANSITIONS) == set(State)
    assert all(TRANSITIONS.values())


@pytest.mark.parametrize("given", [{}, {"disposition": "benign"}, {"reason": "x"}, {"disposition": "odd", "reason": "x"},
                                   {"disposition": "benign", "reason": "  "}])
def test_closing_without_disposition_or_reason_is_refused(given):
    with pytest.raises(InputRefused):
        transition(alert(), State.CLOSED, at=9, **given)


@pytest.mark.parametrize("disposition", Disposition)
def test_reopening_forgets_disposition_and_reason(disposition):
    closed = transition(alert(), State.CLOSED, at=8, disposition=disposition, reason=" known ")
    assert (closed.disposition, closed.reason) == (disposition, "known")
    reopened = transition(closed, State.REOPENED, at=9)
    assert (reopened.disposition, reopened.reason) == ("", "")


def test_only_closing_takes_a_disposition():
    with pytest.raises(InputRefused, match="only closing"):
        transition(alert(), State.IN_PROGRESS, at=9, disposition="benign")


def test_assigning_and_escalating_touch():
    assert assign(alert(), "lan", at=9).touched
    assert escalate(alert(), True, at=9).touched
    assert not alert().touched


def test_merging_takes_the_ends_and_the_latest_words():
    old = alert(10, event="a", number=3, title="Old", rule_version="1", created_at=7)
    new = alert(5, 20, event="b", title="New", rule_version="2", count=4, created_at=8)
    both = merge(old, new)
    assert (both.first_seen, both.last_seen, both.count, both.title, both.rule_version) == (5, 20, 5, "New", "2")
    assert (both.id, both.first_event, both.number, both.created_at) == (new.id, "b", 3, 7)
    assert replace(merge(new, old), number=0) == replace(both, number=0)


def test_touched_alerts_and_other_keys_do_not_merge():
    for other in (alert(touched=True), alert(key="other")):
        with pytest.raises(ValueError):
            merge(alert(), other)


def test_alerts_a_gap_apart_join_and_further_ones_do_not():
    one, two, three = alert(0), alert(GAP, event="b"), alert(2 * GAP + 1, event="c")
    assert join([three, one, two]) == [[one, two], [three]]


def test_a_follow_up_is_linked_to_the_nearest_touched_alert():
    far, near = alert(0, touched=True, event="f"), alert(2 * GAP, touched=True, event="n")
    assert link(alert(GAP + 1), [far, near]) == near.id
    assert link(alert(4 * GAP), [far, near]) == ""
    assert link(alert(0), []) == ""


def test_parts_of_a_key_cannot_be_shifted_into_each_other():
    assert key_of("a\x1f", "b", "", "", "") != key_of("a", "\x1fb", "", "", "")
    assert len({key_of("a", "b", "c", "d", "e"), key_of("ab", "", "c", "d", "e"), key_of("a", "b", "c", "de", "")}) == 3


def test_evidence_is_taken_from_both_ends():
    pairs = [(at, f"{at:02}") for at in range(30)]
    assert sample(reversed(pairs)) == {f"{at:02}" for at in [*range(10), *range(20, 30)]}
    assert sample(pairs[:20]) == {event for _, event in pairs[:20]}
