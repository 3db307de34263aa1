"""Reading a search's values by the type of their field: numbers, dates, addresses, text."""
from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from soc.ecs import SYSTEM, TYPES, Kind, kind_of
from soc.errors import QueryError
from soc.event import parse_event_id, to_micros
from soc.store.fold import fold
from soc.store.query_tree import (
    EVERYTHING,
    FREE_TEXT,
    TEXT_FIELDS,
    Addresses,
    Between,
    Clause,
    Exists,
    Identity,
    Pattern,
    Phrase,
    Term,
    Wild,
)
from soc.store.query_words import Word

__all__ = ["clause_of", "date_span"]

ANY = Pattern((Wild.MANY,))
EVENT_ID = "event.id"

_NETWORK = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)/\d{1,3}")
_INTEGER = re.compile(r"[+-]?\d{1,19}")
_DATE = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[Tt ](\d{1,2})(?::(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?)?)?)?\s*(Z|z|[+-]\d{2}:?\d{2})?")
_ALIASES = {
    "ipaddress": "source.ip", "sourceip": "source.ip", "sourceaddress": "source.ip", "clientaddress": "source.ip", "srcip": "source.ip",
    "remoteaddr": "source.ip", "destinationip": "destination.ip", "destaddress": "destination.ip", "destip": "destination.ip",
    "dstip": "destination.ip", "sourceport": "source.port", "srcport": "source.port", "ipport": "source.port",
    "destinationport": "destination.port", "destport": "destination.port", "dstport": "destination.port",
    "processid": "process.pid", "newprocessid": "process.pid", "pid": "process.pid", "parentprocessid": "process.parent.pid",
    "ppid": "process.parent.pid", "utctime": "@timestamp", "timecreated": "@timestamp", "eventtime": "@timestamp", "timestamp": "@timestamp",
    "status": "http.response.status_code", "statuscode": "http.response.status_code", "bodybytessent": "http.response.body.bytes",
}


def clause_of(field: Word | None, value: Word) -> Clause:
    """The clause that `value` means for `field` (None: free text). Raises QueryError."""
    if field is None:
        if value.range is not None:
            raise QueryError("a range needs a field", value.column, remedy="write field:[a TO b]")
        if value.pattern == ANY:
            return EVERYTHING
        return _phrase(FREE_TEXT, value)
    name = field.text
    if name == "_exists_":
        return Exists(value.pattern.literal if value.pattern.literal is not None else value.text)
    kind = kind_of(name)
    if value.range is not None:
        return _range(name, kind, field, value)
    if value.pattern == ANY:
        return Exists(name) if name != EVENT_ID else EVERYTHING
    if name == EVENT_ID:
        return _identity(value)
    if name in TEXT_FIELDS:
        return _phrase((name,), value)
    if not value.quoted and _NETWORK.fullmatch(value.text):
        return _network(name, kind, field, value)
    literal = value.pattern.literal
    if kind == "date":
        if literal is None:
            raise QueryError(f"{name} is a date and takes no wildcards", value.column, remedy=f"write {name}:2026-05-01, or a range")
        low, high = date_span(literal, value.column)
        return Between(name, low, high)
    if kind == "long" and literal is not None and _INTEGER.fullmatch(literal):
        return Between(name, int(literal), int(literal))
    if kind == "double" and literal is not None and (number := _number(literal)) is not None:
        return Between(name, number, number)
    if kind == "ip" and literal is not None and (address := _address(literal)) is not None:
        return Term(name, Pattern((str(address),)))
    return Term(name, value.pattern)


def date_span(text: str, column: int) -> tuple[int, int]:
    """(first, last) microsecond of the year, month, day, hour, minute or second that `text` names; UTC without an offset.

    Raises QueryError.
    """
    found = _DATE.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second, fraction, offset = found.groups()
        start = datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC)
        low = to_micros(start)
        if fraction:
            digits = fraction[:6].ljust(6, "0")
            low += int(digits)
            width = 10 ** max(0, 6 - len(fraction))
        elif second or minute or hour or day:
            width = 1_000_000 * (1 if second else 60 if minute else 3600 if hour else 86_400)
        else:
            following = date(int(year) + (not month or int(month) == 12), int(month) % 12 + 1 if month else 1, 1)
            width = (following - start.date()) // timedelta(microseconds=1)
        if offset and offset not in "Zz":
            shift = (int(offset[1:3]) * 60 + int(offset[-2:])) * 60_000_000
            low -= shift if offset[0] == "+" else -shift
    except (ValueError, OverflowError):
        raise QueryError(f"{text[:80]!r} is not a date", column, remedy="write 2026-05-01, 2026-05-01T10:00 or 2026-05-01T10:00:00+07:00") from None
    return low, low + width - 1


