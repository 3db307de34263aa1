"""ArcSight Common Event Format: ``CEF:0|vendor|product|version|class id|name|severity|key=value …``, bare or inside syslog.

Every extension is kept under ``cef.extensions.`` as it is named (escapes resolved), labelled custom ones under
``cef.custom.<label>`` too. Source: ArcSight CEF Implementation Standard, version 25.
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
PRIORITY: Final = 50
HINTS: Final = ("cef",)

_HEAD_LENGTH: Final = 1024
_HEAD_BYTES: Final = re.compile(rb"(?:^|[^0-9A-Za-z])CEF: ?\d")
_HEAD: Final = re.compile(
    r"(?:^|(?<=[^0-9A-Za-z]))CEF: ?(\d{1,3}(?:\.\d{1,3})?)" + r"\|([^|\\]*(?:\\.[^|\\]*)*)" * 6 + r"(?:\||$)", re.DOTALL)
_KEY: Final = re.compile(r"(?:^|[ \t])([A-Za-z0-9_][A-Za-z0-9_.\-]*(?:\[[0-9]{1,5}\])?)=")
_ESCAPE: Final = re.compile(r"\\([\\=|nr])")
_RESOLVED: Final = {"\\": "\\", "=": "=", "|": "|", "n": "\n", "r": "\r"}
_HEADER_ESCAPE: Final = re.compile(r"\\([\\|])")
_SEVERITIES: Final = {"unknown": 0, "low": 3, "medium": 6, "high": 8, "very-high": 10, "very high": 10}
_TIMES: Final = ("rt", "deviceReceiptTime", "end", "start")
_SIGNATURES: Final = frozenset(("virus name", "virusname", "malware name", "malware", "threat name", "threatname", "signature"))

FIELDS: Final[Table] = {
    "msg": (("text", "message"),), "message": (("text", "message"),),
    "src": (("ip", "source.ip"),), "sourceAddress": (("ip", "source.ip"),), "c6a2": (("ip", "source.ip"),),
    "spt": (("long", "source.port"),), "sourcePort": (("long", "source.port"),),
    "smac": (("mac", "source.mac"),), "shost": (("text", "source.domain"),), "sntdom": (("text", "source.user.domain"),),
    "sourceTranslatedAddress": (("ip", "source.nat.ip"),), "sourceTranslatedPort": (("text", "source.nat.port"),),
    "dst": (("ip", "destination.ip"),), "destinationAddress": (("ip", "destination.ip"),), "c6a3": (("ip", "destination.ip"),),
    "dpt": (("long", "destination.port"),), "destinationPort": (("long", "destination.port"),),
    "dmac": (("mac", "destination.mac"),), "dhost": (("text", "destination.domain"),), "dntdom": (("text", "destination.user.domain"),),
    "destinationTranslatedAddress": (("text", "destination.nat.ip"),), "destinationTranslatedPort": (("text", "destination.nat.port"),),
    "suser": (("text", "source.user.name"), ("text", "user.name")), "sourceUserName": (("text", "source.user.name"), ("text", "user.name")),
    "suid": (("text", "source.user.id"),),
    "duser": (("text", "destination.user.name"), ("text", "user.name")),
    "destinationUserName": (("text", "destination.user.name"), ("text", "user.name")), "duid": (("text", "destination.user.id"),),
    "act": (("lower", "event.action"),), "deviceAction": (("lower", "event.action"),),
    "outcome": (("outcome", "event.outcome"),), "reason": (("text", "event.reason"),), "externalId": (("text", "event.id"),),
    "app": (("lower", "network.protocol"),), "proto": (("lower", "network.transport"),),
    "deviceDirection": (("direction", "network.direction"),),
    "in": (("long", "source.bytes"),), "bytesIn": (("long", "source.bytes"),),
    "out": (("long", "destination.bytes"),), "bytesOut": (("long", "destination.bytes"),),
    "request": (("text", "url.original"),), "requestMethod": (("text", "http.request.method"),),
    "requestClientApplication": (("text", "user_agent.original"),), "requestContext": (("text", "http.request.referrer"),),
    "requestCookies": (("text", "http.request.cookie"),),
    "fname": (("text", "file.name"),), "filePath": (("text", "file.path"),), "fileHash": (("hash", "file.hash"),),
    "fsize": (("text", "file.size"),),
    "dvchost": (("text", "host.name"), ("text", "observer.hostname")), "dvc": (("text", "observer.ip"),),
    "dvcmac": (("mac", "observer.mac"),), "deviceExternalId": (("text", "observer.serial_number"),),
    "deviceInboundInterface": (("text", "observer.ingress.interface.name"),),
    "deviceOutboundInterface": (("text", "observer.egress.interface.name"),),
    "dproc": (("text", "process.name"),), "dpid": (("long", "process.pid"),),
    "sproc": (("text", "process.name"),), "spid": (("long", "process.pid"),), "deviceProcessName": (("text", "process.name"),),
}


def accepts(raw: bytes) -> bool:
    """``CEF:`` and a digit near the start, and no JSON."""
    return b"CEF:" in raw[:_HEAD_LENGTH] and raw[:1] != b"{" and _HEAD_BYTES.search(raw[:_HEAD_LENGTH]) is not None


def parse(raw: bytes, context: FrameContext) -> Event:
    """The event of one message. Raises ParseError format_mismatch, too_many_fields, name_too_long."""
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n\0")
    head = _HEAD.search(text)
    if head is None or head.start() > _HEAD_LENGTH:
        raise ParseError("format_mismatch", "no CEF:version and six fields behind it")
    event: Event = {}
    if not syslog_header.read_alone(event, text[: head.start()], context):
        raise ParseError("format_mismatch", "CEF: stands within other text")
    vendor, product, version, code, name, severity = (_HEADER_ESCAPE.sub(r"\1", part) for part in head.groups()[1:])
    event.update({
        "cef.version": head[1], "cef.device.vendor": vendor, "cef.device.product": product, "cef.device.version": version,
        "cef.device.event_class_id": code, "cef.name": name, "cef.severity": severity,
        "observer.vendor": vendor, "observer.product": product, "observer.version": version, "event.code": code,
    })
    said: dict[str, str] = {}
    for key, value in extensions(text[head.end():]):
        add(event, clean_name(f"cef.extensions.{key}"), value)
        said.setdefault(key, value)
        if len(said) > MAX_FIELDS:
            raise ParseError("too_many_fields", f"more than {MAX_FIELDS}")
    devicefields.copy(event, FIELDS, said)
    event.setdefault("message", name)
    _severity(event, severity)
    _custom(event, said)
    _time(event, said, context)
    devicefields.judge_sources(event, "cef", vendor, product)
    return event


def extensions(text: str) -> Iterator[tuple[str, str]]:
    """(key, value) of an extension: a value ends where a blank and the next ``key=`` begin (an escaped ``=`` begins none).

    What stands before the first key has the key ``_``.
    """
    key, start = "_", 0
    for found in _KEY.finditer(text):
        if start or found.start():
            value = text[start: found.start()]
            if key != "_" or value.strip():
                yield key, _resolve(value)
        key, start = found[1], found.end()
    if (rest := text[start:]) or key != "_":
        yield key, _resolve(rest)


def _resolve(value: str) -> str:
    return _ESCAPE.sub(lambda found: _RESOLVED[found[1]], value) if "\\" in value else value


def _severity(event: Event, severity: str) -> None:
    if severity.isascii() and severity.isdecimal() and len(severity) <= 2:
        event["event.severity"] = int(severity)
    elif severity.lower() in _SEVERITIES:
        event["event.severity"] = _SEVERITIES[severity.lower()]


def _custom(event: Event, said: dict[str, str]) -> None:
    """Custom fields under their labels: ``cs1=Web cs1Label=Policy`` is ``cef.custom.Policy`` too."""
    for key, label in said.items():
        if key.endswith("Label") and label and (value := said.get(key[:-5])) is not None:
            add(event, clean_name(f"cef.custom.{label[:256]}"), value)
            if label.lower() in _SIGNATURES:
                event.setdefault("rule.name", value)


def _time(event: Event, said: dict[str, str], context: FrameContext) -> None:
    for key in _TIMES:
        found = devicefields.device_time(said[key], context) if key in said else None
        if found is not None:
            event["@timestamp"] = found[0]
            event.pop("soc.time_inferred", None)
            if found[1]:
                event["soc.time_inferred"] = found[1]
            break
    for key, field in (("start", "event.start"), ("end", "event.end")):
        moment = devicefields.device_time(said[key], context) if key in said else None
        if moment is not None:
            event[field] = moment[0]
