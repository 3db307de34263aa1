"""IBM's Log Event Extended Format, 1.0 and 2.0: ``LEEF:2.0|vendor|product|version|event id|delimiter|key=value…``, bare or in syslog.

Every attribute is kept under ``leef.attributes.`` as it is named. LEEF knows no escapes: values are taken as they stand.
Source: IBM QRadar Log Event Extended Format guide, version 2.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from soc.errors import ParseError
from soc.event import Event, FrameContext
from soc.normalise import devicefields, syslog_header
from soc.normalise.devicefields import Table
from soc.normalise.jsontext import MAX_FIELDS, add, clean_name

FAMILY: Final = "network"
PRIORITY: Final = 51
HINTS: Final = ("leef",)

_HEAD_LENGTH: Final = 1024
_HEAD_BYTES: Final = re.compile(rb"(?:^|[^0-9A-Za-z])LEEF: ?[12]")
_HEAD: Final = re.compile(r"(?:^|(?<=[^0-9A-Za-z]))LEEF: ?(1\.0|2\.0|[12])\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)(?:\||$)", re.DOTALL)
_DELIMITER: Final = re.compile(r"(?:(0?x[0-9A-Fa-f]{1,4})|([^|]))?\|", re.DOTALL)
_SPACED: Final = re.compile(r" (?=[A-Za-z][A-Za-z0-9_.\-]{0,63}=)")
_TAB_AS_WRITTEN: Final = "#011"
"""What rsyslog makes of a tab that it receives, unless told not to."""

FIELDS: Final[Table] = {
    "msg": (("text", "message"),),
    "src": (("ip", "source.ip"),), "identSrc": (("ip", "source.ip"),), "srcPort": (("long", "source.port"),),
    "srcMAC": (("mac", "source.mac"),), "srcPreNAT": (("ip", "source.nat.ip"),), "srcPostNAT": (("ip", "source.nat.ip"),),
    "srcBytes": (("long", "source.bytes"),), "srcPackets": (("long", "source.packets"),), "identHostName": (("text", "source.domain"),),
    "dst": (("ip", "destination.ip"),), "dstPort": (("long", "destination.port"),), "dstMAC": (("mac", "destination.mac"),),
    "dstPostNAT": (("text", "destination.nat.ip"),), "dstBytes": (("long", "destination.bytes"),),
    "dstPackets": (("long", "destination.packets"),), "totalPackets": (("long", "network.packets"),),
    "usrName": (("text", "user.name"),), "accountName": (("text", "user.name"),), "domain": (("text", "user.domain"),),
    "groupID": (("text", "group.id"),), "role": (("text", "user.roles"),),
    "proto": (("lower", "network.transport"),), "protocol": (("lower", "network.transport"),),
    "action": (("lower", "event.action"),), "act": (("lower", "event.action"),), "policy": (("text", "rule.name"),),
    "reason": (("text", "event.reason"),), "outcome": (("outcome", "event.outcome"),),
    "resource": (("text", "host.name"), ("text", "observer.hostname")), "devName": (("text", "host.name"), ("text", "observer.hostname")),
    "url": (("text", "url.original"),), "request": (("text", "url.original"),), "method": (("text", "http.request.method"),),
    "requestMethod": (("text", "http.request.method"),), "userAgent": (("text", "user_agent.original"),),
    "fileName": (("text", "file.name"),), "filePath": (("text", "file.path"),), "fileHash": (("hash", "file.hash"),),
}


def accepts(raw: bytes) -> bool:
    """``LEEF:1`` or ``LEEF:2`` near the start, and no JSON."""
    return b"LEEF:" in raw[:_HEAD_LENGTH] and raw[:1] != b"{" and _HEAD_BYTES.search(raw[:_HEAD_LENGTH]) is not None


def parse(raw: bytes, context: FrameContext) -> Event:
    """The event of one message. Raises ParseError format_mismatch, too_many_fields, name_too_long."""
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n\0")
    head = _HEAD.search(text)
    if head is None or head.start() > _HEAD_LENGTH:
        raise ParseError("format_mismatch", "no LEEF:version and four fields behind it")
    event: Event = {}
    if not syslog_header.read_alone(event, text[: head.start()], context):
        raise ParseError("format_mismatch", "LEEF: stands within other text")
    version, vendor, product, product_version, code = head.groups()
    event.update({
        "leef.version": version, "leef.vendor": vendor, "leef.product": product, "leef.product_version": product_version,
        "leef.event_id": code, "observer.vendor": vendor, "observer.product": product, "observer.version": product_version,
        "event.code": code,
    })
    delimiter, start = _delimiter(text, head.end(), version)
    said: dict[str, str] = {}
    for key, value in attributes(text[start:], delimiter):
        add(event, clean_name(f"leef.attributes.{key}"), value)
        said.setdefault(key, value)
        if len(said) > MAX_FIELDS:
            raise ParseError("too_many_fields", f"more than {MAX_FIELDS}")
    devicefields.copy(event, FIELDS, said)
    event.setdefault("message", text[head.start():])
    severity = said.get("sev", "")
    if severity.isascii() and severity.isdecimal() and len(severity) <= 2:
        event["event.severity"] = int(severity)
    _time(event, said, context)
    devicefields.judge_sources(event, "leef", vendor, product)
    return event


def _delimiter(text: str, at: int, version: str) -> tuple[str, int]:
    """What stands between attributes (LEEF 2.0 says it: a character or its code in hexadecimal; else a tab), and where they begin."""
    said = _DELIMITER.match(text, at) if version.startswith("2") else None
    if said is None:
        return "\t", at
    if said[1]:
        number = int(said[1].lstrip("0xX") or "0", 16)
        return (chr(number) if 0 < number < 0xD800 else "\t"), said.end()
    return said[2] or "\t", said.end()


def attributes(text: str, delimiter: str) -> Iterator[tuple[str, str]]:
    """(key, value) of attributes: what has no ``=`` belongs to the value before it; before the first key it has the key ``_``.

    Where tabs are said and none is there, they were made ``#011`` or blanks on the way.
    """
    parts = text.split(delimiter)
    if len(parts) == 1 and delimiter == "\t":
        parts = text.split(_TAB_AS_WRITTEN) if _TAB_AS_WRITTEN in text else _SPACED.split(text)
    key, value, begun = "_", "", False
    for part in parts:
        name, equals, rest = part.partition("=")
        if equals and name.strip():
            if begun:
                yield key, value
            key, value, begun = name.strip(), rest, True
        elif begun:
            value += delimiter + part
        elif part.strip():
            key, value, begun = "_", part, True
    if begun:
        yield key, value.rstrip(delimiter) if delimiter == "\t" else value


def _time(event: Event, said: dict[str, str], context: FrameContext) -> None:
    written = said.get("devTime")
    if written is None:
        return
    pattern = said.get("devTimeFormat", "")
    found = (devicefields.java_time(written, pattern, context) if pattern else None) or devicefields.device_time(written, context)
    if found is not None:
        event["@timestamp"] = found[0]
        event.pop("soc.time_inferred", None)
        if found[1]:
            event["soc.time_inferred"] = found[1]
