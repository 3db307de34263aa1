"""Spans of time as forms and links have them: local times of the centre's zone to the second, as HTML's datetime-local writes them."""
from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from soc.errors import QueryError
from soc.event import Event, from_micros, to_micros
from soc.store.eventstore import TimeRange

__all__ = ["around", "day_of", "local", "span_of"]

_NEAR = 300_000_000


def span_of(since: str, until: str, zone: ZoneInfo) -> TimeRange:
    """From `since` up to `until`; "" is open. Raises QueryError for what is no time, or ends before it starts."""
    start, end = _micros(since, zone), _micros(until, zone)
    if start is not None and end is not None and end <= start:
        raise QueryError("`until` lies before `since`", remedy="exchange the two")
    return TimeRange(start, end)


def local(micros: int | None, zone: ZoneInfo) -> str:
    """A time as a form has it; "" for None."""
    return "" if micros is None else from_micros(micros).astimezone(zone).replace(microsecond=0, tzinfo=None).isoformat()


def day_of(micros: int, zone: ZoneInfo) -> TimeRange:
    """The day in that zone that a time lies in."""
    start = from_micros(micros).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return TimeRange(to_micros(start), to_micros((start.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)))


def around(event: Event, time: int, zone: ZoneInfo) -> list[tuple[str, str, str, str, str]]:
    """(field, value, query, since, until) of searches for what else the event's host, user and address did within five minutes of it."""
    return [(name, value, f'{name}:"{value}"', local(time - _NEAR, zone), local(time + _NEAR + 1_000_000, zone))
            for name in ("host.name", "user.name", "source.ip")
            if isinstance(value := event.get(name), str) and value and not set(value) & set('"\\')]


def _micros(text: str, zone: ZoneInfo) -> int | None:
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip())
        return to_micros(found if found.tzinfo else found.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        raise QueryError(f"{text[:40]!r} is no time", remedy="write it as 2026-11-26T14:02:11") from None
