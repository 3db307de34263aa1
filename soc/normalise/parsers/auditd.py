"""Linux audit records, single lines or the joined lines of one event; the audit log's own fields under ``auditd.*``.

Hex-encoded values are decoded. A field that several lines of an event carry keeps all its values, as a list.
"""
from __future__ import annotations

import posixpath
import re
from typing import Final

from soc.errors import ParseError
from soc.event import Event, FrameContext
from soc.normalise.addresses import address
from soc.normalise.jsontext import MAX_FIELDS, add
from soc.normalise.logsources import log_sources

FAMILY: Final = "audit"
PRIORITY: Final = 20
HINTS: Final = ("/audit/", "auditd")

_HEAD: Final = re.compile(
    r"(?:node=(\S{1,255}) )?(?:type=([A-Z0-9_\[\]]{1,64}) )?(?:msg=)?audit\((\d{1,12})\.(\d{1,6}):(\d{1,20})\): ?")
_ACCEPTS: Final = re.compile(rb"(?:node=\S{1,255} )?type=\S{1,64} msg=audit\(")
_PAIR: Final = re.compile(r"""(?<![\w.\-])([A-Za-z_][\w.\-]{0,63}(?:\[\d{1,6}\])?)=("[^"]*"|'[^']*'|[^\s'"]\S*|)""")
_ARGUMENT: Final = re.compile(r"a(\d{1,6})(?:\[(\d{1,6})\])?$")
_ENCODED: Final = frozenset((
    "acct", "cmd", "comm", "cwd", "data", "dir", "exe", "file", "key", "name", "new", "ocomm", "old", "path", "proctitle", "vm",
))
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})+$")


def accepts(raw: bytes) -> bool:
    """``type=… msg=audit(…``, with or without ``node=``."""
    return raw[:5] in (b"type=", b"node=") and _ACCEPTS.match(raw[:400]) is not None


def parse(raw: bytes, context: FrameContext) -> Event:
    """The event of one record: one audit line, or all lines of one audit event. Raises ParseError format_mismatch."""
    text = raw.decode("utf-8", "backslashreplace")
    event: Event = {}
    types: list[str] = []
    arguments: dict[int, str] = {}
    for line in text.split("\n"):  # not splitlines: U+001D parts what auditd enriched
        head = _HEAD.match(line)
        if head is None:
            if not line.strip():
                continue
            if not types:
                raise ParseError("format_mismatch", "no audit header")
            add(event, "auditd.rest", line)
            continue
        kind = head[2] or "UNKNOWN"
        if kind not in types:
            types.append(kind)
        if "@timestamp" not in event:
            event["@timestamp"] = int(head[3]) * 1_000_000 + int(head[4].ljust(6, "0"))
            event["auditd.sequence"] = head[5]
            if head[1]:
                event["host.name"] = head[1]
        _fields(event, kind, line[head.end():], arguments)
    if not types:
        raise ParseError("format_mismatch", "empty")
    event["auditd.type"] = types[0] if len(types) == 1 else types
    if arguments:
        values = [arguments[n] for n in sorted(arguments)]
        event["process.args"] = values
        event["process.command_line"] = " ".join(values)
    kinds = types + _file_created(event, text) + _connected(event, types)
    event["soc.log_sources"] = log_sources().audit(kinds)
    _ecs(event, types)
    return event


def _file_created(event: Event, text: str) -> list[str]:
    """Files that the event made (PATH records of nametype CREATE), as file.path; says so as the kind FILE_CREATED."""
    if "nametype=CREATE" not in text:
        return []
    made: list[str] = []
    for line in text.split("\n"):
        head = _HEAD.match(line)
        if head is not None and head[2] == "PATH" and "nametype=CREATE" in line:
            found: dict[str, list[str]] = {}
            _pairs(found, "PATH", line[head.end():].partition("\x1d")[0], 0)
            path = found.get("name", [""])[0]
            if path and path != "(null)":
                made.append(path if path.startswith("/") else posixpath.join(_first(event, "auditd.cwd"), path))
    if not made:
        return []
    event["file.path"] = made if len(made) > 1 else made[0]
    return ["FILE_CREATED"]


_CONNECT: Final = frozenset({("c000003e", "42"), ("c00000b7", "203"), ("40000003", "362"), ("40000028", "283"), ("c00000f3", "203")})
"""(arch, number) of connect: x86_64, aarch64, i386, arm, riscv64."""


def _connected(event: Event, types: list[str]) -> list[str]:
    """The peer of a connect (SOCKADDR), as destination.ip and port; says so as the kind CONNECTED."""
    call = _first(event, "auditd.SYSCALL") == "connect" or (_first(event, "auditd.arch"), _first(event, "auditd.syscall")) in _CONNECT
    peer = _peer(_first(event, "auditd.saddr")) if call and "SOCKADDR" in types else None
    if peer is None:
        return []
    event["destination.ip"], event["destination.port"] = peer
    event["network.direction"], event["linux.initiated"] = "egress", "true"
    return ["CONNECTED"]


