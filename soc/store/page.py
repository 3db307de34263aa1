"""Order and pages of events, the same in every store: newest first, then by stream, then the later record first."""
from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import orjson

from soc.errors import QueryError
from soc.event import Event, event_id, from_micros
from soc.store.eventstore import Bucket

__all__ = ["IDENTITY", "MAX_BUCKETS", "MAX_PAGE", "Key", "bucket_width", "filled", "date_text", "identified", "key_of", "narrowed"]

MAX_PAGE = 10_000
MAX_BUCKETS = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """An event's place in the order: smaller comes first."""

    before: int
    stream_hash: str
    n: int
    sub: int

    @classmethod
    def of(cls, at: int, stream_hash: str, n: int, sub: int) -> Key:
        """The key of an event at time `at` (µs)."""
        return cls(-at, stream_hash, -n, -sub)

    @property
    def at(self) -> int:
        """The event's time in microseconds."""
        return -self.before

    def cursor(self) -> str:
        """The key as the opaque text that asks for what comes after it."""
        body = orjson.dumps([self.before, self.stream_hash, self.n, self.sub])
        return base64.urlsafe_b64encode(body).decode().rstrip("=")

    @classmethod
    def read(cls, cursor: str) -> Key:
        """The key behind a cursor. Raises QueryError."""
        try:
            before, digest, n, sub = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            if not (all(isinstance(x, int) and not isinstance(x, bool) for x in (before, n, sub)) and isinstance(digest, str)):
                raise ValueError
        except (ValueError, TypeError, binascii.Error):
            raise QueryError("this is no page cursor", remedy="use the `next` of the page before, unchanged") from None
        return cls(before, digest, n, sub)


IDENTITY = frozenset({"@timestamp", "event.created", "event.id", "soc.stream_hash", "soc.n", "soc.sub"})
"""The fields that say which event it is and where it stands: every answer holds them."""


def key_of(event: Event) -> Key:
    """Where an event stands in the order."""
    return Key.of(_whole(event, "@timestamp"), str(event.get("soc.stream_hash", "")),
                  _whole(event, "soc.n"), _whole(event, "soc.sub"))


def identified(event: Event) -> Event:
    """`event` with its id in `event.id`. Changes and returns it."""
    event["event.id"] = event_id(_whole(event, "event.created"), str(event.get("soc.stream_hash", "")),
                                 _whole(event, "soc.n"), _whole(event, "soc.sub"))
    return event


def narrowed(event: Event, fields: Collection[str]) -> Event:
    """`event` with only these fields and those it is known by (`IDENTITY`); the whole if none are named."""
    return {name: value for name, value in event.items() if name in fields or name in IDENTITY} if fields else event


def date_text(micros: str) -> str:
    """A date's microseconds as ISO 8601; a time that no calendar has stays the number."""
    try:
        return from_micros(int(micros)).isoformat()
    except OverflowError:
        return micros


def bucket_width(start: int, end: int, buckets: int) -> int:
    """The width of one of at most `buckets` equal buckets over [start, end). Raises QueryError."""
    if not 1 <= buckets <= MAX_BUCKETS:
        raise QueryError(f"a histogram has 1 to {MAX_BUCKETS:,} buckets")
    return max(1, -((start - end) // buckets))


def filled(start: int, end: int, width: int, counts: Mapping[int, int]) -> list[Bucket]:
    """Every bucket of [start, end), empty ones too; `counts` by bucket number."""
    return [Bucket(start + i * width, width, counts.get(i, 0)) for i in range(-((start - end) // width))]


def _whole(event: Event, name: str) -> int:
    value = event.get(name, 0)
    return value if isinstance(value, int) else 0
