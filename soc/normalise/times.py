"""Event times as parsers find them -> microseconds since 1970 UTC.

Text without a zone is read in the frame's; text without a year takes the latest year that does not put
the event more than a day after it was read (or after its file's time). Nothing here raises.
"""
from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from soc.event import EPOCH, FrameContext

__all__ = ["DEFAULT_ZONE", "clf", "epoch", "flexible", "iso", "naive", "syslog_stamp", "zone_of"]

DEFAULT_ZONE: Final = "Asia/Ho_Chi_Minh"
DAY: Final = 86_400_000_000
_MONTHS: Final = {name: n for n, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)}
_CLF: Final = re.compile(r"(\d{1,2})/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d)(?: ([+-]\d{2}):?(\d{2}))?$")
_STAMP: Final = re.compile(
    r"([A-Z][a-z]{2}) {1,2}(\d{1,2})(?: (\d{4}))? (\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?: (\d{4}))?$")


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """The named IANA zone; the default one if there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return ZoneInfo(DEFAULT_ZONE)


def micros(moment: datetime) -> int:
    """An aware moment as microseconds, exact for every year datetime knows."""
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000 + moment.microsecond


def iso(text: str) -> tuple[int, bool] | None:
    """(microseconds, had a zone) of ISO 8601 text; without a zone the number is as if UTC. None: not a time."""
    try:
        moment = datetime.fromisoformat(text)
        zoned = moment.tzinfo is not None
        return micros(moment if zoned else moment.replace(tzinfo=UTC)), zoned
    except (ValueError, OverflowError):
        return None


def naive(text: str, zone: str) -> tuple[int, bool] | None:
    """Like `iso`, but zone-less text is read in `zone`."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return micros(moment), True
        return micros(moment.replace(tzinfo=zone_of(zone))), False
    except (ValueError, OverflowError):
        return None


def epoch(number: float) -> int | None:
    """Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their size."""
    if not 0 < number < 1e19:
        return None
    if number < 1e11:
        return round(number * 1_000_000)
    if number < 1e14:
        return round(number * 1_000)
    return round(number) if number < 1e17 else round(number) // 1_000


def flexible(value: object, zone: str) -> tuple[int, bool] | None:
    """(microseconds, had a zone) of whatever a JSON record calls its time: ISO text or a number since 1970."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        number = epoch(value)
        return None if number is None else (number, True)
    if not isinstance(value, str) or not 4 < len(value) <= 64:
        return None
    text = value.strip()
    if text.replace(".", "", 1).isdecimal() and text.isascii():
        if len(text.partition(".")[0]) < 9:
            return None
        number = epoch(float(text) if "." in text else int(text))
        return None if number is None else (number, True)
    found = naive(text, zone)
    if found is None:
        return clf(text, zone)
    return found


@lru_cache(maxsize=8192)
def clf(text: str, zone: str) -> tuple[int, bool] | None:
    """(microseconds, had a zone) of a web server's ``10/Oct/2000:13:55:36 -0700``."""
    m = _CLF.match(text)
    if m is None or (month := _MONTHS.get(m[2])) is None:
        return None
    try:
        if m[7] is None:
            return micros(datetime(int(m[3]), month, int(m[1]), int(m[4]), int(m[5]), int(m[6]), tzinfo=zone_of(zone))), False
        moment = datetime(int(m[3]), month, int(m[1]), int(m[4]), int(m[5]), int(m[6]), tzinfo=UTC)
        offset = int(m[7]) * 3600 + int(m[7][0] + m[8]) * 60
        return micros(moment) - offset * 1_000_000, True
    except (ValueError, OverflowError):
        return None


def syslog_stamp(text: str, context: FrameContext, utc: bool = False) -> tuple[int, str] | None:
    """(microseconds, what was inferred) of ``Jun 14 15:16:01[.123]``, with or without a year.

    `utc`: the text said UTC. Without a year: `context.year`, else the latest year that does not put the
    event after its file's time (or its read time) + 1 day.
    """
    latest = (context.file_time or context.read_at) + DAY
    return _stamp(text, "UTC" if utc else context.timezone, context.year, latest, "" if utc else "zone")


@lru_cache(maxsize=8192)
def _stamp(text: str, zone: str, year: int | None, latest: int, inferred: str) -> tuple[int, str] | None:
    m = _STAMP.match(text)
    if m is None or (month := _MONTHS.get(m[1])) is None:
        return None
    fraction = int((m[7] or "0")[:6].ljust(6, "0"))
    written = m[3] or m[8]
    if written or year is not None:
        newest = oldest = int(written) if written else year or 1970
    else:
        newest = min((EPOCH + timedelta(microseconds=latest)).year + 1, 9999)
        oldest = max(newest - 10, 1)  # a 29 February may lie eight years back
    for candidate in range(newest, oldest - 1, -1):
        try:
            at = micros(datetime(candidate, month, int(m[2]), int(m[4]), int(m[5]), min(int(m[6]), 59), fraction,
                                 tzinfo=zone_of(zone)))
        except (ValueError, OverflowError):
            continue
        if written:
            return at, inferred
        if year is not None or at <= latest:
            return at, f"{inferred} year".strip()
    return None
