"""nginx access logs (combined, with or without more at the end) and error logs."""
from __future__ import annotations

import re
from typing import Final

from soc.errors import ParseError
from soc.event import Event, FrameContext
from soc.normalise import accesslog
from soc.normalise.addresses import endpoint
from soc.normalise.times import naive

FAMILY: Final = "web"
PRIORITY: Final = 30
HINTS: Final = ("nginx",)

_ERROR: Final = re.compile(
    r"(\d{4})/(\d\d)/(\d\d) (\d\d:\d\d:\d\d) \[(\w{1,16})\] (\d{1,10})#(\d{1,10}): (?:\*(\d{1,20}) )?(.*)", re.DOTALL)
_ERROR_START: Final = re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w{1,16}\] \d{1,10}#\d{1,10}: ")
_CONTEXT: Final = re.compile(r', (client|server|request|upstream|host|referrer): ("[^"]{0,8192}"|[^,"]{1,1024})')


def accepts(raw: bytes) -> bool:
    """A combined access line or nginx's own error line."""
    return accesslog.is_combined(raw) or _ERROR_START.match(raw[:80]) is not None


def parse(raw: bytes, context: FrameContext) -> Event:
    """The event of one line. Raises ParseError format_mismatch."""
    text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
    error = _ERROR.match(text)
    if error is not None:
        return _error(error, context)
    event = accesslog.read(text, context, "nginx")
    if event is None:
        raise ParseError("format_mismatch", "neither an access nor an error line")
    event["soc.log_sources"] = "nginx/webserver/nginx"
    return event


def _error(m: re.Match[str], context: FrameContext) -> Event:
    event: Event = {
        "event.category": "web",
        "log.level": m[5],
        "process.pid": int(m[6]),
        "process.thread.id": m[7],
        "message": m[9],
        "soc.log_sources": "nginx//nginx",
    }
    found = naive(f"{m[1]}-{m[2]}-{m[3]}T{m[4]}", context.timezone)
    if found is not None:
        event["@timestamp"], event["soc.time_inferred"] = found[0], "zone"
    if m[8]:
        event["nginx.error.connection_id"] = m[8]
    at = m[9].find(", client: ")
    for part in _CONTEXT.finditer(m[9], at if at >= 0 else len(m[9])):
        key, value = part[1], part[2].strip('"')
        if key == "client":
            ip, port = endpoint(value.removeprefix("unix:"))
            if ip:
                event["source.ip"] = ip
            if port is not None:
                event["source.port"] = port
            event["source.address"] = value
        elif key == "request":
            accesslog.request_line(event, value)
        elif key == "referrer":
            event["http.request.referrer"] = value
        elif key == "host":
            event["url.domain"] = value
        else:
            event[f"nginx.error.{key}"] = value
    return event
