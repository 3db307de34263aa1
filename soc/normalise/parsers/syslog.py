"""Syslog as Unix hosts write it (RFC 3164, RFC 5424, rsyslog's file formats), and what well-known programs say in it.

A message that is itself a line of another dataset (nginx or Apache logging to syslog, audispd) is read as that.
"""
from __future__ import annotations

from types import ModuleType
from typing import Final

from soc.errors import ParseError
from soc.event import Event, FrameContext
from soc.normalise import programs, syslog_header
from soc.normalise.logsources import join, log_sources
from soc.normalise.parsers import apache, auditd, nginx

FAMILY: Final = "linux"
PRIORITY: Final = 60
HINTS: Final = ()

_WITHIN: Final = {
    "apache": apache, "apache2": apache, "httpd": apache, "nginx": nginx,
    "audispd": auditd, "audisp-syslog": auditd, "audit": auditd, "auditd": auditd,
}


def accepts(raw: bytes) -> bool:
    """A priority, an RFC 3164 time, or an ISO time with host and text behind it."""
    return syslog_header.looks_like(raw)


def parse(raw: bytes, context: FrameContext) -> Event:
    """The event of one line. Text without any header is a message with no more to it."""
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
    event: Event = {}
    header = syslog_header.read(event, text, context)
    event["message"] = header.message
    if header.program:
        event["process.name"] = header.program
        event["log.syslog.appname"] = header.program
    if header.pid:
        event["log.syslog.procid"] = header.pid
        if header.pid.isdecimal() and header.pid.isascii() and len(header.pid) < 19:
            event["process.pid"] = int(header.pid)
    event["soc.log_sources"] = log_sources().linux(header.program)
    within = _WITHIN.get(header.program.lower())
    if within is not None:
        _read_within(event, within, header.message, context)
    programs.understand(header.program, header.module, header.message, event)
    return event


def _read_within(event: Event, parser: ModuleType, message: str, context: FrameContext) -> None:
    """Add what the message's own parser finds; the header's fields stay, the message's own time counts."""
    line = message.encode("utf-8", "backslashreplace")
    if not parser.accepts(line):
        return
    try:
        inner = parser.parse(line, context)
    except ParseError:
        return
    if "@timestamp" in inner:
        event.pop("soc.time_inferred", None)
    sources = f"{event['soc.log_sources']} {inner['soc.log_sources']}".split()
    event.update({name: value for name, value in inner.items() if name not in ("message", "host.name")})
    event["soc.log_sources"] = join(sources)
    event["event.dataset"] = parser.__name__.rpartition(".")[2]
