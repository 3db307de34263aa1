"""The event store's fake: events in a list, every question answered by the reference evaluator. For tests."""
from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from soc.ecs import kind_of
from soc.errors import NotFoundError, QueryError
from soc.event import Event, Scope
from soc.store.eventstore import Bucket, Hits, TimeRange, TopValue
from soc.store.fold import add_folded
from soc.store.page import MAX_PAGE, Key, bucket_width, date_text, filled, identified, key_of, narrowed
from soc.store.query import parse
from soc.store.reference import matches, texts_of, visible

__all__ = ["MemoryStore"]

_ALWAYS = TimeRange()


class MemoryStore:
    """Keeps events in memory; implements `soc.store.eventstore.EventStore`."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events: list[Event] = []
        self.add(events)

    def add(self, events: Iterable[Event]) -> None:
        """Take events in, each with its `.folded` twins."""
        for event in events:
            kept = dict(event)
            add_folded(kept)
            self._events.append(kept)
        self._events.sort(key=key_of)

    def search(self, query: str, scope: Scope, within: TimeRange, limit: int = 100, after: str | None = None,
               fields: Collection[str] = ()) -> Hits:
        """One page, newest first. Raises QueryError."""
        if not 1 <= limit <= MAX_PAGE:
            raise QueryError(f"a page holds 1 to {MAX_PAGE:,} events")
        key = Key.read(after) if after else None
        found = [event for event in self._found(query, scope, within) if key is None or key_of(event) > key]
        page = found[:limit]
        return Hits(tuple(narrowed(identified(dict(event)), fields) for event in page), key_of(page[-1]).cursor() if len(found) > limit else None)

    def count(self, query: str, scope: Scope, within: TimeRange) -> int:
        """How many events. Raises QueryError."""
        return len(self._found(query, scope, within))

    def histogram(self, query: str, scope: Scope, within: TimeRange, buckets: int = 60) -> Sequence[Bucket]:
        """Counts over time. Raises QueryError."""
        found = [key_of(event).at for event in self._found(query, scope, within)]
        if not found and (within.start is None or within.end is None):
            return []
        start = min(found) if within.start is None else within.start
        end = max(found) + 1 if within.end is None else within.end
        if end <= start:
            return []
        width = bucket_width(start, end, buckets)
        return filled(start, end, width, Counter((at - start) // width for at in found))

    def top(self, query: str, scope: Scope, within: TimeRange, field: str, size: int = 10) -> Sequence[TopValue]:
        """The most frequent values of a field. Raises QueryError."""
        counts: Counter[str] = Counter()
        for event in self._found(query, scope, within):
            counts.update(set(texts_of(event, field)))
        best = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:size]
        date = kind_of(field) == "date"
        return [TopValue(date_text(value) if date else value, count) for value, count in best]

    def fields(self, scope: Scope) -> Sequence[str]:
        """Every field that an event within the scope has."""
        return sorted({name for event in self._events if visible(event, scope, _ALWAYS) for name in event})

    def get(self, event_id: str, scope: Scope) -> Event:
        """One event. Raises NotFoundError."""
        for event in self._events:
            if visible(event, scope, _ALWAYS) and identified(dict(event))["event.id"] == event_id:
                return identified(dict(event))
        raise NotFoundError(f"no event {event_id[:80]!r} here", remedy="an event id looks like 018f2b6c5d7e-0011223344556677-2a")

    def nearest(self, query: str, scope: Scope, start: int, end: int) -> int | None:
        """The time (µs) of the hit outside [start, end) that lies closest to it; None if there is none."""
        times = [key_of(event).at for event in self._found(query, scope, _ALWAYS)]
        outside = [at for at in times if not start <= at < end]
        return min(outside, key=lambda at: (start - at if at < start else at - end + 1, at), default=None)

    def _found(self, query: str, scope: Scope, within: TimeRange) -> list[Event]:
        read = parse(query)
        return [event for event in self._events if visible(event, scope, within) and matches(read, event)]
