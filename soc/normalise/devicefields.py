"""What security devices say in CEF and LEEF, as ECS: one table per format's keys, and the times they write.

Everything a device says is kept under the format's own prefix; what is done here are copies, and a value that does not
fit its ECS field is simply not copied.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import urlsplit

from soc.event import Event, FrameContext
from soc.normalise.addresses import address
from soc.normalise.logsources import join, log_sources
from soc.normalise.times import epoch, naive, syslog_stamp

__all__ = ["Kind", "Table", "copy", "device_time", "judge_sources", "java_time"]

Kind = Literal["text", "lower", "ip", "long", "mac", "hash", "direction", "outcome"]
Table = Mapping[str, tuple[tuple[Kind, str], ...]]
"""A format's key -> the ECS fields it is copied to, each with how its value is read. Of several keys the first that is there counts."""

_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_HASHES: Final = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_SUCCESS: Final = frozenset(("success", "successful", "succeeded", "ok", "allowed", "passed"))
_FAILURE: Final = frozenset(("failure", "failed", "fail", "error", "denied", "blocked"))
_DIRECTIONS: Final = {"0": "inbound", "1": "outbound", "in": "inbound", "out": "outbound", "inbound": "inbound", "outbound": "outbound"}
_OFFSET: Final = re.compile(r" (?:UTC|GMT)?([+-])(\d\d):?(\d\d)$")
_NAMED_ZONE: Final = re.compile(r" ([A-Z][A-Za-z]{0,4}|Z)$")
_ZONES: Final = {"UTC": 0, "GMT": 0, "Z": 0, "ICT": 7, "WIB": 7, "SGT": 8, "JST": 9}
"""Abbreviations that mean one zone only; of others the source's zone is taken."""


def copy(event: Event, table: Table, said: Mapping[str, str]) -> None:
    """Copy what a device said to ECS fields that are still free, in the order of the table."""
    for key, targets in table.items():
        value = said.get(key)
        if value:
            for kind, field in targets:
                if field not in event:
                    _put(event, kind, field, value)
    if "url.original" in event and "url.path" not in event:
        _url(event, str(event["url.original"]))


def _put(event: Event, kind: Kind, field: str, value: str) -> None:
    if kind == "text":
        event[field] = value
    elif kind == "ip":
        if found := address(value):
            event[field] = found
    elif kind == "long":
        if value.isascii() and value.isdecimal() and len(value) < 19:
            event[field] = int(value)
    elif kind == "lower":
        event[field] = value.lower()
    elif kind == "mac":
        event[field] = value.replace(":", "-").upper()
    elif kind == "hash":
        name = _HASHES.get(len(value))
        if name and _HEX.fullmatch(value):
            event[f"{field}.{name}"] = value.lower()
    elif kind == "direction":
        if way := _DIRECTIONS.get(value.lower()):
            event[field] = way
    else:
        word = value.lower()
        if word in _SUCCESS or word in _FAILURE:
            event[field] = "success" if word in _SUCCESS else "failure"


def _url(event: Event, text: str) -> None:
    try:
        parts = urlsplit(text)
    except ValueError:
        return
    for field, value in (("url.path", parts.path), ("url.query", parts.query), ("url.domain", parts.hostname or "")):
        if value:
            event.setdefault(field, value)


def judge_sources(event: Event, dataset: str, vendor: str, product: str) -> None:
    """Set the log sources: by vendor and product, and by what the event tells (a connection judged, a web request)."""
    found = [*log_sources().device(vendor, product)]
    if "source.ip" in event and "destination.ip" in event and "event.action" in event:
        found.append(f"{dataset}/firewall/")
    if "url.original" in event and "http.request.method" in event:
        found.append(f"{dataset}/webserver/")
    event["soc.log_sources"] = join(found)


def device_time(text: str, context: FrameContext) -> tuple[int, str] | None:
    """(microseconds, what was inferred) of a time in any form the CEF and LEEF documents allow; None: none of them.

    Milliseconds (or seconds) since 1970; ``MMM dd [yyyy] HH:mm:ss[.SSS][ zone]``; ISO 8601.
    """
    text = text.strip()
    if not 8 <= len(text) <= 64 or not text.isascii():
        return None
    if text.isdecimal():
        number = epoch(int(text))
        return None if number is None else (number, "")
    if not text[0].isalpha():
        found = naive(text, context.timezone)
        return None if found is None else (found[0], "" if found[1] else "zone")
    offset: int | None = None
    if (written := _OFFSET.search(text)) is not None:
        offset = (int(written[2]) * 60 + int(written[3])) * (-1 if written[1] == "-" else 1)
        text = text[: written.start()]
    elif (named := _NAMED_ZONE.search(text)) is not None:
        hours = _ZONES.get(named[1])
        offset = None if hours is None else hours * 60
        text = text[: named.start()]
    moment = syslog_stamp(text, context, offset is not None)
    if moment is None or offset is None:
        return moment
    return moment[0] - offset * 60_000_000, moment[1]


_JAVA: Final = re.compile(r"'([^']*)'|([A-Za-z])\2*|.", re.DOTALL)
_JAVA_FIELDS: Final = {
    "yyyy": "%Y", "yy": "%y", "y": "%Y", "MMM": "%b", "MMMM": "%B", "MM": "%m", "M": "%m", "dd": "%d", "d": "%d", "HH": "%H",
    "H": "%H", "hh": "%I", "h": "%I", "a": "%p", "mm": "%M", "m": "%M", "ss": "%S", "s": "%S", "SSS": "%f", "SSSSSS": "%f",
    "SS": "%f", "S": "%f", "z": "%z", "Z": "%z", "X": "%z", "XX": "%z", "XXX": "%z", "EEE": "%a", "EEEE": "%A",
}


def java_time(text: str, pattern: str, context: FrameContext) -> tuple[int, str] | None:
    """(microseconds, what was inferred) of a time written by a pattern of Java's SimpleDateFormat (LEEF's devTimeFormat)."""
    directives = _directives(pattern)
    if directives is None or len(text) > 64:
        return None
    zoned = "%z" in directives
    if zoned:
        for name, hours in _ZONES.items():
            text = re.sub(rf"(?<=[ \d]){name}$", f"{hours:+03d}00", text)
        text = re.sub(r"(?:GMT|UTC)([+-]\d\d:?\d\d)$", r"\1", text)
    try:
        moment = datetime.strptime(text, directives)  # noqa: DTZ007  without a zone the source's is taken below
    except ValueError:
        return None
    if zoned:
        return _micros(moment), ""
    found = naive(moment.isoformat(), context.timezone)
    return None if found is None else (found[0], "zone")


def _micros(moment: datetime) -> int:
    whole = moment.astimezone(UTC)
    return int(whole.replace(microsecond=0).timestamp()) * 1_000_000 + whole.microsecond


@lru_cache(maxsize=256)
def _directives(pattern: str) -> str | None:
    """A SimpleDateFormat pattern as strptime's; None if it holds a letter that we do not know, or no year."""
    if len(pattern) > 64:
        return None
    parts: list[str] = []
    for found in _JAVA.finditer(pattern):
        if found[2]:
            field = _JAVA_FIELDS.get(found[0])
            if field is None:
                return None
            parts.append(field)
        else:
            parts.append((found[1] if found[0].startswith("'") and len(found[0]) > 1 else found[0]).replace("%", "%%"))
    whole = "".join(parts)
    return whole if "%Y" in whole or "%y" in whole else None
