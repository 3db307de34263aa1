"""The engine answers what the plain reference answers, for any rules, events and batches."""
from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.detect.compiled import KEYWORD_TESTS, TESTS, AtomSpec, CompiledRule, Detection, LogSource
from soc.detect.engine import Engine
from soc.detect.engine.engine import MEMORY
from soc.detect.engine.reference import is_routed, matches
from soc.store.columns import batch_of, events_of

ALPHABET = "aAbBßẞΣσςđĐậẬơƠﬁ\u0309\u0302*?\\.%_\n-/1290 İıſK"
"""Letters whose case is more than one step away: Vietnamese composed and not, Greek's two small sigmas, Turkish, a ligature, the kelvin sign."""
TEXT = st.text(ALPHABET, max_size=6)
FIELDS = ["f", "g", "h.i", "source.port", "message.folded"]
SOURCES = ["", "windows//security", "windows/process_creation/ windows//sysmon", "linux//sshd linux//syslog"]
LOGSOURCES = [
    LogSource("windows"), LogSource("windows", "process_creation"), LogSource("windows", "", "security"), LogSource("", "process_creation"),
    LogSource("linux", "", "sshd"), LogSource("windows", "process_creation", "sysmon"), LogSource("windows", "", "sshd")]

NUMBERS = ["1", "-2", "9.5", "12", "1e1", "9007199254740993", "0.1"]
NETWORKS = ["10.0.0.0/9", "172.16.0.0/12", "192.168.1.7/32", "0.0.0.0/0", "::/64", "fe80::/10", "::1/128"]
TIMES = ["2026-11-25T03:59:59Z", "2026-11-25 22:00", "2026-12-31", "2027-01-03T00:00:00.5+07:00", "1764039600", "1764102600000000", "2026-02-30",
         "2026-11-25T24:00:00Z"]
PARTS = {"minute": 59, "hour": 22, "day": 25, "week": 53, "month": 12, "year": 2026}
LIKE = st.lists(st.sampled_from(["*", "?", "a", "B", "σ", "ß", "Ậ", "\\*", "\\\\", "\\?"]), max_size=5).map("".join)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join), st.lists(inner, min_size=2, max_size=3).map(lambda some: f"(?:{'|'.join(some)})"),
        st.tuples(inner, st.sampled_from("*+?")).map(lambda pair: f"({pair[0]}){pair[1]}"), inner.map(lambda one: f"(?:{one}){{1,2}}"))


LEAVES = ["a", "B", "1", "đ", "Ậ", "σ", ".", "[ab]", "[^a]", "[0-9]", r"\d", r"\w", r"\s", r"\.", r"\b", "^", "$", "9", "ab"]
REGEX = st.one_of(
    st.tuples(st.sampled_from(["", "", "(?i)", "(?s)", "(?m)", "(?im)"]), st.recursive(st.sampled_from(LEAVES), grown, max_leaves=5)).map("".join),
    st.sampled_from([".{3}", "(?s)(.){3,}", ".{2,}"]))

PLAIN = st.text(ALPHABET, min_size=1, max_size=3)
LITERALS: dict[str, st.SearchStrategy[str]] = (
    {"is": TEXT, "contains": PLAIN, "startswith": PLAIN, "endswith": PLAIN, "like": LIKE, "re": REGEX, "cidr": st.sampled_from(NETWORKS)}
    | dict.fromkeys(["any", "null", "exists"], st.just("")) | dict.fromkeys(["lt", "lte", "gt", "gte"], st.sampled_from(NUMBERS))
    | {f"fieldref{where}": st.sampled_from(FIELDS) for where in ("", " contains", " startswith", " endswith")}
    | {f"{part}{compared}": st.just(str(number)) for part, number in PARTS.items() for compared in ("", " lt", " lte", " gt", " gte")})
TEXT_TESTS = ["is", "contains", "startswith", "endswith", "like"]


@st.composite
def asked_of_values(draw: Any) -> AtomSpec:
    test = draw(st.one_of(st.sampled_from(TEXT_TESTS), st.sampled_from(sorted(LITERALS))))
    field = draw(st.sampled_from([*FIELDS, ""] if test in KEYWORD_TESTS else FIELDS))
    return AtomSpec(field, test, draw(LITERALS[test]), draw(st.booleans()) if test in TEXT_TESTS else False)


def test_every_test_that_there_is_takes_part():
    assert LITERALS.keys() == TESTS


