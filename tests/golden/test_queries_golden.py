"""Analysts' queries and what they find, asked of the reference evaluator, the memory store and the embedded store."""
from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from soc.errors import QueryError
from soc.event import Event, Scope, to_micros
from soc.store.embedded import EmbeddedStore
from soc.store.eventstore import EventStore, TimeRange
from soc.store.memory import MemoryStore
from soc.store.query import parse
from soc.store.reference import matches, visible
from tests.store_files import embedded, stored

FOLDER = Path(__file__).parent / "queries"
PROVINCE = Scope.of(["a1"])
ALWAYS = TimeRange()


def _load(name: str) -> list[dict[str, object]]:
    loaded: list[dict[str, object]] = yaml.load((FOLDER / name).read_text(encoding="utf-8"), yaml.CSafeLoader)
    return loaded


def _events() -> list[Event]:
    from datetime import UTC, datetime, timedelta

    events: list[Event] = []
    for n, given in enumerate(_load("events.yml")):
        at = to_micros(datetime(2026, 5, 1, tzinfo=UTC) + timedelta(minutes=given.pop("minute")))  # type: ignore[arg-type]
        event: Event = {"test.id": given.pop("id"), "@timestamp": at, **given}  # type: ignore[dict-item]
        if event["test.id"] == "vn-nfd":
            event["message"] = unicodedata.normalize("NFD", str(event["message"]))
        events.append(stored(event, n))
    return events


EVENTS = _events()
CASES = [case for name in ("fields.yml", "values.yml", "ranges.yml", "text.yml") for case in _load(name)]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, EventStore]]:
    store: EmbeddedStore = embedded(tmp_path_factory.mktemp("golden"), EVENTS, files=4)
    yield {"memory": MemoryStore(EVENTS), "embedded": store}
    store.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["query"]))
def test_query_finds_exactly_these(case: dict[str, object], stores: dict[str, EventStore]) -> None:
    query, wanted = str(case["query"]), sorted(case["ids"])  # type: ignore[call-overload]
    read = parse(query)
    assert sorted(str(e["test.id"]) for e in EVENTS if visible(e, PROVINCE, ALWAYS) and matches(read, e)) == wanted
    for name, store in stores.items():
        assert sorted(str(e["test.id"]) for e in store.search(query, PROVINCE, ALWAYS).events) == wanted, name


@pytest.mark.parametrize("case", _load("refused.yml"), ids=lambda case: str(case["query"]))
def test_refusal_names_the_column_and_the_remedy(case: dict[str, object]) -> None:
    with pytest.raises(QueryError) as refused:
        parse(str(case["query"]))
    assert str(case["says"]) in str(refused.value)
    assert refused.value.column == case["column"]
    assert refused.value.remedy


def test_there_are_at_least_sixty_golden_queries() -> None:
    assert len(CASES) >= 60
