"""The detector's loop: a rule that throws is left out and noted, damage is named, nothing is judged twice or skipped."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Connection

from soc.database import STATE, Database, sqlite_url
from soc.detect.ledger import Ledger
from soc.detect.loop import Detector
from soc.detect.match import Match
from soc.event import FrameContext, Lane
from soc.normalise.loop import Normaliser, NormaliserLimits, ReadFrame
from soc.normalise.parser import ParsedEvent, ParsedFrame
from soc.store.disk import RealDisk
from soc.store.manifest import Loss, Manifest

NOW = 1_700_000_000_000_000


class Frames:
    """Ten frames of ten records in the live lane."""

    def read(self, lane: Lane, cursor: int, max_records: int, max_bytes: int) -> Sequence[ReadFrame | Loss]:
        if lane is not Lane.LIVE or cursor >= 100:
            return []
        return [ReadFrame(cursor, FrameContext("src", "st", cursor, 10, NOW, NOW), [b"%d" % n for n in range(cursor, cursor + 10)])]


class Parser:
    """Every record is an event."""

    def parse_frame(self, context: FrameContext, records: Sequence[bytes]) -> ParsedFrame:
        return ParsedFrame([ParsedEvent(i, 0, "linux", {"@timestamp": NOW, "message": raw.decode(), "event.original": raw.decode()})
                            for i, raw in enumerate(records)], [])


class Engine:
    """Every rule matches every row, but one throws."""

    def __init__(self, rules: Sequence[Any], previous: Any = None) -> None:
        self.rules = list(rules)

    def match(self, batch: pa.RecordBatch) -> list[Any]:
        if any(rule.rule_id == "bad" for rule in self.rules):
            raise ZeroDivisionError("no")
        return [SimpleNamespace(rule_id=rule.rule_id, row=row, atoms=()) for rule in self.rules for row in range(batch.num_rows)]


class Rules:
    """Three rules."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def version(self) -> str:
        return "-".join(self.names)

    def enabled(self) -> list[Any]:
        return [SimpleNamespace(rule_id=name, version="1", title=name, level="low", tags=()) for name in self.names]

    def known(self, ids: Sequence[str]) -> set[str]:
        return set(self.names) & set(ids)


class Sink:
    """Remembers matches."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int]] = []

    def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> None:
        self.found += [(m.rule_id, m.position.sequence) for m in matches]


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Manifest, Database]:
    (tmp_path / "run").mkdir()
    manifest = Manifest.open(tmp_path)
    state = Database.open(sqlite_url(tmp_path / "state.db"), STATE)
    state.migrate()
    normaliser = Normaliser(data=tmp_path, disk=RealDisk(), manifest=manifest, source=Frames(), parser=Parser(), centre="c",
                            limits=NormaliserLimits(live_records=10))
    while normaliser.step(lambda: NOW):
        pass
    return tmp_path, manifest, state


def detector(parts: tuple[Path, Manifest, Database], rules: Rules, sink: Sink) -> Detector:
    data, manifest, state = parts
    return Detector(data=data, manifest=manifest, database=state, rules=rules, engine=Engine, sink=sink,  # type: ignore[arg-type]
                    entity=lambda rule, event: ("h", "host"), undone=lambda connection, ids: set())


def test_a_rule_that_throws_is_left_out_and_the_others_see_every_event(parts: tuple[Path, Manifest, Database]) -> None:
    sink = Sink()
    judge = detector(parts, Rules("a", "bad", "b"), sink)
    while judge.step(lambda: NOW):
        pass
    assert sorted(sink.found) == sorted((rule, n) for rule in ("a", "b") for n in range(100))
    assert list(judge.isolated) == ["bad"]
    gaps = Ledger(parts[2]).gaps("bad")
    assert [(g.first, g.last) for g in gaps] == [(0, 100)]
    assert "ZeroDivisionError" in gaps[0].reason


def test_a_second_detector_goes_on_where_the_first_stopped(parts: tuple[Path, Manifest, Database]) -> None:
    sink = Sink()
    first = detector(parts, Rules("a"), sink)
    for _ in range(3):
        first.step(lambda: NOW)
    second = detector(parts, Rules("a", "b"), sink)
    while second.step(lambda: NOW):
        pass
    assert sorted(n for rule, n in sink.found if rule == "a") == list(range(100))
    assert sorted(n for rule, n in sink.found if rule == "b") == list(range(30, 100))
    assert {(s.version, s.first, s.last) for s in Ledger(parts[2]).spans()} == {("a", 0, 30), ("a-b", 30, 100)}


def test_a_damaged_cut_is_quarantined_named_and_the_rest_judged(parts: tuple[Path, Manifest, Database]) -> None:
    data, manifest, state = parts
    victim = manifest.cut_segments(Lane.LIVE, 40, 50)[0]
    (data / victim.path).write_bytes(b"nothing like a cut")
    sink = Sink()
    judge = detector(parts, Rules("a"), sink)
    while judge.step(lambda: NOW):
        pass
    assert sorted(n for _, n in sink.found) == [n for n in range(100) if not 40 <= n < 50]
    assert [path for _, path, _ in manifest.quarantined()] == [victim.path]
    assert [(g.rule_id, g.first, g.last) for g in Ledger(state).gaps()] == [("*", 40, 50)]


def test_a_failing_sink_moves_no_cursor(parts: tuple[Path, Manifest, Database]) -> None:
    class Failing(Sink):
        def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> None:
            raise RuntimeError("the database is gone")

    judge = detector(parts, Rules("a"), Failing())
    with pytest.raises(RuntimeError):
        judge.step(lambda: NOW)
    assert Ledger(parts[2]).positions().get(Lane.LIVE, 0) == 0
    sink = Sink()
    judge = detector(parts, Rules("a"), sink)
    while judge.step(lambda: NOW):
        pass
    assert len(sink.found) == 100
