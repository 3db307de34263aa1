"""Correlations in the state database: the same on both dialects; bounded in a storm, forgotten in time."""
from __future__ import annotations

import random
import time

import pytest
from sqlalchemy import func, select

from alerts.store import AlertStore
from soc.detect.correlation import rows
from soc.detect.correlation.correlator import LATENESS
from soc.detect.correlation.windows import capacity
from soc.event import Scope
from tests.correlation_rules import BASE, MINUTE, alerts_of, base_match, batches, correlation, correlator, ids, rule_set

ALL = Scope.everything()
COUNT = correlation("many", "type: event_count\nrules: [a]\ngroup-by: [user]\ntimespan: 10m\ncondition: {gte: 3}")
SET = rule_set(COUNT)


def deliver(db, judge, matches, now=BASE):
    with db.write() as connection:
        judge.deliver(connection, matches, now)


def found(db, rules=SET):
    with db.read() as connection:
        return alerts_of(connection, ids(rules))


def size(db, table):
    with db.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def some(rules, *times, start=0, **fields):
    return [base_match(ids(rules)["a"], start + n, at * MINUTE, **({"user": "an"} | fields)) for n, at in enumerate(times)]


def test_several_detectors_and_any_order_come_to_the_same_alerts(state_db):
    matches = [*some(SET, *range(0, 40, 3)), *some(SET, 1, 2, 9, start=100, user="binh")]
    random.Random(7).shuffle(matches)
    judges = [correlator(SET), correlator(SET)]
    for number, batch in enumerate(batches(matches, [1, 4, 2])):
        deliver(state_db, judges[number % 2], batch)
    assert found(state_db) == {("many", "north", "an", 6 * MINUTE, 39 * MINUTE, 12), ("many", "north", "binh", 9 * MINUTE, 9 * MINUTE, 1)}


def test_an_alert_shows_the_events_of_the_window(state_db):
    deliver(state_db, correlator(SET), some(SET, 0, 1))
    deliver(state_db, correlator(SET), some(SET, 2, start=2))
    store = AlertStore(state_db)
    (alert,) = store.list(ALL).alerts
    (evidence,) = store.evidence(ALL, alert.id)
    assert evidence.event["@timestamp"] == BASE + 2 * MINUTE
    assert [event["@timestamp"] for event in evidence.related] == [BASE, BASE + MINUTE]
    assert [(atom.field, atom.test, atom.literal) for atom in evidence.atoms] == [
        ("correlation", "event_count", "gte 3 in 600 s"), ("user", "group-by", "an")]


def test_a_chain_shows_the_events_below(state_db):
    rules = rule_set(COUNT, correlation("then", "type: temporal_ordered\nrules: [many, b]\ngroup-by: [user]\ntimespan: 1h"))
    deliver(state_db, correlator(rules), some(rules, 0, 1, 2))
    deliver(state_db, correlator(rules), [base_match(ids(rules)["b"], 9, 30 * MINUTE, user="an")])
    store = AlertStore(state_db)
    (alert,) = store.list(ALL).alerts
    (evidence,) = store.evidence(ALL, alert.id)
    assert [event["@timestamp"] - BASE for event in evidence.related] == [0, MINUTE, 2 * MINUTE]


def test_agencies_origins_and_imports_never_mix(state_db):
    mixed = [*some(SET, 0), *some(SET, 1, start=1, agency="south"), *some(SET, 2, start=2, import_id="i1"), *some(SET, 3, start=3)]
    deliver(state_db, correlator(SET), mixed)
    assert found(state_db) == set()


