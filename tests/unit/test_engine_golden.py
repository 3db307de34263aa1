"""Every golden case of a rule's meaning, through the engine and through the plain reference."""
from __future__ import annotations

import json
from typing import Any

import pytest

from soc.detect.compiled import CompiledRule
from soc.detect.engine import Engine
from soc.detect.engine.reference import is_routed, matches
from soc.detect.rules import read_rules
from soc.event import FrameContext
from soc.normalise.records import Parsers
from soc.store.columns import batch_of, events_of
from tests.sigma_cases import ROUTED, cases, event_of, numbers, records, rule_text

PLAIN = [pytest.param(case, id=f"{theme}: {case['name']}") for theme, case in cases() if theme != ROUTED]
BY_SOURCE = [pytest.param(case, id=case["name"]) for theme, case in cases() if theme == ROUTED]


def compiled(case: dict[str, Any]) -> CompiledRule:
    rules, faults, _ = read_rules("golden.yml", rule_text(case).encode())
    assert not faults, faults
    assert rules[0].rule is not None, rules[0].off
    return rules[0].rule


@pytest.mark.parametrize("case", PLAIN)
def test_case(case):
    if "refused" in case:
        rules, faults, _ = read_rules("golden.yml", rule_text(case).encode())
        reason = str(faults[0]) if faults else rules[0].off
        assert case["refused"].lower() in reason.lower()
        assert all(rule.rule is None for rule in rules)
        return
    rule = compiled(case)
    judged = [(event_of(record), expected) for record, expected in records(case)]
    events = [event for event, _ in judged]
    expected = {at for at, (_, match) in enumerate(judged) if match}
    assert {at for at, event in enumerate(events) if matches(rule, event)} == expected
    engine = Engine([rule], ignore_logsource=True)
    assert {hit.row for hit in engine.match(batch_of(events))} == expected
    for at, event in enumerate(events):
        assert bool(engine.match(batch_of([event]))) == (at in expected)
    spilled = batch_of(events, max_columns=0)
    assert {hit.row for hit in engine.match(spilled)} == expected, list(events_of(spilled))


@pytest.mark.parametrize("case", BY_SOURCE)
def test_case_of_a_source(case):
    rule = compiled(case)
    context = FrameContext(source="golden", stream="golden", first=0, count=1, read_at=1, ingested=1)
    judged = records(case)
    parsed = Parsers().parse_frame(context, [json.dumps(record).encode() for record, _ in judged])
    assert not parsed.dead
    events = [one.event for one in parsed.events]
    expected = {at for at, (_, match) in enumerate(judged) if match}
    assert {at for at, event in enumerate(events) if is_routed(rule, event) and matches(rule, event)} == expected
    assert {hit.row for hit in Engine([rule]).match(batch_of(events))} == expected


def test_every_number_of_the_list_has_its_case():
    """1 to 109, 128, 129 and 130; 110 to 127 are correlations and filters, which have golden folders of their own."""
    have = set().union(*(numbers(case) for _, case in cases()))
    assert not {*range(1, 110), 128, 129, 130} - have
