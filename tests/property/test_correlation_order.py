"""What correlations raise is a function of the base matches alone: not of order, batches, restarts or redelivery.

The windows are told by a second, plain reading of the specification: every pair of events compared, nothing remembered.
"""
from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.sessions import GAP
from soc.detect.assembly import RuleSet
from soc.detect.match import Match
from tests.correlation_rules import BASE, MINUTE, alerts_of, base_match, batches, correlation, correlator, ids, memory_state, rule_set

SPAN = 10 * MINUTE
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda a, b: a > b, "gte": lambda a, b: a >= b, "lt": lambda a, b: a < b, "lte": lambda a, b: a <= b,
    "eq": lambda a, b: a == b, "neq": lambda a, b: a != b}

Window = Sequence[tuple[str, int, int, str]]
"""(rule, time, value, event id) of the rows in a window, the value 0 to 9."""


def ordered(window: Window, names: Sequence[str]) -> bool:
    """Whether events of these rules occur in this order (one instant counts as in order)."""
    time = -1
    for name in names:
        later = [row[1] for row in window if row[0] == name and row[1] >= time]
        if not later:
            return False
        time = min(later)
    return True


def longest(window: Window) -> int:
    return max(size for size in range(4) for some in combinations("abc", size) if ordered(window, some))


def values(window: Window) -> list[int]:
    return sorted(row[2] for row in window)


def percentile(window: Window, of: int) -> int:
    found = values(window)
    return next(value for value in found if 100 * sum(other <= value for other in found) >= of * len(found))


def names(window: Window) -> set[str]:
    return {row[0] for row in window}


NUMBERED: dict[str, tuple[str, str, Callable[[Window], Any]]] = {
    "event_count": ("[a, b]", "", lambda w: len({row[3] for row in w})),
    "value_count": ("[a, b]", "field: n, ", lambda w: len(set(values(w)))),
    "value_sum": ("[a, b]", "field: n, ", lambda w: sum(values(w))),
    "value_avg": ("[a, b]", "field: n, ", lambda w: sum(values(w)) / len(w)),
    "value_median": ("[a, b]", "field: n, ", lambda w: statistics.median(values(w))),
    "value_percentile": ("[a, b]", "field: n, percentile: 70, ", lambda w: percentile(w, 70)),
    "temporal": ("[a, b, c]", "", lambda w: len(names(w))),
    "temporal_ordered": ("[a, b, c]", "", longest),
}
EXPRESSIONS: dict[tuple[str, str], Callable[[Window], bool]] = {
    ("temporal", "a and (b or c)"): lambda w: "a" in names(w) and bool({"b", "c"} & names(w)),
    ("temporal", "a and b and not c"): lambda w: {"a", "b"} <= names(w) and "c" not in names(w),
    ("temporal_ordered", "(a or b) and c"): lambda w: ordered(w, "ac") or ordered(w, "bc"),
    ("temporal_ordered", "a and c and not b"): lambda w: ordered(w, "ac") and "b" not in names(w),
}


@st.composite
def asked(draw: st.DrawFn) -> tuple[str, str, Callable[[Window], bool]]:
    """A correlation's rules, its document's body, and when a window satisfies it."""
    if draw(st.integers(0, 3)) == 0:
        (kind, text), expression = draw(st.sampled_from(sorted(EXPRESSIONS.items())))
        return "abc", f"type: {kind}\nrules: [a, b, c]\ngroup-by: [user]\ntimespan: 10m\ncondition: {text}", expression
    kind = draw(st.sampled_from(sorted(NUMBERED)))
    rules, field, measure = NUMBERED[kind]
    op = draw(st.sampled_from(sorted(COMPARE)))
    count = draw(st.integers(1, 2) if kind.startswith("temporal") else st.integers(1, 8))
    body = f"type: {kind}\nrules: {rules}\ngroup-by: [user]\ntimespan: 10m\ncondition: {{{field}{op}: {count}}}"
    return rules, body, lambda window: COMPARE[op](measure(window), count)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[str, int, int, str, str]], list[int], list[int], list[int]]:
    """Base matches as (rule, minute, value, user, agency), an order of arrival, batch sizes, and what comes again."""
    rows = draw(st.lists(st.tuples(
        st.sampled_from("aabbc"), st.one_of(st.integers(0, 25), st.sampled_from([1500, 1505, 10_000])), st.integers(0, 9),
        st.sampled_from(["an", "an", "binh"]), st.sampled_from(["north", "south"])), min_size=1, max_size=22))
    order = draw(st.permutations(range(len(rows))))
    return rows, list(order), draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)), draw(st.lists(st.sampled_from(range(len(rows))), max_size=4))


def sessions(title: str, matches: set[tuple[str, str, int, str]]) -> set[tuple[Any, ...]]:
    """Alerts as they should be, of (agency, entity, time, event id)."""
    found: set[tuple[Any, ...]] = set()
    for agency, entity in {m[:2] for m in matches}:
        times = sorted(m[2] for m in matches if m[:2] == (agency, entity))
        runs: list[list[int]] = []
        for time in times:
            if runs and time - runs[-1][-1] <= GAP:
                runs[-1].append(time)
            else:
                runs.append([time])
        found |= {(title, agency, entity, run[0], run[-1], len(run)) for run in runs}
    return found


