"""The engine answers what the plain reference answers, for any rules, events and batches."""
from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.detect.compiled import AtomSpec, CompiledRule, Detection, LogSource
from soc.detect.engine import Engine
from soc.detect.engine.reference import is_routed, matches
from soc.store.columns import batch_of, events_of

ALPHABET = "aAbBßΣσςđĐ*?\\.%_\n-/1290 İ"
TEXT = st.text(ALPHABET, max_size=6)
FIELDS = ["f", "g", "h.i", "source.port"]
SOURCES = ["", "windows//security", "windows/process_creation/ windows//sysmon", "linux//sshd linux//syslog"]
LOGSOURCES = [
    LogSource("windows"), LogSource("windows", "process_creation"), LogSource("windows", "", "security"), LogSource("", "process_creation"),
    LogSource("linux", "", "sshd"), LogSource("windows", "process_creation", "sysmon"), LogSource("windows", "", "sshd")]

ATOMS = st.one_of(
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.sampled_from(["is", "contains", "startswith", "endswith"]),
              st.text(ALPHABET, min_size=1, max_size=3), st.booleans()),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.just("is"), TEXT, st.booleans()),
    st.builds(AtomSpec, st.sampled_from([*FIELDS, ""]), st.just("like"),
              st.lists(st.sampled_from(["*", "?", "a", "B", "σ", "\\*", "\\\\", "\\?"]), max_size=5).map("".join), st.booleans()),
    st.builds(AtomSpec, st.just(""), st.just("contains"), st.text(ALPHABET, min_size=1, max_size=2)),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.sampled_from(["null", "exists", "any"]), st.just("")),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.sampled_from(["lt", "lte", "gt", "gte"]), st.sampled_from(["1", "-2", "9.5", "12"])),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.just("re"), st.sampled_from(["a+", "^b", "1$", "(?i)a.b", "(?s)a.b", "[0-9]{2}"])),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.just("cidr"), st.sampled_from(["10.0.0.0/9", "::/64"])),
    st.builds(AtomSpec, st.sampled_from(FIELDS), st.sampled_from(["fieldref", "fieldref startswith", "fieldref endswith"]),
              st.sampled_from(FIELDS)),
)


def trees(size: int) -> st.SearchStrategy[Any]:
    leaves = st.integers(0, size - 1)
    return st.recursive(leaves, lambda inner: st.one_of(
        inner.map(lambda one: ["!", one]),
        st.tuples(st.sampled_from("&|"), st.lists(inner, min_size=2, max_size=4)).map(lambda pair: [pair[0], *pair[1]])), max_leaves=8)


@st.composite
def rules(draw: Any) -> list[CompiledRule]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        atoms = draw(st.lists(ATOMS, min_size=1, max_size=5, unique=True))
        detection = Detection(atoms, draw(trees(len(atoms))))
        found.append(CompiledRule(f"rule-{number}", "1", "t", "low", (), draw(st.sampled_from(LOGSOURCES)), detection.pack()))
    return found


VALUES = st.one_of(TEXT, st.sampled_from(["10.1.2.3", "10.200.0.1", "::1", "12", "9.5", "-3"]), st.lists(TEXT, max_size=3))
EVENTS = st.lists(st.builds(
    lambda values, port, source, nulls, raw: values
    | ({"source.port": port} if port is not None else {}) | {"soc.log_sources": source, "event.original": raw}
    | ({"soc.null_fields": nulls} if nulls else {}),
    st.dictionaries(st.sampled_from(["f", "g", "h.i", "other"]), VALUES, max_size=4), st.none() | st.integers(-5, 20),
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
