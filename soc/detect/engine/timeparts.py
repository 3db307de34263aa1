"""Parts of a time for Sigma's time modifiers: minute, hour, day, week, month, year of a field's value.

The specification (2.1, Time Modifiers) is "not designed to handle timezone or format conversions": the numbers are
those that the value shows, whatever its offset. Read are ISO 8601 texts, and Unix times (those are UTC) in seconds,
milliseconds or microseconds, as our own time fields are.
"""
from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

__all__ = ["PARTS", "part_of"]

PARTS: Final = ("minute", "hour", "day", "week", "month", "year")
_ISO: Final = re.compile(
    r"\s*([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:\s*(?:[Zz]|UTC|[+-][0-9]{2}:?(?:[0-9]{2})?))?)?\s*\Z")
_UNIX: Final = re.compile(r"[0-9]{9,16}\Z")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SIZES: Final = {9: 1_000_000, 10: 1_000_000, 12: 1_000, 13: 1_000, 15: 1, 16: 1}
"""Microseconds of one unit, by how many digits the number has (times from 1973 to 2286)."""


def part_of(text: str, part: str) -> int | None:
    """One part of the time that `text` shows; None if it shows none, or no time of day and that is asked for."""
    found = _parts(text) if len(text) <= 64 else None
    return None if found is None else found[PARTS.index(part)]


@lru_cache(maxsize=4096)
def _parts(text: str) -> tuple[int | None, ...] | None:
    found = _ISO.match(text)
    if found is not None:
        try:
            day = date(int(found[1]), int(found[2]), int(found[3]))
        except ValueError:
            return None
        hour, minute = (int(found[4]), int(found[5])) if found[4] else (None, None)
        if (hour or 0) > 23 or (minute or 0) > 59:
            return None
        return minute, hour, day.day, day.isocalendar().week, day.month, day.year
    if not _UNIX.match(text) or len(text) not in _SIZES:
        return None
    at = _EPOCH + timedelta(microseconds=int(text) * _SIZES[len(text)])
    return at.minute, at.hour, at.day, at.isocalendar().week, at.month, at.year
