"""Apache httpd access logs (common, combined, with virtual host in front) and error logs (2.2 and 2.4)."""
from __future__ import annotations

import re
from typing import Final

from soc.errors import ParseError
from soc.event import Event, FrameContext
from soc.normalise import accesslog
from soc.normalise.addresses import endpoint
from soc.normalise.times import syslog_stamp

FAMILY: Final = "web"
PRIORITY: Final = 31
HINTS: Final = ("apache", "httpd")

_ERROR: Final = re.compile(
    r"\[[A-Z][a-z]{2} ([A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d{1,9})? \d{4})\] (?:\[(?:([\w.-]{0,64}):)?(\w{1,16})\] )?"
    r"(?:\[pid (\d{1,10})(?::tid (\d{1,20}))?\] )?(?:\[client ([^\]\s]{1,255})\] )?(.*)", re.DOTALL)
_ERROR_START: Final = re.compile(rb"\[[A-Z][a-z]{2} [A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d{1,9})? \d{4}\] ")
_CODE: Final = re.compile(r"(AH\d{5}): ")
_REFERRER: Final = ", referer: "


def accepts(raw: bytes) -> bool:
    """An access line of any kind, or ``[Sun Dec 04 04:47:44 2005] ``."""
    return _ERROR_START.match(raw[:80]) is not None or accesslog.is_common(raw)


def parse(raw: bytes, context: FrameContext) -> Event:
    """The event of one line. Raises ParseError format_mismatch."""
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
    error = _ERROR.match(text)
    if error is not None:
        return _error(error, context)
    event = accesslog.read(text, context, "apache")
    if event is None:
        raise ParseError("format_mismatch", "neither an access nor an error line")
    event["soc.log_sources"] = "apache/webserver/apache"
    return event


def _error(m: re.Match[str], context: FrameContext) -> Event:
    event: Event = {"event.category": "web", "message": m[7], "soc.log_sources": "apache//apache"}
    found = syslog_stamp(m[1], context)
    if found is not None:
        event["@timestamp"] = found[0]
        if found[1]:
            event["soc.time_inferred"] = found[1]
    if m[2]:
        event["apache.error.module"] = m[2]
    if m[3]:
        event["log.level"] = m[3]
    if m[4]:
        event["process.pid"] = int(m[4])
    if m[5]:
        event["process.thread.id"] = m[5]
    if m[6]:
        event["source.address"] = m[6]
        ip, port = endpoint(m[6])
        if ip:
            event["source.ip"] = ip
        if port is not None:
            event["source.port"] = port
    code = _CODE.search(m[7][:256])
    if code is not None:
        event["event.code"] = code[1]
    head, marker, referrer = m[7].rpartition(_REFERRER)
    if marker and head:
        event["http.request.referrer"] = referrer
    return event
