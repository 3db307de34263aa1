"""Rule sets of correlations for tests: plain rules, the correlations over them, and base matches of those rules."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from alerts.pipeline import AlertPipeline
from alerts.tables import ALERTS
from soc.database import STATE
from soc.detect.assembly import Member, RuleSet, assemble
from soc.detect.correlation.correlator import Correlator
from soc.detect.match import Match
from soc.detect.rules import read_rules
from soc.detect.rulestore import entity_by_default
from soc.event import Lane, Origin, Position

MINUTE = 60_000_000
BASE = 1_700_000_000_000_000


def rule_set(*documents: str) -> RuleSet:
    """The rules a, b, c (they are found by their id only: no engine is asked) and these correlations."""
    rules = [f"title: {name}\nname: {name}\nlogsource: {{category: golden}}\nlevel: low\ndetection:\n  s: {{x: {name}}}\n  condition: s\n"
             for name in "abc"]
    found, faults, _ = read_rules("set.yml", "---\n".join([*rules, *documents]).encode())
    assert not faults, faults
    made = assemble(Member(one.rule_id, one.name, one.kind, "p", one.path, True, one.rule) for one in found)
    assert not made.faults, made.faults
    return made


def correlation(name: str, body: str, extra: str = "") -> str:
    """A document of one correlation."""
    return f"title: {name}\nname: {name}\nlevel: high\n{extra}correlation:\n" + "".join(f"  {line}\n" for line in body.strip().splitlines())


def ids(rules: RuleSet) -> dict[str, str]:
    """Title -> rule id."""
    return {one.title: one.rule_id for one in (*rules.rules, *(c.rule for c in rules.correlations))}


def base_match(rule_id: str, number: int, time: int, agency: str = "north", import_id: str = "", **fields: Any) -> Match:
    """A match of a plain rule; `time` in µs after `BASE`."""
    event_id = f"{number:012x}-00000000000000aa-{number:x}"
    origin = Origin.IMPORT if import_id else Origin.LIVE
    return Match(
        rule_id=rule_id, rule_version="1", title="base", level="low", tags=(), event_id=event_id, event_time=BASE + time,
        event={"event.id": event_id, "@timestamp": BASE + time, **fields}, position=Position(Lane.LIVE, number), agency=agency,
        origin=origin, import_id=import_id, entity="pc1", entity_kind="host")


def correlator(rules: RuleSet, parents: Mapping[str, str] | None = None) -> Correlator:
    """A fresh one over `rules`, before the alerts; agencies stand under "province"."""
    def ancestor(agencies: Iterable[str], at: int) -> str:
        found = set(agencies)
        return found.pop() if len(found) == 1 else "province"

    return Correlator(AlertPipeline(), version=lambda: "1", load=lambda: rules, ancestor=ancestor, fallback=entity_by_default)


def memory_state() -> Connection:
    """An empty state database in memory."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    STATE.create_all(engine)
    return engine.connect()


def alerts_of(connection: Connection, names: Mapping[str, str]) -> set[tuple[Any, ...]]:
    """(title, agency, entity, first, last, count) of every alert; times in µs after `BASE`."""
    titles = {rule_id: title for title, rule_id in names.items()}
    rows = connection.execute(ALERTS.select()).all()
    found = [(titles[r.rule_id], r.agency, r.entity, r.first_seen - BASE, r.last_seen - BASE, r._mapping["count"]) for r in rows]
    assert len(set(found)) == len(found)
    return set(found)


def batches(order: Sequence[Match], sizes: Sequence[int]) -> list[list[Match]]:
    """`order` cut into batches of these sizes, over and over."""
    made: list[list[Match]] = []
    start = 0
    while start < len(order):
        size = sizes[len(made) % len(sizes)]
        made.append(list(order[start : start + size]))
        start += size
    return made
