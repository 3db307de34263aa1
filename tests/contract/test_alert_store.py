"""Alerts in the state database: the same on both dialects."""
from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from alerts.model import State, TransitionRefused
from alerts.pipeline import AlertPipeline
from alerts.sessions import EARLIEST, GAP, LATEST
from alerts.store import AlertFilters, AlertStore
from alerts.tables import ALERTS, EVIDENCE, EXCEPTED, FORMER, HISTORY, MATCHES
from soc.detect.match import Atom, Match
from soc.errors import InputRefused, NotFoundError, QueryError
from soc.event import Lane, Origin, Position, Scope

ALL = Scope.everything()
BASE = 1_700_000_000_000_000
HOUR = 3600 * 1_000_000


def match(number: int = 0, at: int = 0, **values: object) -> Match:
    event_id = f"{number:012x}-00000000000000aa-{number:x}"
    made = Match(
        rule_id="r1", rule_version="v1", title="Encoded PowerShell", level="high", tags=("attack.t1059",), event_id=event_id,
        event_time=BASE + at, event={"event.id": event_id, "@timestamp": BASE + at, "process.name": "powershell.exe"},
        position=Position(Lane.LIVE, number), agency="north", origin=Origin.LIVE, import_id="", entity="pc1", entity_kind="host",
        atoms=(Atom("CommandLine", "contains", "-enc"),))
    return replace(made, **values)


def deliver(db, *matches, now=BASE):
    with db.write() as connection:
        AlertPipeline().deliver(connection, matches, now)


@pytest.fixture
def store(state_db):
    return AlertStore(state_db)


def only(store):
    (alert,) = store.list(ALL).alerts
    return alert


def rows(db, table):
    with db.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_matches_of_one_session_are_one_alert_with_its_facts(state_db, store):
    deliver(state_db, match(1, HOUR), match(0, 0), now=BASE + 5)
    alert = only(store)
    assert (alert.rule_id, alert.entity, alert.count, alert.state) == ("r1", "pc1", 2, State.NEW)
    assert (alert.first_seen, alert.last_seen, alert.created_at) == (BASE, BASE + HOUR, BASE + 5)
    assert alert.tags == ("attack.t1059",)
    evidence = store.evidence(ALL, alert.id)
    assert [e.event["process.name"] for e in evidence] == ["powershell.exe"] * 2
    assert evidence[0].atoms == (Atom("CommandLine", "contains", "-enc"),)
    assert store.event_ids(ALL, alert.id) == [match(0).event_id, match(1).event_id]


def test_redelivery_changes_nothing(state_db, store):
    deliver(state_db, match(0), match(1), now=BASE)
    before = store.list(ALL)
    deliver(state_db, match(1), match(0), match(1), now=BASE + 9)
    assert store.list(ALL) == before


def test_two_rules_may_match_one_event(state_db, store):
    deliver(state_db, match(0), match(0, rule_id="r2"))
    assert sorted(a.rule_id for a in store.list(ALL).alerts) == ["r1", "r2"]


@pytest.mark.parametrize("part", [
    {"rule_id": "r2"}, {"agency": "south"}, {"entity": "pc2"}, {"origin": Origin.DRILL}, {"import_id": "i1"},
])
def test_each_part_of_the_key_keeps_alerts_apart(state_db, store, part):
    deliver(state_db, match(0), match(1, **part))
    assert len(store.list(ALL).alerts) == 2


def test_a_late_match_bridges_two_untouched_alerts_and_old_ids_still_find_it(state_db, store):
    deliver(state_db, match(2, 40 * HOUR))
    deliver(state_db, match(0, 0))
    old = {a.id for a in store.list(ALL).alerts}
    assert len(old) == 2
    deliver(state_db, match(1, 20 * HOUR))
    alert = only(store)
    assert (alert.count, alert.first_seen, alert.last_seen) == (3, BASE, BASE + 40 * HOUR)
    assert {store.get(ALL, one).id for one in old} == {alert.id}
    assert len(store.evidence(ALL, alert.id)) == len(store.event_ids(ALL, alert.id)) == 3


def test_what_would_have_joined_a_touched_alert_is_a_linked_alert_of_its_own(state_db, store):
    deliver(state_db, match(0))
    first = only(store)
    store.transition(ALL, first.id, State.IN_PROGRESS, actor="lan", now=BASE + 1)
    deliver(state_db, match(1, HOUR))
    deliver(state_db, match(2, -HOUR))
    deliver(state_db, match(3, 20 * HOUR))
    touched, follow_up = store.get(ALL, first.id), next(a for a in store.list(ALL).alerts if not a.touched)
    assert (touched.count, touched.id, touched.linked_to) == (1, first.id, "")
    assert (follow_up.count, follow_up.first_seen, follow_up.linked_to) == (3, BASE - HOUR, first.id)
    assert store.list(ALL, AlertFilters(state=["new"])).alerts == (follow_up,)