def test_a_province_wide_match_belongs_to_the_common_ancestor(state_db):
    rules = rule_set(correlation(
        "many", "type: event_count\nrules: [a]\ngroup-by: [user]\ntimespan: 10m\ncondition: {gte: 2}", "custom: {soc_province: true}\n"))
    deliver(state_db, correlator(rules), some(rules, 0, 1))
    assert found(state_db, rules) == {("many", "north", "an", MINUTE, MINUTE, 1)}
    deliver(state_db, correlator(rules), some(rules, 0.5, start=5, agency="south"))
    assert found(state_db, rules) == {("many", "province", "an", MINUTE // 2, MINUTE, 2)}


def test_a_touched_alert_keeps_what_later_events_undo(state_db):
    rules = rule_set(correlation("few", "type: event_count\nrules: [a]\ngroup-by: [user]\ntimespan: 10m\ncondition: {lt: 2}"))
    deliver(state_db, correlator(rules), [*some(rules, 5), *some(rules, 5, start=1, user="binh")])
    store = AlertStore(state_db)
    mine = next(alert for alert in store.list(ALL).alerts if alert.entity == "an")
    store.comment(ALL, mine.id, "seen", actor="t", now=BASE)
    deliver(state_db, correlator(rules), [*some(rules, 4, start=2), *some(rules, 4, start=3, user="binh")])
    assert {(entity, first) for _, _, entity, first, _, _ in found(state_db, rules)} == {
        ("an", 5 * MINUTE), ("an", 4 * MINUTE), ("binh", 4 * MINUTE)}


def test_a_storm_in_one_group_is_bounded_and_counted(state_db):
    """F76: 100,000 events of one group in a minute."""
    judge, rule = correlator(SET), ids(SET)["a"]
    begin = time.process_time()
    longest = 0.0
    for part in range(20):
        started = time.process_time()
        deliver(state_db, judge, [base_match(rule, n, n * 600, user="an") for n in range(part * 5000, (part + 1) * 5000)])
        longest = max(longest, time.process_time() - started)
    spent = time.process_time() - begin
    assert found(state_db) == {("many", "north", "an", 2 * 600, 99_999 * 600, 99_998)}
    most = 2 * capacity(SET.correlations[0].spec)
    assert size(state_db, rows.ROWS) == size(state_db, rows.EVENTS) == most
    with state_db.read() as connection:
        usage = rows.usage(connection, SET.correlations[0].state)
    assert (usage.groups, usage.rows, usage.rows + usage.dropped) == (1, most, 100_000)
    assert spent < 60, (spent, longest)
    deliver(state_db, judge, [base_match(rule, 200_000, 30_000_001, user="an")])
    assert found(state_db) == {("many", "north", "an", 2 * 600, 99_999 * 600, 99_999)}


def test_rows_go_when_no_late_event_can_need_them_and_not_before(state_db):
    judge = correlator(SET)
    deliver(state_db, judge, some(SET, 0, 1))
    deliver(state_db, judge, some(SET, 0, start=50, user="binh"), now=BASE + LATENESS)
    assert size(state_db, rows.ROWS) == 3
    deliver(state_db, correlator(SET), some(SET, 2, start=2), now=BASE + LATENESS + 9 * MINUTE)
    assert found(state_db) == {("many", "north", "an", 2 * MINUTE, 2 * MINUTE, 1)}
    deliver(state_db, correlator(SET), some(SET, 0, start=60, user="chi"), now=BASE + 2 * LATENESS + 30 * MINUTE)
    assert size(state_db, rows.ROWS) == size(state_db, rows.EVENTS) == 1


def test_old_events_of_a_long_import_stay_by_their_arrival(state_db):
    years = -3 * 365 * 24 * 60
    for part, at in enumerate((0, 1, 2)):
        deliver(state_db, correlator(SET), some(SET, years + at, start=part, import_id="i1"), now=BASE + part * LATENESS // 3)
    assert len(found(state_db)) == 1


def test_an_undone_import_leaves_nothing(state_db):
    deliver(state_db, correlator(SET), [*some(SET, 0, 1, import_id="i1"), *some(SET, 0, start=9)])
    with state_db.write() as connection:
        AlertStore(state_db).delete_import(connection, "i1")
    assert size(state_db, rows.ROWS) == size(state_db, rows.EVENTS) == 1


@pytest.mark.parametrize("text", ["a\x00b", "half \ud800", "Đăng nhập", "x" * 5000])
def test_strange_group_values_are_groups_like_others(state_db, text):
    deliver(state_db, correlator(SET), some(SET, 0, 1, user=text))
    deliver(state_db, correlator(SET), some(SET, 2, start=2, user=text))
    assert len(found(state_db)) == 1


def test_nothing_is_read_or_written_without_a_correlation(state_db):
    rules = rule_set()
    deliver(state_db, correlator(rules), some(rules, 0, 1))
    assert size(state_db, rows.ROWS) == 0
    assert {alert[0] for alert in found(state_db, rules)} == {"a"}
