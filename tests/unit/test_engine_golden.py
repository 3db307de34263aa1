"""Every golden case of a rule's meaning, through the engine and through the plain reference."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from soc.detect.compiled import CompiledRule
from soc.detect.engine import Engine
from soc.detect.engine.reference import matches
from soc.detect.rules import read_rules
from soc.event import Event
from soc.store.columns import batch_of, events_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "sigma"
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(GOLDEN.glob("*.yml")) for case in yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)]


def rule_text(case: dict[str, Any]) -> str:
    detection = case.get("detection") or f"\n  s:\n    {case['s']}\n  condition: s"
    source = case.get("logsource", {"category": "golden"})
    return f"title: golden\nlogsource: {source}\nlevel: low\ndetection: {detection}\n"


def event_of_case(fields: dict[str, Any]) -> Event:
    event = {name: value for name, value in fields.items() if value is not None}
    nulls = [name for name, value in fields.items() if value is None]
    return event | ({"soc.null_fields": nulls} if nulls else {})


def compiled(case: dict[str, Any]) -> CompiledRule:
    rules, faults, _ = read_rules("golden.yml", rule_text(case).encode())
    assert not faults, faults
    assert rules[0].rule is not None, rules[0].off
    return rules[0].rule


@pytest.mark.parametrize("case", CASES)
def test_case(case):
    if "refused" in case:
        rules, faults, _ = read_rules("golden.yml", rule_text(case).encode())
        reason = str(faults[0]) if faults else rules[0].off
        assert case["refused"].lower() in reason.lower()
        assert all(rule.rule is None for rule in rules)
        return
    rule = compiled(case)
    events = [event_of_case(fields) for fields in (*case.get("yes", ()), *case.get("no", ()))]
    expected = set(range(len(case.get("yes", ()))))
    assert {at for at, event in enumerate(events) if matches(rule, event)} == expected
    engine = Engine([rule], ignore_logsource=True)
    assert {hit.row for hit in engine.match(batch_of(events))} == expected
    for at, event in enumerate(events):
        assert bool(engine.match(batch_of([event]))) == (at in expected)
    spilled = batch_of(events, max_columns=0)
    assert {hit.row for hit in engine.match(spilled)} == expected, list(events_of(spilled))


def test_there_are_at_least_ninety_cases():
    assert len(CASES) >= 90
