"""The seam between everything that reads events and the store that holds them."""
from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from soc.event import Event, Scope

__all__ = ["Bucket", "EventStore", "Hits", "TimeRange", "TopValue"]


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Event times in [start, end), microseconds since 1970 UTC; None means open."""

    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Hits:
    """One page of a search: events newest first, the cursor of the next page, and whether a limit cut it."""

    events: tuple[Event, ...]
    next: str | None
    partial: bool = False
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bucket:
    """Events whose time lies in [start, start + width), microseconds."""

    start: int
    width: int
    count: int


@dataclass(frozen=True, slots=True)
class TopValue:
    """A value of a field and in how many events it stands."""

    value: str
    count: int


class EventStore(Protocol):
    """Seven questions. Every one takes a scope; `query` is text of the search language ("" is everything).

    Raises QueryError (cannot be read, or names no such field type) and StoreError (limit, damage). A search that names
    `fields` gets only these of each event, and those it is known by (`soc.store.page.IDENTITY`): a list is much cheaper so.
    """

    def search(self, query: str, scope: Scope, within: TimeRange, limit: int = 100, after: str | None = None,
               fields: Collection[str] = ()) -> Hits: ...

    def count(self, query: str, scope: Scope, within: TimeRange) -> int: ...

    def histogram(self, query: str, scope: Scope, within: TimeRange, buckets: int = 60) -> Sequence[Bucket]: ...

    def top(self, query: str, scope: Scope, within: TimeRange, field: str, size: int = 10) -> Sequence[TopValue]: ...

    def fields(self, scope: Scope) -> Sequence[str]: ...

    def get(self, event_id: str, scope: Scope) -> Event: ...

    def nearest(self, query: str, scope: Scope, start: int, end: int) -> int | None: ...
