"""While live records gather for their next cut, bulk has the normaliser to itself; live is never left behind it."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from soc.event import FrameContext, Lane
from soc.normalise.loop import Normaliser, NormaliserLimits, ReadFrame
from soc.normalise.parser import ParsedEvent, ParsedFrame
from soc.store.disk import RealDisk
from soc.store.manifest import Loss, Manifest

NOW = 1_700_000_000_000_000


class Frames:
    """Three records wait in each lane, for ever."""

    def read(self, lane: Lane, cursor: int, max_records: int, max_bytes: int) -> Sequence[ReadFrame | Loss]:
        return [ReadFrame(cursor, FrameContext("src", lane.value, cursor, 3, NOW, NOW), [b"a", b"b", b"c"])]


class Parser:
    """Every record is an event."""

    def parse_frame(self, context: FrameContext, records: Sequence[bytes]) -> ParsedFrame:
        return ParsedFrame([ParsedEvent(i, 0, "linux", {"@timestamp": NOW, "event.original": "x"}) for i in range(len(records))], [])


def test_bulk_is_taken_while_live_gathers(tmp_path: Path) -> None:
    manifest = Manifest.open(tmp_path)
    normaliser = Normaliser(data=tmp_path, disk=RealDisk(), manifest=manifest, source=Frames(), parser=Parser(), centre="c")
    seen = []
    for live in (True, False, False, True):
        assert normaliser.step(lambda: NOW, live=live) == 3
        seen.append(normaliser.lane)
    assert seen == [Lane.LIVE, Lane.BULK, Lane.BULK, Lane.LIVE]
    assert (manifest.cursor(Lane.LIVE), manifest.cursor(Lane.BULK)) == (6, 6)


class Large(Frames):
    """Three records of a payload of 2 MiB wait in each lane."""

    def read(self, lane: Lane, cursor: int, max_records: int, max_bytes: int) -> Sequence[ReadFrame | Loss]:
        return [ReadFrame(cursor, FrameContext("src", lane.value, cursor, 3, NOW, NOW), [b"a", b"b", b"c"], 2 << 20)]


def test_a_cut_that_ends_at_its_limits_says_that_more_waits(tmp_path: Path) -> None:
    for source, limits, full in ((Frames(), NormaliserLimits(), False), (Frames(), NormaliserLimits(live_records=3), True),
                                 (Large(), NormaliserLimits(), True)):
        normaliser = Normaliser(data=tmp_path, disk=RealDisk(), manifest=Manifest.open(tmp_path), source=source, parser=Parser(), centre="c",
                                limits=limits)
        assert normaliser.step(lambda: NOW) == 3
        assert normaliser.full is full