def arrive(rules: RuleSet, matches: Sequence[Match], order: Sequence[int], sizes: Sequence[int], again: Sequence[int],
           restart: bool) -> set[tuple[Any, ...]]:
    with memory_state() as connection:
        judge = correlator(rules)
        for batch in [*batches([matches[at] for at in order], sizes), [matches[at] for at in again]]:
            if restart:
                judge = correlator(rules)
            judge.deliver(connection, batch, BASE)
        return alerts_of(connection, ids(rules))


@pytest.mark.parametrize("province", [False, True])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=asked(), history=histories())
def test_the_alerts_are_those_of_the_plain_reading_however_matches_arrive(province, asked, history) -> None:
    members, body, holds = asked
    rows, order, sizes, again = history
    rules = rule_set(correlation("it", body, "custom: {soc_province: true}\n" if province else ""))
    known = ids(rules)
    matches = [base_match(known[rule], number, minute * MINUTE, agency, user=user, n=value)
               for number, (rule, minute, value, user, agency) in enumerate(rows)]
    wanted: set[tuple[str, str, int, str]] = set()
    plain = [(rule, minute * MINUTE, value, user, agency, matches[at].event_id)
             for at, (rule, minute, value, user, agency) in enumerate(rows) if rule in members]
    for _, time, _, user, agency, event in plain:
        inside = [row for row in plain if time - SPAN < row[1] <= time and row[3] == user and (province or row[4] == agency)]
        if holds([(row[0], row[1], row[2], row[5]) for row in inside]):
            whose = {row[4] for row in inside}
            wanted.add((whose.pop() if len(whose) == 1 else "province", user, time, event))
    expected = sessions("it", wanted)
    for restart, arrival in ((False, order), (True, sorted(order))):
        found = arrive(rules, matches, arrival, sizes, again, restart)
        assert {alert for alert in found if alert[0] == "it"} == expected
        assert ("c" in {alert[0] for alert in found}) == ("c" not in members and any(row[0] == "c" for row in rows))
        assert {alert[0] for alert in found} <= {"it", "c"}


CHAIN = rule_set(
    correlation("many", "type: event_count\nrules: [a]\ngroup-by: [user, host]\ntimespan: 10m\ncondition: {gte: 2}"),
    correlation("quiet", "type: temporal\nrules: [a, b, c]\ngroup-by: [user]\ntimespan: 10m\ncondition: a and b and not c"),
    correlation("both", "type: temporal\nrules: [many, quiet]\ngroup-by: [user]\ntimespan: 30m"),
    correlation("after", "type: temporal_ordered\nrules: [many, b]\ngroup-by: [user]\ntimespan: 20m"),
    correlation("either", "type: event_count\nrules: [quiet, b]\ngroup-by: [user]\ntimespan: 10m\ncondition: {gte: 2}"))


@settings(max_examples=120, deadline=None)
@given(history=histories(), hosts=st.lists(st.sampled_from(["h1", "h2"]), min_size=22, max_size=22), other=st.randoms())
def test_correlations_of_correlations_do_not_depend_on_the_order(history, hosts, other) -> None:
    rows, order, sizes, again = history
    known = ids(CHAIN)
    matches = [base_match(known[rule], number, minute * MINUTE, "north", user=user, host=hosts[number])
               for number, (rule, minute, _, user, _) in enumerate(rows)]
    shuffled = list(order)
    other.shuffle(shuffled)
    first = arrive(CHAIN, matches, order, sizes, again, False)
    assert arrive(CHAIN, matches, shuffled, [len(rows)], [], True) == first
    assert arrive(CHAIN, matches, shuffled, [1], again, True) == first
    assert {alert[0] for alert in first} <= {"both", "after", "either"}


def test_an_event_that_stays_by_one_rule_is_not_taken_back_with_another() -> None:
    known = ids(CHAIN)
    rows = [("a", 0), ("b", 0), ("a", 9), ("c", 1)]  # "quiet" holds at minute 9 until "c" comes late; "many" holds there still
    matches = [base_match(known[rule], number, minute * MINUTE, user="an", host="h1") for number, (rule, minute) in enumerate(rows)]
    whole = arrive(CHAIN, matches, range(4), [4], [], False)
    assert ("both", "north", "an", 9 * MINUTE, 9 * MINUTE, 1) in whole
    assert arrive(CHAIN, matches, range(4), [1], [], False) == whole


def test_an_event_still_counts_by_one_rule_when_another_is_taken_back() -> None:
    known = ids(CHAIN)
    plain = [base_match(known[rule], number, minute * MINUTE, user="an", host="h1") for number, (rule, minute) in enumerate([("a", 0), ("b", 5)])]
    late = base_match(known["c"], 2, MINUTE, user="an", host="h1")
    again = [plain[0], replace(plain[0], rule_id=known["b"]), plain[1], late]  # the first event matches a and b
    whole = arrive(CHAIN, again, range(4), [4], [], False)
    assert ("either", "north", "an", 5 * MINUTE, 5 * MINUTE, 1) in whole
    assert arrive(CHAIN, again, range(4), [1], [], False) == whole
