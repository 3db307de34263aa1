"""What the demonstration plays now: ordinary records as they fall due, attacks once somebody watches, public ones once their rules are there."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from soc.demo.line import HOUR, SECOND
from soc.demo.live import Live
from soc.demo.plots import PLOTS
from soc.demo.story import ordinary
from soc.event import UNASSIGNED, Lane, Origin
from soc.ingest.deliver import Delivered, Delivery, Shipment
from soc.ingest.imports import DONE, Import

START = 1_795_400_000 * SECOND
FOUND = Import("imp1", START, None, "demonstration", UNASSIGNED, {"demonstration": [7, START - 72 * HOUR, START]}, DONE, "")


class Kept(Delivery):
    """Keeps what is sent, and holds every stream to gapless numbers."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.streams: defaultdict[str, int] = defaultdict(int)

    def send(self, shipment: Shipment, first: int, records: Sequence[bytes]) -> Delivered:
        assert (shipment.origin, shipment.lane, shipment.import_id) == (Origin.DEMONSTRATION, Lane.LIVE, "imp1")
        assert self.streams[shipment.stream] == first
        self.streams[shipment.stream] += len(records)
        self.records += records
        return Delivered(len(records), 0)

    def forget(self, import_id: str) -> None:
        raise NotImplementedError


def played(kept: Kept, live: Live, since: int, until: int) -> list[bytes]:
    """What is sent by steps from `since` to `until` seconds after the start."""
    before = len(kept.records)
    for second in range(since, until):
        live.step(START + second * SECOND)
    return kept.records[before:]


def test_until_somebody_watches_only_the_ordinary_happens() -> None:
    kept = Kept()
    sent = played(kept, Live(FOUND, kept, START), 0, 7_201)
    assert sorted(sent) == sorted(line.raw for line in ordinary(7, START, START + 7_200 * SECOND + 1) if not line.broken)


def test_attacks_begin_when_somebody_watches_and_go_on_in_turn() -> None:
    kept = Kept()
    live = Live(FOUND, kept, START)
    live.watched(START)
    first = played(kept, live, 0, 120)
    assert [b"/uploads/2026/11/anh-bia-" in record for record in first].count(True) >= 2
    second = played(kept, live, 120, 800)
    assert sum(b"Failed password for quantri" in record for record in second) == 12


def test_attacks_that_only_public_rules_find_are_played_when_these_come() -> None:
    kept = Kept()
    live = Live(FOUND, kept, START)
    live.soon([plot for plot in PLOTS if plot.public], START)
    sent = b"\n".join(played(kept, live, 0, 100))
    assert [word in sent for word in (b"-urlcache", b"delete shadows", b"MiniDump")] == [True] * 3
    assert b"-urlcache" not in b"\n".join(played(kept, live, 100, 900))


def test_an_attack_that_its_new_rules_did_not_find_is_played_again_a_few_times() -> None:
    kept, plots = Kept(), [plot for plot in PLOTS if plot.id == "certutil"]
    live = Live(FOUND, kept, START)
    for second in range(1_200):
        live.soon(plots, START + second * SECOND)
        live.step(START + second * SECOND)
    assert sum(b"-urlcache" in record for record in kept.records) == 3
