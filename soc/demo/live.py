"""What goes on now in the demonstration: a trickle of ordinary records, and, once somebody has logged in, an attack every few minutes."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from soc.demo.line import HOUR, SECOND, Line
from soc.demo.past import shipment
from soc.demo.plots import PLOTS, Plot
from soc.demo.record import seed_of
from soc.demo.story import ordinary
from soc.event import Lane
from soc.ingest.deliver import Delivery
from soc.ingest.imports import Import

__all__ = ["Live"]

_SOON: Final = 8 * SECOND
"""After the first log-in, until the first attack begins."""
_EVERY: Final = 10 * 60 * SECOND
_LOADED: Final = 30 * SECOND
"""After rules were switched on, until the detector surely has them."""
_AGAIN: Final = 180 * SECOND
_TRIES: Final = 3
"""How long an attack that was played for its new rules waits to be found until it is played once more, and how often it is played."""


class Live:
    """The present of one demonstration, from `now` on (µs UTC)."""

    def __init__(self, found: Import, delivery: Delivery, now: int) -> None:
        self._found, self._delivery = found, delivery
        self._seed, self._epoch = seed_of(found), now // SECOND
        self._until, self._hour = now, 0
        self._waiting: list[Line] = []
        self._sent: defaultdict[str, int] = defaultdict(int)
        self._next: int | None = None
        self._turn = 0
        self._planned: list[tuple[int, Plot]] = []
        self._tried: dict[str, list[int]] = {}

    def watched(self, now: int) -> None:
        """Somebody has logged in: the attacks begin."""
        if self._next is None:
            self._next = now + _SOON

    def soon(self, plots: Sequence[Plot], now: int) -> None:
        """Their rules are on and have not found these: they are played one after the other, out of turn. May be said again and again."""
        for place, plot in enumerate(plots):
            tried = self._tried.setdefault(plot.id, [])
            if len(tried) < _TRIES and (not tried or tried[-1] + _AGAIN <= now):
                tried.append(now + _LOADED + place * _SOON)
                self._planned.append((tried[-1], plot))

    def step(self, now: int) -> int:
        """Send what has happened since the last step; how many records. Raises InputRefused, StoreError."""
        for hour in range(max(self._hour, self._until // HOUR), now // HOUR + 1):
            self._waiting += [line for line in ordinary(self._seed, hour * HOUR, (hour + 1) * HOUR) if line.at >= self._until and not line.broken]
            self._hour = hour + 1
        if self._next is not None and now >= self._next:
            self._waiting += PLOTS[self._turn % len(PLOTS)].lines(self._seed, now)
            self._turn, self._next = self._turn + 1, now + _EVERY
        for at, plot in self._planned:
            if at <= now:
                self._waiting += plot.lines(self._seed, now)
        self._planned = [one for one in self._planned if one[0] > now]
        due = sorted((line for line in self._waiting if line.at <= now), key=lambda line: line.at)
        self._waiting = [line for line in self._waiting if line.at > now]
        self._until = now
        by_source: defaultdict[str, list[bytes]] = defaultdict(list)
        for line in due:
            by_source[line.source].append(line.raw)
        for source, records in by_source.items():
            what = shipment(self._found, source, lane=Lane.LIVE, read_at=now, epoch=self._epoch)
            self._delivery.send(what, self._sent[source], records)
            self._sent[source] += len(records)
        return len(due)