def trees(size: int) -> st.SearchStrategy[Any]:
    leaves = st.integers(0, size - 1)
    return st.recursive(leaves, lambda inner: st.one_of(
        inner.map(lambda one: ["!", one]),
        st.tuples(st.sampled_from("&|"), st.lists(inner, min_size=2, max_size=4)).map(lambda pair: [pair[0], *pair[1]])), max_leaves=8)


@st.composite
def rules(draw: Any) -> list[CompiledRule]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        atoms = draw(st.lists(asked_of_values(), min_size=1, max_size=5, unique=True))
        detection = Detection(atoms, draw(trees(len(atoms))))
        found.append(CompiledRule(f"rule-{number}", "1", "t", "low", (), draw(st.sampled_from(LOGSOURCES)), detection.pack()))
    return found


SAID = ["10.1.2.3", "10.200.0.1", "::ffff:10.1.2.3", "0:0:0:0:0:0:0:1", "fe80::1%eth0", "FE80::1", "10.1.2", "010.1.2.3", "192.168.1.7 ",
        "12", "9.5", "9.50", "-3", "9007199254740992", "0.10000000000000001", "1e400", "10.", ".1", "+1", "1_0", "nan", *TIMES]
ONE = st.one_of(TEXT, TEXT, st.sampled_from(SAID))
VALUES = st.one_of(ONE, ONE, st.lists(ONE, max_size=3))
EVENTS = st.lists(st.builds(
    lambda values, port, source, nulls, raw: values
    | ({"source.port": port} if port is not None else {}) | {"soc.log_sources": source, "event.original": raw}
    | ({"soc.null_fields": nulls} if nulls else {}),
    st.dictionaries(st.sampled_from(["f", "g", "h.i", "other", "message", "message.folded"]), VALUES, max_size=4), st.none() | st.integers(-5, 20),
    st.sampled_from(SOURCES), st.lists(st.sampled_from(["f", "g"]), max_size=2), TEXT), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(rules(), st.lists(EVENTS, min_size=1, max_size=3), st.sampled_from([0, 2, 400]))
def test_engine_equals_reference(found, batches, columns):
    engine = Engine(found)
    for events in batches:
        batch = batch_of(events, max_columns=columns)
        expected = {(rule.rule_id, row) for rule in found for row, event in enumerate(events_of(batch))
                    if is_routed(rule, event) and matches(rule, event)}
        assert {(hit.rule_id, hit.row) for hit in engine.match(batch)} == expected
        assert {(hit.rule_id, hit.row) for hit in engine.match(batch)} == expected  # from what it remembers


@settings(max_examples=40, deadline=None)
@given(rules(), EVENTS, st.integers(0, 8))
def test_how_events_are_cut_into_batches_changes_nothing(found, events, cut):
    parts = [batch_of(part) for part in (events[:cut], events[cut:]) if part]
    schema = pa.unify_schemas([part.schema for part in parts])
    table = pa.concat_tables([pa.Table.from_batches([part]) for part in parts], promote_options="default")
    assert table.schema.names == schema.names
    whole = Engine(found).match(batch_of(events))
    assert Engine(found).match(table) == whole
    assert Engine(found, memory=0).match(table) == whole


@settings(max_examples=40, deadline=None)
@given(rules(), EVENTS)
def test_ignoring_log_sources_meets_every_rule(found, events):
    expected = {(rule.rule_id, row) for rule in found for row, event in enumerate(events) if matches(rule, event)}
    assert {(hit.rule_id, hit.row) for hit in Engine(found, ignore_logsource=True).match(batch_of(events))} == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(rules(), st.sets(st.integers(0, 3))), min_size=2, max_size=5), EVENTS, st.sampled_from([0, 4_000, MEMORY]))
def test_an_engine_that_follows_another_answers_as_a_new_one(sets, events, memory):
    """Whatever is added, edited, removed or kept (by number) from one set of rules to the next, and the one before still answers."""
    batch = batch_of(events)
    engine: Engine | None = None
    before: list[CompiledRule] = []
    for found, kept in sets:
        stay = [rule for rule in before if rule.rule_id in {f"rule-{number}" for number in kept}]
        now = [*stay, *(rule for rule in found if rule.rule_id not in {one.rule_id for one in stay})]
        older, engine = engine, Engine(now, previous=engine, memory=memory)
        expected = Engine(now).match(batch)
        assert engine.match(batch) == expected
        if older is not None:
            assert older.match(batch) == Engine(before).match(batch)
        assert engine.match(batch) == expected
        before = now
