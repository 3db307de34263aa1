"""What the gateway took, refused and lost, counted in memory and flushed every few seconds to `run/gateway.json`.

Nothing here is on the way of an acknowledgement: counters tell people; the journal is what is true.
"""
from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from soc.event import Lane
from soc.ingest.batch import Receipt

__all__ = ["Accounting", "StoredThrough", "keep_heartbeat", "read_heartbeat"]

FORMAT = 1
_MOST_WAITING = 256
_MOST_TURNED_AWAY = 50


@dataclass(slots=True)
class _Tally:
    batches: int = 0
    records: int = 0
    bytes: int = 0
    duplicates: int = 0
    refused: int = 0
    lost: int = 0
    last_heard: float = 0.0

    def shown(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("batches", "records", "bytes", "duplicates", "refused", "lost", "last_heard")}


@dataclass(slots=True)
class Accounting:
    """Counters since the process started; per source also when it was last heard (which survives a restart).

    `clock` gives seconds since 1970 UTC, and times shown are such seconds. Bytes are bytes as received.
    """

    clock: Callable[[], float]
    node: str = ""
    _lanes: dict[Lane, _Tally] = field(default_factory=lambda: {lane: _Tally() for lane in Lane})
    _sources: dict[str, _Tally] = field(default_factory=dict)
    _refused: Counter[str] = field(default_factory=Counter)
    _cut: Counter[str] = field(default_factory=Counter)
    _lost: Counter[str] = field(default_factory=Counter)
    _connections: Counter[str] = field(default_factory=Counter)
    _turned_away: dict[tuple[str, str, str], tuple[float, int]] = field(default_factory=dict)
    _started: float = 0.0

    def __post_init__(self) -> None:
        self._started = self.clock()

    def accepted(self, source: str, lane: Lane, records: int, size: int, *, duplicate: bool = False) -> None:
        """Count an acknowledged batch; a duplicate's records are counted as duplicates only."""
        for tally in (self._lanes[lane], self._source(source)):
            tally.batches += 1
            tally.bytes += size
            tally.last_heard = self.clock()
            if duplicate:
                tally.duplicates += records
            else:
                tally.records += records

    def refused(self, reason: str, source: str = "", lane: Lane | None = None, *, peer: str = "") -> None:
        """Count one request, connection or message refused, by a short constant reason; of a `peer`, also when last."""
        self._refused[reason] += 1
        if peer:
            _, before = self._turned_away.pop((reason, peer, source), (0.0, 0))
            self._turned_away[reason, peer, source] = (self.clock(), before + 1)
            if len(self._turned_away) > _MOST_TURNED_AWAY:
                del self._turned_away[next(iter(self._turned_away))]
        if source:
            self._source(source).refused += 1
        if lane is not None:
            self._lanes[lane].refused += 1

    def cut(self, reason: str, records: int, size: int) -> None:
        """Count records that were cut off, and the bytes that went."""
        self._cut[reason] += records
        self._cut[reason + "_bytes"] += size

    def lost(self, reason: str, records: int, source: str = "") -> None:
        """Count records that came as far as this machine and could not be kept."""
        self._lost[reason] += records
        if source:
            self._source(source).lost += records

    def connected(self, kind: str, change: int) -> None:
        """Count open connections of a kind up or down."""
        self._connections[kind] += change

    def resume(self, heartbeat: dict[str, object]) -> None:
        """Go on from a predecessor's heartbeat: only when each source was last heard."""
        sources = heartbeat.get("sources")
        for source, shown in sources.items() if isinstance(sources, dict) else ():
            heard = shown.get("last_heard") if isinstance(shown, dict) else None
            if isinstance(heard, (int, float)):
                tally = self._source(str(source))
                tally.last_heard = max(tally.last_heard, heard)

    def shown(self) -> dict[str, object]:
        """Everything counted, ready for JSON."""
        return {
            "format": FORMAT, "node": self.node, "pid": os.getpid(), "started": self._started, "at": self.clock(),
            "lanes": {lane.value: tally.shown() for lane, tally in self._lanes.items()},
            "sources": {source: tally.shown() for source, tally in sorted(self._sources.items())},
            "refused": dict(self._refused), "cut": dict(self._cut), "lost": dict(self._lost),
            "connections": dict(self._connections),
            "turned_away": [{"reason": reason, "peer": peer, "source": source, "at": at, "count": count}
                            for (reason, peer, source), (at, count) in reversed(self._turned_away.items())],
        }

    def _source(self, source: str) -> _Tally:
        tally = self._sources.get(source)
        if tally is None:
            tally = self._sources[source] = _Tally()
        return tally


@dataclass(slots=True)
class _Progress:
    """One stream: batches not known to be stored, as (end of it in the lane, first, last), and the highest stored number."""

    waiting: deque[tuple[int, int, int]] = field(default_factory=deque)
    highest: int | None = None


class StoredThrough:
    """Up to which number each stream is stored, not only journalled: for agents told to keep batches until then.

    `stored(lane)` is the sequence before which a lane is stored; it is asked at most twice a second. Streams that are not
    among the `size` last seen answer None, as does everything without `stored`.
    """

    def __init__(self, stored: Callable[[Lane], int] | None, clock: Callable[[], float], *, size: int = 10_000) -> None:
        self._stored, self._clock, self._size = stored, clock, size
        self._asked = {lane: (float("-inf"), 0) for lane in Lane}
        self._streams: dict[tuple[str, int], _Progress] = {}

    def note(self, stream: str, epoch: int, receipt: Receipt) -> int | None:
        """After a receipt: the highest number of the stream such that no batch received up to it is still to be stored."""
        if self._stored is None:
            return None
        key = (stream, epoch)
        progress = self._streams.pop(key) if key in self._streams else _Progress()
        self._streams[key] = progress
        if len(self._streams) > self._size:
            del self._streams[next(iter(self._streams))]
        waiting = progress.waiting
        if receipt.sequence is not None:
            end, first, last = receipt.sequence + receipt.count, receipt.first, receipt.first + receipt.count - 1
            if len(waiting) >= _MOST_WAITING:  # coarser, never early
                _, low, high = waiting.pop()
                first, last = min(first, low), max(last, high)
            waiting.append((end, first, last))
        at = self._position(receipt.lane)
        while waiting and waiting[0][0] <= at:
            last = waiting.popleft()[2]
            progress.highest = last if progress.highest is None else max(last, progress.highest)
        if progress.highest is None:
            return None
        lowest = min((first for _, first, _ in waiting), default=progress.highest + 1)
        through = min(progress.highest, lowest - 1)
        return through if through >= 0 else None

    def _position(self, lane: Lane) -> int:
        asked, position = self._asked[lane]
        now = self._clock()
        if self._stored is not None and not 0 <= now - asked < 0.5:
            position = self._stored(lane)
            self._asked[lane] = (now, position)
        return position


async def keep_heartbeat(shown: Callable[[], dict[str, object]], path: Path, stop: asyncio.Event, *, every: float = 3.0) -> None:
    """Write `shown()` to `path` every few seconds and once at the end; a failing disk is tried again next time."""
    while True:
        try:
            await asyncio.to_thread(_write, path, orjson.dumps(shown()))
        except OSError:
            pass  # the heartbeat going stale is what health then says
        if stop.is_set():
            return
        try:
            await asyncio.wait_for(stop.wait(), every)
        except TimeoutError:
            pass


def read_heartbeat(path: Path) -> dict[str, object]:
    """The last heartbeat, or an empty one if there is none that can be read."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, body: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(body)
    os.replace(fresh, path)