def test_a_follow_up_out_of_reach_is_not_linked(state_db, store):
    deliver(state_db, match(0))
    store.comment(ALL, only(store).id, "looking", actor="lan", now=BASE + 1)
    deliver(state_db, match(1, GAP + 1))
    assert [a.linked_to for a in store.list(ALL).alerts] == ["", ""]


def test_a_closed_alert_stays_closed_and_redelivery_of_its_matches_is_silent(state_db, store):
    deliver(state_db, match(0))
    store.close(ALL, only(store).id, disposition="benign", reason="scanner", actor="lan", now=BASE + 1)
    deliver(state_db, match(0))
    alert = only(store)
    assert (alert.state, alert.disposition, alert.reason) == (State.CLOSED, "benign", "scanner")


def test_a_storm_is_one_alert_with_an_exact_count_and_capped_evidence(state_db, store):
    storm = [match(n, n * 1000) for n in range(5000)]
    for start in (2500, 0, 1000):
        deliver(state_db, *storm[start : start + 2500])
    alert = only(store)
    assert alert.count == 5000
    kept = [e.event_id for e in store.evidence(ALL, alert.id)]
    assert kept == [m.event_id for m in [*storm[:EARLIEST], *storm[-LATEST:]]]


def test_excepted_matches_are_kept_and_counted_and_raise_nothing(state_db, store):
    deliver(state_db, match(0, excepted_by="x1"), match(1, excepted_by="x1"), match(2))
    deliver(state_db, match(1, excepted_by="x1"))
    assert only(store).count == 1
    assert store.excepted(ALL) == {"x1": 2}
    assert store.excepted(Scope.of(["south"])) == {}


def test_hostile_text_is_stored_and_still_keeps_entities_apart(state_db, store):
    deliver(state_db, match(0, entity="a\x00b"), match(1, entity="a\ufffdb"), match(2, entity="x" * 5000),
            match(3, entity="x" * 5000 + "y"), match(4, entity="\ud800", title="<script>\x00",
                                                    event={"odd": "\ud800", "big": 2**70, "n": "\x00"}))
    found = store.list(ALL).alerts
    assert len(found) == 5
    odd = next(a for a in found if a.title.startswith("<script>"))
    assert store.evidence(ALL, odd.id)[0].event == {"odd": "\\ud800", "big": str(2**70), "n": "\x00"}


def test_scope_bounds_every_method(state_db, store):
    deliver(state_db, match(0), match(1, agency="south", entity="pc2"))
    north, south, nobody = Scope.of(["north"]), Scope.of(["south"]), Scope()
    (alert,) = store.list(north).alerts
    assert (store.count(north), store.count(nobody), store.count(ALL)) == (1, 0, 2)
    assert store.counts(north)["level"] == {"high": 1}
    for scope in (south, nobody, Scope.of(["north"], ["pc9"])):
        for ask in (store.get, store.history, store.evidence, store.event_ids):
            with pytest.raises(NotFoundError):
                ask(scope, alert.id)
        for act in (
            lambda s=scope: store.transition(s, alert.id, State.WAITING, actor="x", now=1),
            lambda s=scope: store.close(s, alert.id, disposition="benign", reason="x", actor="x", now=1),
            lambda s=scope: store.assign(s, alert.id, "x", actor="x", now=1),
            lambda s=scope: store.escalate(s, alert.id, True, actor="x", now=1),
            lambda s=scope: store.comment(s, alert.id, "x", actor="x", now=1),
        ):
            with pytest.raises(NotFoundError):
                act()
    assert store.get(Scope.of(["north"], ["pc1"]), alert.id) == alert


def test_history_tells_who_did_what(state_db, store):
    deliver(state_db, match(0))
    name = only(store).id
    store.assign(ALL, name, "lan", actor="minh", now=BASE + 1)
    store.transition(ALL, name, State.IN_PROGRESS, actor="lan", now=BASE + 2)
    store.comment(ALL, name, " asked the owner ", actor="lan", now=BASE + 3)
    store.escalate(ALL, name, True, actor="lan", now=BASE + 4)
    store.close(ALL, name, disposition="true_positive", reason="malware", actor="lan", now=BASE + 5)
    history = store.history(ALL, name)
    assert [(h.at - BASE, h.actor, h.action) for h in history] == [
        (1, "minh", "assign"), (2, "lan", "transition"), (3, "lan", "comment"), (4, "lan", "escalate"), (5, "lan", "transition")]
    assert history[2].detail == {"text": "asked the owner"}
    assert history[4].detail == {"from": "in_progress", "to": "closed", "disposition": "true_positive", "reason": "malware"}
    alert = store.get(ALL, name)
    assert (alert.assignee, alert.escalated, alert.updated_at) == ("lan", True, BASE + 5)


def test_a_refused_transition_leaves_no_trace(state_db, store):
    deliver(state_db, match(0))
    before = only(store)
    with pytest.raises(TransitionRefused):
        store.transition(ALL, before.id, State.REOPENED, actor="lan", now=BASE)
    with pytest.raises(InputRefused):
        store.comment(ALL, before.id, "x" * 20_000, actor="lan", now=BASE)
    assert only(store) == before
    assert store.history(ALL, before.id) == []


