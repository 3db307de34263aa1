"""Cisco IOS system messages (``… %FACILITY-SEVERITY-MNEMONIC: text``), their own fields under ``cisco.*``.

In front may stand, in any order seen in practice: a syslog priority, host, sequence number, and one or two times.
"""
from __future__ import annotations

import re
from typing import Final

from soc.errors import ParseError
from soc.event import Event, FrameContext
from soc.normalise.addresses import address
from soc.normalise.logsources import log_sources
from soc.normalise.syslog_header import priority
from soc.normalise.times import naive, syslog_stamp

FAMILY: Final = "network"
PRIORITY: Final = 40
HINTS: Final = ("cisco",)

_HEAD_LENGTH: Final = 512
_TAG: Final = re.compile(r"%([A-Z][A-Z0-9_]{0,31}(?:-[A-Z][A-Z0-9_]{0,31}){0,2})-([0-7])-([A-Z0-9_]{1,64}) ?:")
_TAG_BYTES: Final = re.compile(rb"%[A-Z][A-Z0-9_]{0,31}(?:-[A-Z][A-Z0-9_]{0,31}){0,2}-[0-7]-[A-Z0-9_]{1,64} ?:")
_PRI: Final = re.compile(r"<(\d{1,3})>")
_TIME: Final = re.compile(
    r"([*.])?([A-Z][a-z]{2} {1,2}\d{1,2} (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,9})?(?: \d{4})?)(?: ([A-Z]{2,5}))?(?=[: ]|$)")
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?")
_SEQUENCE: Final = re.compile(r"\d{1,12}$")
_LOGGED_COMMAND: Final = re.compile(r"User: ?(\S{1,128}) {1,4}logged command: ?(.*)", re.DOTALL)
_LOGIN: Final = re.compile(r"\[(user|Source|localport|Reason): ?([^\]]{0,256})\]", re.IGNORECASE)
_CONFIGURED: Final = re.compile(r"Configured from (\S{1,64}) by (?:(\S{1,128}) on )?(\S{1,64})(?: \(([^)]{1,64})\))?")
_ACCESS: Final = re.compile(
    r"list (\S{1,128}) (permitted|denied) (\S{1,32}) (\S{1,64}?)(?:\((\d{1,5})\))?(?: \S{1,64} ?\S{0,64}\))? -> (\S{1,64}?)"
    r"(?:\((\d{1,5})\))?[ ,(]")


def accepts(raw: bytes) -> bool:
    """A ``%FACILITY-SEVERITY-MNEMONIC:`` near the start."""
    return b"%" in raw[:_HEAD_LENGTH] and raw[:1] != b"{" and _TAG_BYTES.search(raw[:_HEAD_LENGTH]) is not None


def parse(raw: bytes, context: FrameContext) -> Event:
    """The event of one message. Raises ParseError format_mismatch."""
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
    tag = _TAG.search(text[:_HEAD_LENGTH])
    if tag is None:
        raise ParseError("format_mismatch", "no %FACILITY-SEVERITY-MNEMONIC")
    body = text[tag.end():].lstrip(" ")
    event: Event = {
        "cisco.facility": tag[1],
        "cisco.severity": tag[2],
        "cisco.mnemonic": tag[3],
        "event.code": f"{tag[1]}-{tag[2]}-{tag[3]}",
        "event.severity": int(tag[2]),
        "message": f"{tag[0]} {body}".rstrip(),
        "cisco.message": body,
        "soc.log_sources": log_sources().cisco(tag[1]),
    }
    _prefix(event, text[: tag.start()], context)
    _meaning(event, tag[1], tag[3], body)
    return event


def _prefix(event: Event, prefix: str, context: FrameContext) -> None:
    pri = _PRI.match(prefix)
    if pri is not None:
        priority(event, int(pri[1]))
        prefix = prefix[pri.end():].removeprefix("1 ")
    rest = prefix
    for stamp in _TIME.finditer(prefix):  # the last one is the device's own
        found = syslog_stamp(stamp[2], context, stamp[3] in ("UTC", "GMT"))
        if found is not None:
            event["@timestamp"] = found[0]
            if found[1]:
                event["soc.time_inferred"] = found[1]
            else:
                event.pop("soc.time_inferred", None)
        if stamp[1]:
            event["cisco.clock"] = "not set" if stamp[1] == "*" else "not synchronised"
        rest = rest.replace(stamp[0], " ")
    if "@timestamp" not in event and (written := _ISO.search(prefix)) is not None:
        moment = naive(written[0], context.timezone)
        if moment is not None:
            event["@timestamp"] = moment[0]
            if not moment[1]:
                event["soc.time_inferred"] = "zone"
        rest = rest.replace(written[0], " ")
    for word in rest.split()[:16]:
        word = word.strip(":") if not address(word) else word
        if not word or word in "*.-":
            continue
        if _SEQUENCE.match(word):
            event["cisco.sequence"] = word
        elif "host.name" not in event and len(word) <= 255:
            event["host.name"] = word
            if address(word):
                event["host.ip"] = address(word)


def _meaning(event: Event, facility: str, mnemonic: str, body: str) -> None:
    if mnemonic == "CFGLOG_LOGGEDCMD":
        command = _LOGGED_COMMAND.match(body)
        if command is not None:
            event["user.name"], event["cisco.command"] = command[1], command[2]
            event["process.command_line"] = command[2]
        event["event.category"], event["event.action"] = "configuration", "command-logged"
    elif facility == "SEC_LOGIN":
        for part in _LOGIN.finditer(body[:2048]):
            key, value = part[1].lower(), part[2]
            if key == "user" and value:
                event["user.name"] = value
            elif key == "source" and address(value):
                event["source.ip"] = address(value)
            elif key == "localport" and value.isdecimal() and value.isascii() and len(value) <= 5:
                event["destination.port"] = int(value)
            elif key == "reason":
                event["event.reason"] = value
        event["event.category"], event["event.action"] = "authentication", "login"
        event["event.outcome"] = "failure" if "FAIL" in mnemonic else "success"
    elif mnemonic == "CONFIG_I":
        by = _CONFIGURED.match(body)
        if by is not None:
            if by[2]:
                event["user.name"] = by[2]
            if by[4] and address(by[4]):
                event["source.ip"] = address(by[4])
        event["event.category"], event["event.action"] = "configuration", "configured"
    elif mnemonic.startswith("IPACCESSLOG"):
        access = _ACCESS.match(body)
        event["event.category"] = "network"
        if access is None:
            return
        event["rule.name"], event["network.transport"] = access[1], access[3]
        event["event.action"] = access[2]
        event["event.outcome"] = "success" if access[2] == "permitted" else "failure"
        for field, ip, port in (("source", access[4], access[5]), ("destination", access[6], access[7])):
            if address(ip):
                event[f"{field}.ip"] = address(ip)
            if port:
                event[f"{field}.port"] = int(port)
