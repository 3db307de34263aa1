"""The set of untouched alerts is a function of the matches alone: not of order, batches or redelivery."""
from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerts.pipeline import AlertPipeline
from alerts.sessions import EARLIEST, GAP, LATEST
from alerts.store import AlertStore
from soc.database import STATE, Database, sqlite_url
from soc.detect.match import Match
from soc.event import Lane, Origin, Position, Scope

HOUR = 3600 * 1_000_000


def match(rule: str, entity: str, time: int, number: int, version: str = "1") -> Match:
    event_id = f"{number:012x}-00000000000000aa-{number:x}"
    return Match(
        rule_id=rule, rule_version=version, title=f"{rule} v{version}", level="high", tags=(), event_id=event_id, event_time=time,
        event={"event.id": event_id, "@timestamp": time}, position=Position(Lane.LIVE, number), agency="north",
        origin=Origin.LIVE, import_id="", entity=entity, entity_kind="host")


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Match], list[list[Match]], list[list[Match]]]:
    """Matches, and two ways in which they arrive."""
    rows = draw(st.lists(
        st.tuples(st.sampled_from("RS"), st.sampled_from(["pc1", "pc2"]), st.integers(0, 130), st.sampled_from("12")),
        min_size=1, max_size=45))
    crowd = draw(st.integers(0, 40))
    rows += [("R", "pc1", 60, "1")] * crowd
    matches = [match(rule, entity, at * HOUR, number, version) for number, (rule, entity, at, version) in enumerate(rows)]
    return matches, draw(arrivals(matches)), draw(arrivals(matches))


def arrivals(matches: Sequence[Match]) -> st.SearchStrategy[list[list[Match]]]:
    """A permutation of the matches in batches, some of them delivered again."""
    return st.tuples(
        st.permutations(matches), st.lists(st.integers(1, 12), min_size=1, max_size=6),
        st.lists(st.sampled_from(matches), max_size=8),
    ).map(lambda drawn: _batches(*drawn))


def _batches(order: Sequence[Match], sizes: Sequence[int], again: Sequence[Match]) -> list[list[Match]]:
    batches, start = [], 0
    while start < len(order):
        size = sizes[len(batches) % len(sizes)]
        batches.append([*order[start : start + size], *again[: len(batches)]])
        start += size
    return [*batches, list(again)]


def expected(matches: Sequence[Match]) -> set[tuple[object, ...]]:
    """The alerts, computed the slow way: link every two matches of a key that are near, take connected components."""
    alerts = set()
    for key in {(m.rule_id, m.entity) for m in matches}:
        rest = sorted((m for m in matches if (m.rule_id, m.entity) == key), key=lambda m: (m.event_time, m.event_id))
        while rest:
            session, waiting = set(), [rest[0]]
            while waiting:
                one = waiting.pop()
                session.add(one.event_id)
                waiting += [m for m in rest if m.event_id not in session and abs(m.event_time - one.event_time) <= GAP]
            run = [m for m in rest if m.event_id in session]
            rest = [m for m in rest if m.event_id not in session]
            kept = {m.event_id for m in run[:EARLIEST]} | {m.event_id for m in run[-LATEST:]}
            alerts.add((*key, run[0].event_time, run[-1].event_time, len(run), run[-1].title, frozenset(kept)))
    return alerts


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alerts") / "state.db"
    database = Database.open(sqlite_url(path), STATE)
    database.migrate()
    database.close()
    return path


@pytest.fixture(scope="module")
def databases(template: Path) -> tuple[Path, Path]:
    return template, template.with_name("used.db")


def alerts_after(databases: tuple[Path, Path], batches: Sequence[Sequence[Match]]) -> tuple[set[tuple[object, ...]], set[str]]:
    template, path = databases
    for old in path.parent.glob("used.db*"):
        old.unlink()
    shutil.copyfile(template, path)
    database = Database.open(sqlite_url(path), STATE)
    pipeline, store = AlertPipeline(), AlertStore(database)
    with database.write() as connection:
        for now, batch in enumerate(batches):
            pipeline.deliver(connection, batch, now)
    everything = Scope.everything()
    found = store.list(everything, limit=1000).alerts
    described = {
        (a.rule_id, a.entity, a.first_seen, a.last_seen, a.count, a.title,
         frozenset(e.event_id for e in store.evidence(everything, a.id)))
        for a in found
    }
    assert len(described) == len(found)
    database.close()
    return described, {a.id for a in found}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(drawn=deliveries())
def test_any_order_batching_and_redelivery_gives_the_same_alerts(databases, drawn):
    matches, one, other = drawn
    first, ids = alerts_after(databases, one)
    second, other_ids = alerts_after(databases, other)
    assert first == second == expected(matches)
    assert ids == other_ids
