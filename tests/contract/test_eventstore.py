"""What every event store promises, asked of each implementation; then what only the embedded one must bear."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soc.errors import NotFoundError, QueryError, StoreError
from soc.event import UNASSIGNED, Event, Scope
from soc.store.embedded import EmbeddedStore
from soc.store.eventstore import Bucket, EventStore, TimeRange, TopValue
from soc.store.memory import MemoryStore
from soc.store.page import IDENTITY
from tests.store_files import Listed, embedded, stored, write

START = 1_750_000_000_000_000
SECOND = 1_000_000
ALL = Scope.everything()
ALWAYS = TimeRange()
Make = Callable[[list[Event]], EventStore]


@pytest.fixture(params=["memory", "embedded", "spilled"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Builds a store over events; "spilled" is the embedded one with few real columns."""
    opened: list[EmbeddedStore] = []

    def build(events: list[Event]) -> EventStore:
        if request.param == "memory":
            return MemoryStore(events)
        store = embedded(tmp_path, events, files=3, max_columns=12 if request.param == "spilled" else 400)
        opened.append(store)
        return store

    yield build
    for store in opened:
        store.close()


def many(count: int = 20) -> list[Event]:
    return [stored({"message": f"event {n}", "host.name": f"h{n % 3}", "app.kind": ["even", "all"] if n % 2 == 0 else "odd",
                    "destination.port": n, "organization.id": "a1" if n % 4 else "a2", "@timestamp": START + n // 2 * SECOND}, n)
            for n in range(count)]


def ns(events: tuple[Event, ...]) -> list[int]:
    return [int(e["soc.n"]) for e in events]  # type: ignore[arg-type]


def test_events_come_newest_first_and_whole(make: Make) -> None:
    events = many()
    found = make(events).search("", ALL, ALWAYS).events
    assert ns(found) == list(range(19, -1, -1))
    assert {k: v for k, v in found[0].items() if k != "event.id"} == events[19]


def test_a_list_may_ask_for_some_fields_only(make: Make) -> None:
    store = make(many())
    for fields in (("host.name",), ("message", "app.kind", "nowhere"), tuple(store.fields(ALL))):
        whole, some = store.search("", ALL, ALWAYS).events, store.search("", ALL, ALWAYS, fields=fields).events
        assert some == tuple({name: value for name, value in event.items() if name in fields or name in IDENTITY} for event in whole)
    assert any("host.name" in event for event in store.search("", ALL, ALWAYS, fields=["host.name"]).events)


def test_pages_join_to_the_whole_without_repeats(make: Make) -> None:
    store = make(many())
    pages, cursor = [], None
    while True:
        hits = store.search("event", ALL, ALWAYS, limit=3, after=cursor)
        pages += ns(hits.events)
        if hits.next is None:
            break
        cursor = hits.next
    assert pages == list(range(19, -1, -1))


def test_full_last_page_has_no_next(make: Make) -> None:
    assert make(many(4)).search("", ALL, ALWAYS, limit=4).next is None


def test_time_range_is_half_open(make: Make) -> None:
    store = make(many())
    within = TimeRange(START + SECOND, START + 2 * SECOND)
    assert ns(store.search("", ALL, within).events) == [3, 2]
    assert store.count("", ALL, within) == 2
    assert store.count("", ALL, TimeRange(START + 9 * SECOND, None)) == 2
    assert store.count("", ALL, TimeRange(None, START)) == 0


def test_scope_bounds_every_question(make: Make) -> None:
    store = make(many())
    own = Scope.of(["a2"])
    assert ns(store.search("", own, ALWAYS).events) == [16, 12, 8, 4, 0]
    assert store.count("", own, ALWAYS) == 5
    assert sum(b.count for b in store.histogram("", own, ALWAYS)) == 5
    assert store.top("", own, ALWAYS, "organization.id") == [TopValue("a2", 5)]
    assert ns(store.search("", Scope.of(["a2", "a1"], ["h0"]), ALWAYS).events) == [18, 15, 12, 9, 6, 3, 0]
    for nothing in (Scope(), Scope.of(["a1"], []), Scope.of(["a3"])):
        assert store.search("", nothing, ALWAYS).events == ()
        assert store.count("", nothing, ALWAYS) == 0
        assert store.histogram("", nothing, ALWAYS) == []
        assert store.fields(nothing) in ([], ())
    foreign = str(store.search("organization.id:a2", ALL, ALWAYS).events[0]["event.id"])
    assert store.get(foreign, ALL)["organization.id"] == "a2"
    with pytest.raises(NotFoundError):
        store.get(foreign, Scope.of(["a1"]))


def test_event_without_agency_belongs_to_the_unassigned(make: Make) -> None:
    event = stored({"message": "x"}, 1)
    del event["organization.id"]
    store = make([event])
    assert store.count("", Scope.of([UNASSIGNED]), ALWAYS) == 1
    assert store.count("", Scope.of(["a1"]), ALWAYS) == 0


def test_event_is_got_by_its_id(make: Make) -> None:
    store = make([*many(5), stored({"message": "second of one record", "soc.sub": 1, "@timestamp": START}, 3)])
    for event in store.search("", ALL, ALWAYS).events:
        assert store.get(str(event["event.id"]), ALL) == event
        assert store.search(f"event.id:{event['event.id']}", ALL, ALWAYS).events == (event,)
    for unknown in ("", "nonsense", "000000000000-0011223344556677-1"):
        with pytest.raises(NotFoundError):
            store.get(unknown, ALL)


def test_histogram_covers_the_range_with_empty_buckets(make: Make) -> None:
    store = make(many(4))
    assert store.histogram("", ALL, TimeRange(START - SECOND, START + 3 * SECOND), buckets=4) == [
        Bucket(START - SECOND, SECOND, 0), Bucket(START, SECOND, 2), Bucket(START + SECOND, SECOND, 2), Bucket(START + 2 * SECOND, SECOND, 0)]
    open_ended = store.histogram("", ALL, ALWAYS, buckets=2)
    assert [b.count for b in open_ended] == [2, 2]
    assert store.histogram("nothing", ALL, ALWAYS) == []
    with pytest.raises(QueryError):
        store.histogram("", ALL, ALWAYS, buckets=0)


def test_top_counts_events_and_each_value_of_a_list(make: Make) -> None:
    store = make(many())
    assert store.top("", ALL, ALWAYS, "app.kind") == [TopValue("all", 10), TopValue("even", 10), TopValue("odd", 10)]
    assert store.top("", ALL, ALWAYS, "destination.port", size=2) == [TopValue("0", 1), TopValue("1", 1)]
    assert store.top("host.name:h1", ALL, ALWAYS, "host.name") == [TopValue("h1", 7)]
    assert store.top("", ALL, TimeRange(START, START + 1), "@timestamp") == [TopValue("2025-06-15T15:06:40+00:00", 2)]
    assert store.top("", ALL, ALWAYS, "no.such") == []


def test_fields_are_those_of_visible_events(make: Make) -> None:
    fields = set(make(many()).fields(ALL))
    assert {"message", "host.name", "app.kind", "destination.port", "@timestamp"} <= fields
    assert not any(name.endswith("[]") or name == "kv" for name in fields)


def test_nearest_hit_outside_a_range_is_named(make: Make) -> None:
    store = make(many())  # at seconds 0 to 9, two each
    assert store.nearest("", ALL, START + 20 * SECOND, START + 30 * SECOND) == START + 9 * SECOND  # type: ignore[attr-defined]
    assert store.nearest("", ALL, START - 30 * SECOND, START) == START  # type: ignore[attr-defined]
    assert store.nearest("destination.port:(2 OR 19)", ALL, START + 2 * SECOND, START + 8 * SECOND) == START + SECOND  # type: ignore[attr-defined]
    assert store.nearest("nothing", ALL, START, START + 1) is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("bad", ["", "x", "e30", "W10", "WzEsMiwzLDRd", "\u0111", "=" * 9])
def test_foreign_cursor_is_refused(make: Make, bad: str) -> None:
    if bad:
        with pytest.raises(QueryError):
            make(many(3)).search("", ALL, ALWAYS, after=bad)


def test_limits_are_refused(make: Make) -> None:
    for limit in (0, -1, 10_001):
        with pytest.raises(QueryError):
            make(many(3)).search("", ALL, ALWAYS, limit=limit)


@pytest.mark.parametrize("hostile", [
    "'; DROP TABLE x; --", "x' OR '1'='1", "%", "_", "\\", "*", "?", '""', "read_csv('/etc/passwd')", "ATTACH '/tmp/x'", "COPY (SELECT 1) TO '/tmp/x'",
    "PRAGMA version", "INSTALL httpfs; LOAD httpfs", "a" * 8000, "${x}", "{at}", "{values}", "\u202e", "İ", "\ufffd",
])
def test_hostile_text_is_only_text(make: Make, hostile: str) -> None:
    events = [stored({"app.value": hostile, "message": "m"}, 0), stored({"app.value": "other", "message": "m"}, 1)]
    quoted = '"' + hostile.replace('"', '\\"') + '"'
    store = make(events)
    assert ns(store.search(f"app.value:{quoted}", ALL, ALWAYS).events) == [0]
    assert store.top(f"app.value:{quoted}", ALL, ALWAYS, "app.value") == [TopValue(hostile, 1)]


@pytest.mark.parametrize("name", ['x"y', "x'; DROP", "{at}", "{values}", "Ünï", "select", "a b"])
def test_hostile_field_names_are_only_names(make: Make, name: str) -> None:
    store = make([stored({name: "v", "message": "m"}, 0), stored({"message": "m"}, 1)])
    assert store.top("", ALL, ALWAYS, name) == [TopValue("v", 1)]
    escaped = "".join(c if c.isalnum() else "\\" + c for c in name)
    assert ns(store.search(f"{escaped}:v", ALL, ALWAYS).events) == [0]


def test_names_that_differ_by_case_are_two_fields(make: Make) -> None:
    store = make([stored({"app.Param": "a", "app.param": "b"}, 0), stored({"app.param": "a"}, 1)])
    assert ns(store.search("app.Param:a", ALL, ALWAYS).events) == [0]
    assert ns(store.search("app.param:a", ALL, ALWAYS).events) == [1]
    assert store.search("", ALL, ALWAYS).events[1]["app.Param"] == "a"


# ---- the embedded store alone


def files(data: Path) -> Listed:
    manifest = Listed()
    for number, kind in enumerate(("segment", "cut", "segment")):
        manifest.put(write(data, many(30)[number * 10:number * 10 + 10], number, kind))
    return manifest


@pytest.mark.parametrize("number", [0, 1])
def test_damaged_file_is_named_and_the_rest_is_served(tmp_path: Path, number: int) -> None:
    manifest = files(tmp_path)
    path = tmp_path / manifest.segments[number].path
    body = bytearray(path.read_bytes())
    body[20:-20] = bytes(len(body) - 40)
    path.write_bytes(bytes(body))
    store = EmbeddedStore(tmp_path, manifest)
    hits = store.search("", ALL, ALWAYS)
    assert hits.damaged == (f"segments/{number}.parquet" if number == 0 else f"cuts/{number}.arrow",)
    assert len(hits.events) == 20
    assert store.count("", Scope.of(["a1", "a2"]), ALWAYS) == 20
    assert manifest.quarantined[0][0] == f"s{number}"
    store.close()


def test_file_that_retention_removes_meanwhile_is_no_error(tmp_path: Path) -> None:
    manifest = files(tmp_path)
    gone = manifest.segments[0]
    calls = iter([None])
    snapshot = manifest.snapshot

    def stale() -> Listed:
        seen = snapshot()
        if next(calls, "later") is None:
            (tmp_path / gone.path).unlink()
            manifest.drop(gone)
        return seen

    manifest.snapshot = stale  # type: ignore[method-assign]
    store = EmbeddedStore(tmp_path, manifest)
    hits = store.search("", ALL, ALWAYS)
    assert hits.damaged == ()
    assert len(hits.events) == 20
    assert manifest.quarantined == []
    store.close()


def test_new_files_are_seen_at_once(tmp_path: Path) -> None:
    manifest = files(tmp_path)
    store = EmbeddedStore(tmp_path, manifest)
    assert store.count("", ALL, ALWAYS) == 30
    for number, kind in ((3, "cut"), (4, "segment")):
        manifest.put(write(tmp_path, [stored({"message": "fresh"}, 100 + number)], number, kind))
        assert store.count("fresh", ALL, ALWAYS) == number - 2
    store.close()


def test_search_of_death_is_stopped_and_others_go_on(tmp_path: Path) -> None:
    manifest = Listed()
    manifest.put(write(tmp_path, [stored({"app.text": "a" * 20_000, "message": "m"}, n) for n in range(3000)], 0, "segment", group=1000))
    slow = EmbeddedStore(tmp_path, manifest, timeout=0.3)
    deadly = "app.text:" + "*a" * 60 + "*b"
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            slow.count(f"({deadly}) OR ({deadly.replace('b', 'c')}) OR ({deadly.replace('*b', '?d')})", ALL, ALWAYS)
        except StoreError as fault:
            failures.append(fault)

    thread = threading.Thread(target=ask)
    began = time.monotonic()
    thread.start()
    assert slow.count("", ALL, ALWAYS) == 3000
    thread.join(10)
    assert time.monotonic() - began < 5
    if failures:  # a machine that answers within the limit is no fault
        assert "took longer than" in str(failures[0])
    slow.close()


def test_duckdb_can_touch_nothing_else(tmp_path: Path) -> None:
    import duckdb

    manifest = files(tmp_path)
    outside = tmp_path / "outside.csv"
    outside.write_text("a\n1\n")
    store = EmbeddedStore(tmp_path, manifest)
    store.count("event", ALL, ALWAYS)
    engine = store._engine
    assert engine is not None
    for statement in (f"SELECT * FROM read_csv('{outside}')", "SELECT * FROM read_text('/etc/passwd')", f"ATTACH '{tmp_path}/x.db'",
                      f"COPY (SELECT 1) TO '{tmp_path}/y.csv'", "SET enable_external_access = true", "SET memory_limit = '9GB'",
                      "INSTALL httpfs", "LOAD httpfs", f"SELECT * FROM glob('{tmp_path}/*')", f"EXPORT DATABASE '{tmp_path}/z'"):
        with pytest.raises(duckdb.Error):
            engine._database.cursor().execute(statement).fetchall()
    store.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cuts", "outside.csv", "segments"]


def test_store_that_was_closed_opens_again(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, files(tmp_path))
    assert store.count("", ALL, ALWAYS) == 30
    store.close()
    assert ns(store.search("destination.port:29", ALL, ALWAYS).events) == [29]
    store.close()


def test_process_that_does_not_search_does_not_load_duckdb() -> None:
    import subprocess
    import sys

    code = "import sys, soc.store.embedded, pathlib; soc.store.embedded.EmbeddedStore(pathlib.Path('.'), None); assert 'duckdb' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_token_index_leaves_row_groups_unread(tmp_path: Path) -> None:
    from soc.store.embedded_files import Indexes, select
    from soc.store.query import parse

    events = [stored({"message": "needle here" if n == 9 else f"hay{n}"}, n) for n in range(16)]
    segment = write(tmp_path, events, 0, "segment", group=4)
    indexes = Indexes(tmp_path)
    assert [p.rows for p in select([segment], parse("needle").root, ALWAYS, indexes)] == [((8, 12),)]
    assert [p.rows for p in select([segment], parse("needle OR hay0").root, ALWAYS, indexes)] == [((0, 4), (8, 12))]
    assert select([segment], parse("absent").root, ALWAYS, indexes) == []
    assert [p.rows for p in select([segment], parse("NOT needle").root, ALWAYS, indexes)] == [None]
    assert [p.rows for p in select([segment], parse("need*").root, ALWAYS, indexes)] == [None]
    (tmp_path / segment.tokens).write_bytes(b"\x05\0\0\0junk!")
    assert [p.rows for p in select([segment], parse("absent").root, ALWAYS, Indexes(tmp_path))] == [None]