def _peer(saddr: str) -> tuple[str, int] | None:
    """(address, port) of a sockaddr_in or sockaddr_in6 as hex; families are little-endian, ports are not."""
    if not _HEX.match(saddr) or len(saddr) < 16:
        return None
    data = bytes.fromhex(saddr)
    family = int.from_bytes(data[:2], "little")
    if family == 2:
        found = address(".".join(map(str, data[4:8])))
    elif family == 10 and len(data) >= 24:
        found = address(data[8:24].hex(":", 2))
    else:
        return None
    return (found, int.from_bytes(data[2:4], "big")) if found else None


def _fields(event: Event, kind: str, body: str, arguments: dict[int, str]) -> None:
    own, _, enriched = body.partition("\x1d")
    found: dict[str, list[str]] = {}
    _pairs(found, kind, own, 0)
    if enriched:
        _pairs(found, kind, enriched, 0)
    if kind == "EXECVE":
        _execve(found, arguments)
    for name, values in found.items():
        add(event, f"auditd.{name}", values[0] if len(values) == 1 else values)
    if len(event) > MAX_FIELDS:
        raise ParseError("too_many_fields", f"more than {MAX_FIELDS}")


def _pairs(found: dict[str, list[str]], kind: str, text: str, depth: int) -> None:
    for pair in _PAIR.finditer(text):
        name, value = pair[1], pair[2]
        if value[:1] == "'" and name == "msg" and depth == 0:
            _pairs(found, kind, value[1:-1], 1)
            continue
        if value[:1] in ('"', "'"):
            value = value[1:-1]
        elif _is_encoded(kind, name, value):
            value = _decoded(name, value)
        found.setdefault(name, []).append(value)
        if len(found) > MAX_FIELDS:
            raise ParseError("too_many_fields", f"more than {MAX_FIELDS}")


def _is_encoded(kind: str, name: str, value: str) -> bool:
    if kind == "EXECVE":
        return _ARGUMENT.match(name) is not None and _HEX.match(value) is not None
    return name in _ENCODED and len(value) > 3 and _HEX.match(value) is not None


def _decoded(name: str, value: str) -> str:
    text = bytes.fromhex(value).decode("utf-8", "backslashreplace")
    return text.rstrip("\0").replace("\0", " ") if name == "proctitle" else text


def _execve(found: dict[str, list[str]], arguments: dict[int, str]) -> None:
    """Collect a0, a1, …; long arguments come in pieces ``a1[0]``, ``a1[1]`` and are joined under ``a1``."""
    pieces: dict[int, dict[int, str]] = {}
    for name in list(found):
        m = _ARGUMENT.match(name)
        if m is None:
            continue
        if m[2] is None:
            arguments[int(m[1])] = found[name][0]
        else:
            pieces.setdefault(int(m[1]), {})[int(m[2])] = found.pop(name)[0]
    for n, parts in pieces.items():
        whole = "".join(parts[part] for part in sorted(parts))
        found[f"a{n}"] = [arguments.get(n, "") + whole]
        arguments[n] = arguments.get(n, "") + whole


_COPIES: Final = (
    ("auditd.exe", "process.executable"), ("auditd.comm", "process.name"), ("auditd.cwd", "process.working_directory"),
    ("auditd.uid", "user.id"), ("auditd.auid", "user.audit.id"), ("auditd.acct", "user.name"), ("auditd.UID", "user.name"),
    ("auditd.key", "rule.name"), ("auditd.proctitle", "process.title"),
)
_NUMBERS: Final = (("auditd.pid", "process.pid"), ("auditd.ppid", "process.parent.pid"), ("auditd.exit", "process.exit_code"))
_AUTHENTICATION: Final = frozenset(("USER_AUTH", "USER_LOGIN", "USER_ACCT", "CRED_ACQ", "CRED_DISP", "USER_START", "USER_END"))
_ACCOUNTS: Final = frozenset(("ADD_USER", "DEL_USER", "ADD_GROUP", "DEL_GROUP", "USER_MGMT", "GRP_MGMT", "USER_CHAUTHTOK"))


def _ecs(event: Event, types: list[str]) -> None:
    for own, field in _COPIES:
        value = _first(event, own)
        if value and value not in ("?", "(null)", "(unknown)") and field not in event:
            event[field] = value
    for own, field in _NUMBERS:
        value = _first(event, own)
        if value and len(value) < 19 and value.removeprefix("-").isdecimal() and value.isascii():
            if own == "auditd.exit" and "EXECVE" not in types and "SYSCALL" in types:
                continue
            event[field] = int(value)
    if not isinstance(event.get("process.command_line"), str) and "auditd.cmd" in event:
        event["process.command_line"] = _first(event, "auditd.cmd")
    source = address(_first(event, "auditd.addr") or _first(event, "auditd.hostname"))
    if source:
        event["source.ip"] = source
    outcome = _first(event, "auditd.res") or _first(event, "auditd.success")
    if outcome:
        event["event.outcome"] = "success" if outcome in ("success", "yes", "1") else "failure"
    event["event.action"] = types[0].lower().replace("_", "-")
    if not _AUTHENTICATION.isdisjoint(types):
        event["event.category"] = "authentication"
    elif not _ACCOUNTS.isdisjoint(types):
        event["event.category"] = "iam"
    elif "EXECVE" in types:
        event["event.category"] = "process"


def _first(event: Event, name: str) -> str:
    value = event.get(name, "")
    if isinstance(value, list):
        return value[0] if value else ""
    return str(value)