@pytest.mark.parametrize("filters", [
    AlertFilters(state=["new"]), AlertFilters(rule_id="r1"), AlertFilters(agency="north"), AlertFilters(entity="pc1"),
    AlertFilters(level=["high", "low"]), AlertFilters(origin="live"), AlertFilters(import_id=""), AlertFilters(assignee=""),
    AlertFilters(escalated=False), AlertFilters(since=BASE), AlertFilters(until=BASE + 1),
])
def test_a_filter_that_fits_keeps_the_alert(state_db, store, filters):
    deliver(state_db, match(0))
    assert store.count(ALL, filters) == 1


@pytest.mark.parametrize("filters", [
    AlertFilters(state=["closed"]), AlertFilters(state=[]), AlertFilters(rule_id="r9"), AlertFilters(agency="south"),
    AlertFilters(entity="%"), AlertFilters(level=["low"]), AlertFilters(origin="import"), AlertFilters(import_id="i"),
    AlertFilters(assignee="lan"), AlertFilters(escalated=True), AlertFilters(since=BASE + 1), AlertFilters(until=BASE),
    AlertFilters(entity="'; DROP TABLE alerts --"),
])
def test_a_filter_that_does_not_fit_drops_it(state_db, store, filters):
    deliver(state_db, match(0))
    assert store.list(ALL, filters).alerts == ()


def test_pages_follow_each_other_without_loss_or_repeat(state_db, store):
    deliver(state_db, *(match(n, (n % 3) * HOUR, entity=f"pc{n}") for n in range(25)))
    seen, after = [], None
    while True:
        page = store.list(ALL, limit=7, after=after)
        seen += [a.id for a in page.alerts]
        after = page.next
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 25
    assert seen == [a.id for a in store.list(ALL).alerts]


@pytest.mark.parametrize("cursor", ["", "x", "1:2", "9" * 40 + ":" + "a" * 32, "1:" + "'" * 32])
def test_a_false_cursor_is_refused(store, cursor):
    with pytest.raises(QueryError):
        store.list(ALL, after=cursor)


def test_undoing_an_import_leaves_nothing_of_it_and_all_else(state_db, store):
    deliver(state_db, match(0, import_id="i1"), match(1, HOUR * 30, import_id="i1"))
    deliver(state_db, match(2, excepted_by="x", import_id="i1"), match(3))
    deliver(state_db, match(4, HOUR * 15, import_id="i1"))
    name = store.list(ALL, AlertFilters(import_id="i1")).alerts[0].id
    store.assign(ALL, name, "lan", actor="lan", now=BASE)
    with state_db.write() as connection:
        assert store.delete_import(connection, "i1") == 1
        assert store.delete_import(connection, "i1") == 0
        with pytest.raises(InputRefused):
            store.delete_import(connection, "")
    assert only(store).import_id == ""
    counted = {t.name: rows(state_db, t) for t in (ALERTS, MATCHES, EVIDENCE, HISTORY, FORMER, EXCEPTED)}
    assert counted == {
        "alerts": 1, "alert_matches": 1, "alert_evidence": 1, "alert_history": 0, "alert_former_ids": 0, "excepted_matches": 0}
    deliver(state_db, match(0, import_id="i1"))
    assert store.count(ALL) == 2


def test_counts_by_state_and_by_level_of_what_is_open(state_db, store):
    deliver(state_db, match(0), match(1, entity="pc2"), match(2, entity="pc3", level="low"))
    (low,) = store.list(ALL, AlertFilters(level=["low"])).alerts
    store.close(ALL, low.id, disposition="benign", reason="x", actor="lan", now=BASE)
    counts = store.counts(ALL)
    assert counts["level"] == {"high": 2}
    assert (counts["state"]["new"], counts["state"]["closed"], counts["state"]["waiting"]) == (2, 1, 0)


def test_counts_over_time_are_by_level_and_of_the_spans_that_were_asked_for(state_db, store):
    deliver(state_db, match(0), match(1, HOUR + 1, entity="pc2"), match(2, HOUR * 2 - 1, entity="pc3", level="low"), match(3, HOUR * 4, entity="pc4"))
    first = store.list(ALL, AlertFilters(entity="pc2")).alerts[0].first_seen - HOUR - 1
    assert store.over_time(ALL, first, HOUR, 3) == [{"high": 1}, {"high": 1, "low": 1}, {}]
    assert store.over_time(ALL, first - HOUR, HOUR, 2) == [{}, {"high": 1}]
    assert store.over_time(ALL, first, HOUR, 3, ["demonstration"]) == [{}, {}, {}]
    assert store.over_time(Scope.of(["nobody"]), first, HOUR, 3) == [{}, {}, {}]


def test_a_failed_transaction_takes_its_alerts_back(state_db, store):
    def fail_after_delivery():
        with state_db.write() as connection:
            AlertPipeline().deliver(connection, [match(0)], BASE)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_delivery()
    assert store.count(ALL) == 0
    deliver(state_db, match(0))
    assert only(store).count == 1
