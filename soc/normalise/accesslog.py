"""The access-log line that nginx and Apache share (common and combined format) -> ECS fields."""
from __future__ import annotations

import re
from typing import Final

from soc.event import Event, FrameContext
from soc.normalise.addresses import address
from soc.normalise.times import clf

__all__ = ["is_combined", "is_common", "read"]

_LINE: Final = re.compile(
    r'(?:([\w.-]{1,255}:\d{1,5}) )?(\S{1,255}) (\S{1,255}) (.{0,255}?) \[([^\]]{1,64})\] '
    r'"([^"\\]*(?:\\.[^"\\]*)*)" (\d{3}|-) (\d{1,19}|-)'
    r'(?: "([^"\\]*(?:\\.[^"\\]*)*)" "([^"\\]*(?:\\.[^"\\]*)*)"(?: (.*))?)?', re.DOTALL)
_START: Final = re.compile(
    rb"(?!<\d|[A-Z][a-z]{2} [ \d]\d )(?:[\w.-]{1,255}:\d{1,5} )?\S{1,255} \S{1,255} [^\n]{0,255}? "
    rb"\[\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d")
_BYTES: Final = re.compile(r"(?:\\x[89A-Fa-f][0-9A-Fa-f]){2,}")
_METHOD: Final = re.compile(r"[A-Za-z][A-Za-z_-]{0,31}$")


def is_common(raw: bytes) -> bool:
    """Whether a line starts as an access log does: host, identity, user, ``[10/Oct/2000:13:55:36``."""
    return b" [" in raw[:600] and _START.match(raw[:1100]) is not None


def is_combined(raw: bytes) -> bool:
    """Whether it also ends in quoted referrer and user agent."""
    return is_common(raw) and raw.count(b'"') >= 6


def read(text: str, context: FrameContext, own: str) -> Event | None:
    """The fields of one line; what is beyond the format goes to ``<own>.access.rest``. None: not such a line."""
    m = _LINE.match(text)
    if m is None:
        return None
    vhost, peer, identity, user, stamp, request, status, size, referrer, agent, rest = m.groups()
    event: Event = {"event.category": "web", "source.address": peer}
    found = address(peer)
    if found:
        event["source.ip"] = found
    else:
        event["source.domain"] = peer
    moment = clf(stamp, context.timezone)
    if moment is not None:
        event["@timestamp"] = moment[0]
        if not moment[1]:
            event["soc.time_inferred"] = "zone"
    if vhost:
        event["url.domain"], _, port = vhost.rpartition(":")
        event["url.port"] = int(port)
    if identity != "-":
        event[f"{own}.access.identity"] = identity
    if user != "-":
        event["user.name"] = user
    request_line(event, unescaped(request))
    if status != "-":
        event["http.response.status_code"] = int(status)
        event["event.outcome"] = "failure" if status >= "400" else "success"
    if size != "-" and int(size) < 2**63:
        event["http.response.bytes"] = int(size)
    if referrer and referrer != "-":
        event["http.request.referrer"] = unescaped(referrer)
    if agent and agent != "-":
        event["user_agent.original"] = unescaped(agent)
    tail = rest if rest is not None else text[m.end():].strip(" \r\n")
    if tail:
        event[f"{own}.access.rest"] = tail
    return event


def unescaped(text: str) -> str:
    """The text as it was sent: servers write each byte beyond ASCII as `\\xHH`. What is no UTF-8, and other escapes, stay as written."""
    return _BYTES.sub(_text, text) if "\\x" in text else text


def _text(m: re.Match[str]) -> str:
    try:
        return bytes.fromhex(m[0].replace("\\x", "")).decode("utf-8")
    except UnicodeDecodeError:
        return m[0]


def request_line(event: Event, request: str) -> None:
    """Method, target and version of a request line; a malformed one is kept whole as `http.request.line`."""
    method, _, rest = request.partition(" ")
    target, _, version = rest.rpartition(" ")
    if not target and not version.startswith("HTTP/"):
        target, version = version, ""  # HTTP/0.9: no version at all
    if not target or not _METHOD.match(method) or (version and not version.startswith("HTTP/")):
        if request not in ("", "-"):
            event["http.request.line"] = request
        return
    if " " in target or not version:
        event["http.request.line"] = request
    event["http.request.method"] = method
    event["url.original"] = target
    path, mark, query = target.partition("?")
    event["url.path"] = path
    if mark:
        event["url.query"] = query
    if version:
        event["http.version"] = version[5:]
