"""Which events meet which rules, what a hit says, and what the engine costs: no Python per event, bounded memory."""
from __future__ import annotations

import subprocess
import sys

import pytest

from soc.detect.compiled import AtomSpec, CompiledRule, Detection, LogSource
from soc.detect.engine import Engine
from soc.detect.match import Atom
from soc.detect.rules import compile_text
from soc.store.columns import batch_of


def compiled(detection: str, source: str = "category: x", rule_id: str = "00000000-0000-4000-8000-000000000000") -> CompiledRule:
    return compile_text(f"title: t\nid: {rule_id}\nlogsource: {{{source}}}\ndetection: {detection}\n")


@pytest.mark.parametrize("source, triples, meets", [
    (("windows", "", ""), "windows//security", True),
    (("windows", "", ""), "windows/process_creation/ windows//sysmon", True),
    (("windows", "", ""), "linux//sshd", False),
    (("windows", "", ""), "", False),
    (("windows", "process_creation", ""), "windows/process_creation/ windows//sysmon", True),
    (("windows", "process_creation", ""), "linux/process_creation/ windows//sysmon", False),
    (("", "process_creation", ""), "linux/process_creation/ linux//auditd", True),
    (("windows", "process_creation", "sysmon"), "windows/process_creation/ windows//sysmon", True),
    (("windows", "process_creation", "security"), "windows/process_creation/ windows//sysmon", False),
    (("windows", "registry_event", ""), "windows/registry_event/ windows/registry_set/ windows//sysmon", True),
    (("windows", "", "security"), "windows//system", False),
    (("", "webserver", ""), "nginx/webserver/nginx", True),
    (("", "", "apache"), "apache/webserver/apache", True),
    (("", "", ""), "windows//security", False),
    (("windows", "", ""), "windows windows/x", False),
])
def test_log_sources(source, triples, meets):
    assert LogSource(*source).matches(triples) == meets
    rule = CompiledRule("r", "1", "t", "low", (), LogSource(*source), Detection([AtomSpec("f", "is", "x")], 0).pack())
    assert bool(Engine([rule]).match(batch_of([{"f": "x", "soc.log_sources": triples}]))) == meets


def test_events_without_log_sources_meet_no_rule():
    assert not Engine([compiled("{a: {f: x}, condition: a}")]).match(batch_of([{"f": "x"}]))


def test_a_hit_names_the_tests_that_speak_for_it():
    rule = compiled("{a: {f|contains: [one, two], g: null}, b: {h: x}, n: {i: y}, condition: (a or b) and not n}")
    hits = Engine([rule], ignore_logsource=True).match(batch_of([{"f": "xonex"}, {"h": "X"}, {"f": "zero"}, {"h": "x", "i": "y"}]))
    assert [(hit.row, set(hit.atoms)) for hit in hits] == [
        (0, {Atom("f", "contains", "one"), Atom("g", "null", "")}), (1, {Atom("h", "is", "x")})]


def test_hits_come_by_row_then_by_rule():
    rules = [compiled("{a: {f: x}, condition: a}", rule_id=f"00000000-0000-4000-8000-00000000000{n}") for n in range(3)]
    hits = Engine(rules, ignore_logsource=True).match(batch_of([{"f": "x"}, {"f": "y"}, {"f": "X"}]))
    assert [(hit.row, hit.rule_id[-1]) for hit in hits] == [(row, str(n)) for row in (0, 2) for n in range(3)]


def test_no_python_runs_per_event_where_nothing_matches():
    rules = [compiled("{a: {f|contains: needle, g: 1}, b: {h|re: 'x+'}, k: [word], condition: a or b or k}")]
    events = [{"f": f"value {n % 50}", "g": str(n % 3), "h": "abc", "l": ["a", str(n % 7)], "soc.log_sources": "/x/"} for n in range(200)]
    engine = Engine(rules)
    small, large = batch_of(events), batch_of(events * 50)
    engine.match(small)

    def calls(batch) -> int:
        count = 0

        def trace(_frame, event, _argument):
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(trace)
        try:
            assert not engine.match(batch)
        finally:
            sys.setprofile(None)
        return count

    assert calls(large) <= calls(small) * 1.2


def test_what_it_remembers_is_bounded():
    engine = Engine([compiled("{a: {f|contains: needle}, condition: a}")], ignore_logsource=True, memory=200_000)
    for turn in range(20):
        engine.match(batch_of([{"f": f"{turn} {n} " + "x" * 300} for n in range(500)]))
        assert engine.remembered < 450_000


def test_rows_beyond_one_piece_keep_their_number():
    engine = Engine([compiled("{a: {f: x}, condition: a}")], ignore_logsource=True)
    events = [{"f": "y"}] * 70_000
    events[69_999] = {"f": "x"}
    assert [hit.row for hit in engine.match(batch_of(events))] == [69_999]


def test_rules_of_another_format_are_refused_when_they_are_met():
    broken = CompiledRule("r", "1", "t", "low", (), LogSource("x"), Detection([AtomSpec("f", "is", "x")], 0, 99).pack())
    engine = Engine([broken])
    with pytest.raises(ValueError, match="format 99"):
        engine.match(batch_of([{"f": "x", "soc.log_sources": "x//"}]))


def test_the_engine_needs_no_pysigma():
    code = "import sys, soc.detect.engine, soc.detect.rulestore; sys.exit(any(name.split('.')[0] == 'sigma' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_change_of_a_rule_costs_only_the_kinds_of_events_that_meet_it():
    rules = [compiled("{a: {f: x}, condition: a}", "category: one", "00000000-0000-4000-8000-000000000001"),
             compiled("{a: {f: x}, condition: a}", "category: two", "00000000-0000-4000-8000-000000000002")]
    batch = batch_of([{"f": "x", "soc.log_sources": "p/one/"}, {"f": "x", "soc.log_sources": "p/two/"}])
    before = Engine(rules)
    assert len(before.match(batch)) == 2
    one, two = before.kind_of("p/one/", None), before.kind_of("p/two/", None)
    edited = compiled("{a: {f: y}, condition: a}", "category: two", "00000000-0000-4000-8000-000000000002")
    after = Engine([rules[0], edited], previous=before)
    assert after.remembered > 0
    assert [hit.row for hit in after.match(batch)] == [0]
    assert after.kind_of("p/one/", None) is one
    assert after.kind_of("p/two/", None) is not two
    assert len(before.match(batch)) == 2
