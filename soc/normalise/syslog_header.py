"""What stands in front of a syslog message: priority, time, host, program, process id (RFC 3164, RFC 5424, and kin)."""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from soc.event import Event, FrameContext
from soc.normalise.jsontext import add, clean_name
from soc.normalise.times import naive, syslog_stamp

__all__ = ["Header", "looks_like", "priority", "read", "read_alone"]

FACILITIES: Final = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "security",
    "console", "solaris-cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)
SEVERITIES: Final = ("emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug")

_PRI: Final = re.compile(r"<(\d{1,3})>")
_BSD: Final = re.compile(
    r"([A-Z][a-z]{2} {1,2}\d{1,2} (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?: (UTC|GMT))?:?(?: |$)")
_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?) ")
_5424: Final = re.compile(
    r"1 (-|\d{4}-\d\d-\d\dT\S{1,40}) (\S{1,255}) (\S{1,128}) (\S{1,128}) (\S{1,64}) ?")
_TAG: Final = re.compile(r"([\w./@+#~$-]{1,128}?)(?:\(([\w.-]{1,64})\))?(?:\[([^\]\s]{0,32})\])?:(?: |$)")
_TAG_WITH_VERSION: Final = re.compile(r"([a-z]{2,32}) (\d[\w.]{0,15}):(?: |$)")
_PLAIN_WORDS: Final = re.compile(r"(?:[A-Za-z0-9<][A-Za-z0-9.:+/>\-]{0,63} *){0,5}")
_LOOKS: Final = re.compile(
    rb"(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} {1,2}\d{1,2} (?:\d{4} )?\d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,20} \S{1,255} \S"
    rb"|1 (?:-|\d{4}-\d\d-\d\dT\S{1,40}) \S)|<\d{1,3}>\S")


@dataclass(slots=True)
class Header:
    """What was read; `message` is the rest."""

    program: str = ""
    module: str = ""
    pid: str = ""
    message: str = ""


def looks_like(raw: bytes) -> bool:
    """Whether a record starts the way syslog does."""
    return _LOOKS.match(raw[:420]) is not None


def priority(event: Event, number: int) -> None:
    """A PRI value as ECS fields (RFC 5424 section 6.2.1); one above 191 is kept as a number only."""
    event["log.syslog.priority"] = number
    facility, severity = divmod(number, 8)
    if facility < len(FACILITIES):
        event["log.syslog.facility.code"] = facility
        event["log.syslog.facility.name"] = FACILITIES[facility]
        event["log.syslog.severity.code"] = severity
        event["log.syslog.severity.name"] = SEVERITIES[severity]


def read(event: Event, text: str, context: FrameContext) -> Header:
    """Take the header off a line: its fields go into `event`, the rest comes back."""
    start = 0
    pri = _PRI.match(text)
    if pri is not None:
        priority(event, int(pri[1]))
        start = pri.end()
        new = _5424.match(text, start)
        if new is not None:
            return _read_5424(event, new, text, context)
    stamp = _BSD.match(text, start)
    if stamp is not None:
        found = syslog_stamp(stamp[1], context, stamp[2] is not None)
        if found is not None:
            event["@timestamp"] = found[0]
            if found[1]:
                event["soc.time_inferred"] = found[1]
    else:
        stamp = _ISO.match(text, start)
        if stamp is not None:
            _at(event, stamp[1], context)
    rest = text[stamp.end():] if stamp is not None else text[start:]
    return _read_origin(event, rest, stamp is not None)


def read_alone(event: Event, text: str, context: FrameContext) -> bool:
    """Like `read`, of what stands in front of a format's own mark; False if that is more than a header.

    What a program says begins with the mark or does not have it: a mark within a request or a user's name is text that
    somebody put there.
    """
    header = read(event, text, context)
    rest = header.message.strip()
    return not rest or (not header.program and _PLAIN_WORDS.fullmatch(rest) is not None)


def _at(event: Event, text: str, context: FrameContext) -> None:
    found = naive(text, context.timezone)
    if found is not None:
        event["@timestamp"] = found[0]
        if not found[1]:
            event["soc.time_inferred"] = "zone"


def _read_origin(event: Event, rest: str, timed: bool) -> Header:
    """``host tag[pid]: message``, where host, or both, may be missing."""
    header = Header(message=rest)
    tag = None
    if timed:
        first, space, _ = rest[:300].partition(" ")
        if first and not first.endswith((":", "]")) and space:
            event["host.name"] = first
            rest = rest[len(first) + 1:]
            header.message = rest
    tag = _TAG.match(rest) or _TAG_WITH_VERSION.match(rest)
    if tag is None and rest[:4] == " -- ":  # login's own oddity: "host  -- root[2421]: ROOT LOGIN"
        tag = _TAG.match(rest, 4)
        if tag is not None:
            header.program, header.pid, header.message = "login", tag[3] or "", rest[tag.end():]
            return header
    if tag is None:
        return header
    header.program = tag[1].rpartition("/")[2] or tag[1]
    if tag.re is _TAG:
        header.module, header.pid = tag[2] or "", tag[3] or ""
    header.message = rest[tag.end():]
    return header


def _read_5424(event: Event, m: re.Match[str], text: str, context: FrameContext) -> Header:
    event["log.syslog.version"] = "1"
    if m[1] != "-":
        _at(event, m[1], context)
    if m[2] != "-":
        event["host.name"] = m[2]
    if m[5] != "-":
        event["log.syslog.msgid"] = m[5]
    header = Header(program="" if m[3] == "-" else m[3], pid="" if m[4] == "-" else m[4])
    end = _structured(event, text, m.end())
    header.message = text[end:].removeprefix(" ").removeprefix("\ufeff").lstrip(" ")  # rsyslog's own template leaves a second blank
    return header


def _structured(event: Event, text: str, at: int) -> int:
    """Read structured data (RFC 5424 section 6.3) into ``log.syslog.structured_data.``; where it ends."""
    if text.startswith("-", at):
        return at + 1
    while text.startswith("[", at):
        opened = at
        name, at = _token(text, at + 1)
        while text.startswith(" ", at):
            key, at = _token(text, at + 1)
            if not text.startswith('="', at):
                return opened
            value, at = _quoted(text, at + 2)
            if not key:
                return opened
            add(event, clean_name(f"log.syslog.structured_data.{name}.{key}"), value)
        if not text.startswith("]", at):
            return opened
        at += 1
    return at


def _token(text: str, at: int) -> tuple[str, int]:
    end = at
    limit = min(len(text), at + 128)
    while end < limit and text[end] not in ' ="]':
        end += 1
    return text[at:end], end


def _quoted(text: str, at: int) -> tuple[str, int]:
    """A parameter's value with its escapes resolved, and the place behind its closing quote."""
    parts: list[str] = []
    start = at
    while True:
        quote, slash = text.find('"', at), text.find("\\", at)
        if quote < 0:
            return text[start:], len(text)
        if 0 <= slash < quote:
            parts.append(text[start:slash])
            start, at = (slash + 1, slash + 2) if text[slash + 1: slash + 2] in ('"', "\\", "]") else (slash, slash + 2)
            continue
        parts.append(text[start:quote])
        return "".join(parts), quote + 1
