"""A detector over real cuts, with an engine that fails on demand: shared by the tests of its loop, its gaps and its ledger."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from soc.database import STATE, Database, sqlite_url
from soc.detect.loop import Detector
from soc.detect.match import Match
from soc.event import FrameContext, Lane
from soc.normalise.loop import Normaliser, NormaliserLimits, ReadFrame
from soc.normalise.parser import ParsedEvent, ParsedFrame
from soc.store.compact import CompactionLimits, Compactor
from soc.store.disk import RealDisk
from soc.store.manifest import Loss, Manifest

NOW = 1_700_000_000_000_000
SECOND = 1_000_000


class Frames:
    """Frames of ten records, `records` of them in a lane."""

    def __init__(self, **records: int) -> None:
        self.records = records or {"live": 100}

    def read(self, lane: Lane, cursor: int, max_records: int, max_bytes: int) -> Sequence[ReadFrame | Loss]:
        if cursor >= self.records.get(lane.value, 0):
            return []
        return [ReadFrame(cursor, FrameContext("src", f"st-{lane.value}", cursor, 10, NOW, NOW), [b"%d" % n for n in range(cursor, cursor + 10)])]


class Parser:
    """Every record is an event."""

    def parse_frame(self, context: FrameContext, records: Sequence[bytes]) -> ParsedFrame:
        return ParsedFrame([ParsedEvent(i, 0, "linux", {"@timestamp": NOW, "message": raw.decode(), "event.original": raw.decode()})
                            for i, raw in enumerate(records)], [])


class Faults:
    """Which rules throw now: at every event, or at these messages."""

    def __init__(self, **throws: Sequence[str] | None) -> None:
        self.throws: dict[str, Sequence[str] | None] = throws

    def engine(self, rules: Sequence[Any], previous: Any = None) -> Engine:
        return Engine(rules, self)


class Engine:
    """Every rule matches every row, but those that throw."""

    def __init__(self, rules: Sequence[Any], faults: Faults) -> None:
        self.rules, self.faults = list(rules), faults

    def match(self, batch: pa.RecordBatch) -> list[Any]:
        messages = batch.column("message").to_pylist()
        for rule in self.rules:
            at = self.faults.throws.get(rule.rule_id, ())
            if at is None or set(at) & set(messages):
                raise ZeroDivisionError("no")
        return [SimpleNamespace(rule_id=rule.rule_id, row=row, atoms=()) for rule in self.rules for row in range(batch.num_rows)]


class Rules:
    """Rules by name, each `name` or `name:version`."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def version(self) -> str:
        return "-".join(self.names)

    def enabled(self) -> list[Any]:
        split = [(name.partition(":")[0], name.partition(":")[2] or "1") for name in self.names]
        return [SimpleNamespace(rule_id=rule_id, version=version, title=rule_id, level="low", tags=()) for rule_id, version in split]

    def known(self, ids: Sequence[str]) -> set[str]:
        return {name.partition(":")[0] for name in self.names} & set(ids)


class Sink:
    """Remembers matches."""

    def __init__(self) -> None:
        self.matches: list[Match] = []

    def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> None:
        self.matches += matches

    @property
    def found(self) -> list[tuple[str, int]]:
        """(rule, sequence) of each."""
        return [(m.rule_id, m.position.sequence) for m in self.matches]

    def of(self, rule_id: str) -> list[int]:
        """The sequences that a rule matched at, in order, each as often as it was delivered."""
        return sorted(n for rule, n in self.found if rule == rule_id)


class Parts:
    """A data folder with what `frames` held normalised, its manifest and its state database, and a clock."""

    def __init__(self, folder: Path, frames: Frames | None = None) -> None:
        (folder / "run").mkdir()
        self.data, self.manifest, self.now = folder, Manifest.open(folder), NOW
        self.state = Database.open(sqlite_url(folder / "state.db"), STATE)
        self.state.migrate()
        normaliser = Normaliser(data=folder, disk=RealDisk(), manifest=self.manifest, source=frames or Frames(), parser=Parser(),
                                centre="c", limits=NormaliserLimits(live_records=10, bulk_records=10))
        while normaliser.step(lambda: NOW):
            pass

    def detector(self, rules: Rules, sink: Any, faults: Faults | None = None, **options: Any) -> Detector:
        """A detector of its own; nothing is kept of one before but what is in the folder."""
        return Detector(data=self.data, manifest=self.manifest, database=self.state, rules=rules, sink=sink,
                        engine=(faults or Faults()).engine, entity=lambda rule, event: ("h", "host"),
                        undone=lambda connection, ids: set(), **options)

    def clock(self) -> int:
        """The time the tests set."""
        return self.now

    def run(self, detector: Detector, *, fill: bool = True, most: int = 10_000, after: Callable[[], None] = lambda: None) -> int:
        """Step until nothing waits; returns the steps."""
        for steps in range(most):
            if not detector.step(self.clock, fill=fill):
                return steps
            after()
        raise AssertionError("it never comes to rest")

    def compact(self) -> None:
        """Everything that is judged becomes segments; the cuts are gone."""
        from soc.detect.ledger import Ledger

        limits = CompactionLimits(cut_age=SECOND, hour_age=SECOND, grace=0)
        compactor = Compactor(data=self.data, disk=RealDisk(), manifest=self.manifest, passed=Ledger(self.state).positions, limits=limits)
        while compactor.step(self.now + 3600 * SECOND):
            pass
        compactor.sweep(self.now + 7200 * SECOND)
