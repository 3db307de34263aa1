"""Syslog as Unix hosts write it (RFC 3164, RFC 5424, rsyslog's file formats), and what well-known programs say in it."""
from __future__ import annotations

from typing import Final

from soc.event import Event, FrameContext
from soc.normalise import programs, syslog_header
from soc.normalise.logsources import log_sources

FAMILY: Final = "linux"
PRIORITY: Final = 60
HINTS: Final = ()


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
    programs.understand(header.program, header.module, header.message, event)
    return event