def _phrase(fields: tuple[str, ...], value: Word) -> Clause:
    """Words to be found in text. Without a single letter or digit it is everything that holds the very characters."""
    if not value.pattern.parts:
        raise QueryError("there is nothing between the quotation marks", value.column, remedy="write what to look for")
    folded = Pattern(tuple(p if isinstance(p, Wild) else fold(p) for p in value.pattern.parts))
    return Phrase(fields, folded)


def _range(name: str, kind: Kind, field: Word, value: Word) -> Clause:
    span = value.range
    assert span is not None
    if kind == "ip":
        return _address_range(name, value)
    if kind not in ("long", "double", "date"):
        raise _untyped(name, field.column, "a range")
    if span.low is None and span.high is None:
        return Exists(name)
    low: float | None = None
    high: float | None = None
    if kind == "date":
        low = None if span.low is None else date_span(span.low, value.column)[span.low_open] + span.low_open
        high = None if span.high is None else date_span(span.high, value.column)[not span.high_open] - span.high_open
        return Between(name, low, high)
    if span.low is not None:
        low = _bound(span.low, name, value)
        if kind == "long":
            low = math.floor(low) + 1 if span.low_open else math.ceil(low)
        elif span.low_open:
            low = math.nextafter(low, math.inf)
    if span.high is not None:
        high = _bound(span.high, name, value)
        if kind == "long":
            high = math.ceil(high) - 1 if span.high_open else math.floor(high)
        elif span.high_open:
            high = math.nextafter(high, -math.inf)
    return Between(name, low, high)


def _bound(text: str, name: str, value: Word) -> int | float:
    number = _number(text)
    if number is None:
        raise QueryError(f"{text[:80]!r} is not a number, and {name} is one", value.column, remedy="write a number, or * for an open end")
    return number


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _network(name: str, kind: Kind, field: Word, value: Word) -> Clause:
    if kind != "ip":
        raise _untyped(name, field.column, "an address range (CIDR)", quote=value.text)
    try:
        network = ip_network(value.text, strict=False)
    except ValueError:
        raise QueryError(f"{value.text[:80]!r} is not a network", value.column, remedy="write it as 10.0.0.0/8 or 2001:db8::/32") from None
    return Addresses(name, network.version, int(network.network_address), int(network.broadcast_address), network.prefixlen)


def _address_range(name: str, value: Word) -> Clause:
    span = value.range
    assert span is not None
    ends = [None if text is None else _address(text) for text in (span.low, span.high)]
    if span.low is None and span.high is None:
        return Exists(name)
    for text, end in zip((span.low, span.high), ends, strict=True):
        if text is not None and end is None:
            raise QueryError(f"{text[:80]!r} is not an address", value.column, remedy="write addresses at both ends, or * for an open one")
    versions = {end.version for end in ends if end is not None}
    if len(versions) > 1:
        raise QueryError("a range from IPv4 to IPv6 holds nothing", value.column, remedy="write addresses of one version")
    version = versions.pop()
    low = 0 if ends[0] is None else int(ends[0]) + span.low_open
    high = 2 ** (32 if version == 4 else 128) - 1 if ends[1] is None else int(ends[1]) - span.high_open
    return Addresses(name, version, low, high)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _identity(value: Word) -> Clause:
    try:
        return Identity(*parse_event_id(value.text))
    except ValueError:
        raise QueryError(f"{value.text[:80]!r} is not an event id", value.column, remedy="copy it whole from an event") from None


def _untyped(name: str, column: int, what: str, quote: str = "") -> QueryError:
    typed = _typed_like(name, address="CIDR" in what)
    also = f'; to find the text itself, write {name}:"{quote}"' if quote else ""
    if typed:
        return QueryError(f"{name} is text and takes no {what.split(' ', 1)[1]}", column, remedy=f"use {typed}, which has a type{also}")
    return QueryError(f"{name} is text and takes no {what.split(' ', 1)[1]}", column,
                      remedy=f"ranges work on numbers, dates and addresses such as source.ip, destination.port, @timestamp{also}")


def _typed_like(name: str, *, address: bool) -> str:
    """The typed field that says the same as an untyped one, as far as its name tells."""
    wanted = [f for f, kind in {**TYPES, **SYSTEM}.items() if kind != "keyword" and (not address or kind == "ip")]
    squashed = re.sub(r"[^a-z0-9]", "", name.rsplit(".", 1)[-1].lower())
    found = _ALIASES.get(squashed, "")
    if found in wanted:
        return found
    for field in wanted:
        if re.sub(r"[^a-z0-9]", "", field.lower()) == squashed:
            return field
    close = get_close_matches(name, wanted, 1, 0.8)
    return close[0] if close else ""


