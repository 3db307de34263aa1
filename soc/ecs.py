"""The ECS fields that have types here, and the names our own namespace adds.

Everything not listed is a string (or list of strings): lossless, never coerced.
Source: Elastic Common Schema 8.17 field reference.
"""
from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

__all__ = ["Kind", "SYSTEM", "TYPES", "coerce", "kind_of"]

Kind = Literal["keyword", "long", "double", "boolean", "date", "ip"]

TYPES: dict[str, Kind] = {
    "@timestamp": "date",
    "event.created": "date",
    "event.ingested": "date",
    "event.start": "date",
    "event.end": "date",
    "event.duration": "long",
    "event.severity": "long",
    "event.sequence": "long",
    "client.bytes": "long",
    "client.ip": "ip",
    "client.port": "long",
    "destination.bytes": "long",
    "destination.ip": "ip",
    "destination.packets": "long",
    "destination.port": "long",
    "http.request.body.bytes": "long",
    "http.request.bytes": "long",
    "http.response.body.bytes": "long",
    "http.response.bytes": "long",
    "http.response.status_code": "long",
    "log.syslog.facility.code": "long",
    "log.syslog.priority": "long",
    "log.syslog.severity.code": "long",
    "network.bytes": "long",
    "network.packets": "long",
    "process.exit_code": "long",
    "process.parent.pid": "long",
    "process.pid": "long",
    "server.bytes": "long",
    "server.ip": "ip",
    "server.port": "long",
    "source.bytes": "long",
    "source.ip": "ip",
    "source.nat.ip": "ip",
    "source.packets": "long",
    "source.port": "long",
    "url.port": "long",
}

SYSTEM: dict[str, Kind] = {
    "soc.lane": "keyword",
    "soc.seq": "long",
    "soc.sub": "long",
    "soc.stream": "keyword",
    "soc.stream_hash": "keyword",
    "soc.n": "long",
    "soc.source": "keyword",
    "soc.origin": "keyword",
    "soc.import_id": "keyword",
    "soc.log_sources": "keyword",
    "soc.time_inferred": "keyword",
    "organization.id": "keyword",
}
"""Columns the normaliser adds to every event. `organization.id` is the agency; `soc.log_sources` is the
sorted set of Sigma log sources as one space-separated string of `product/category/service` triples;
`soc.time_inferred` names what was guessed of @timestamp ("zone", "year", "zone year", "read_at")."""


def kind_of(field: str) -> Kind:
    """The type of a field; everything unlisted is a keyword."""
    return TYPES.get(field) or SYSTEM.get(field) or "keyword"


def coerce(field: str, value: object) -> str | int | float | bool:
    """`value` as the type of `field`. Raises ValueError when it cannot be (keep it under ``unmapped.``)."""
    kind = kind_of(field)
    if kind == "long" or kind == "date":
        number = int(value) if not isinstance(value, bool) else _refuse(field, value)  # type: ignore[call-overload]
        if not -(2**63) <= number < 2**63:
            _refuse(field, value)
        return number
    if kind == "double":
        return float(value)  # type: ignore[arg-type]
    if kind == "boolean":
        if isinstance(value, bool):
            return value
        text = str(value).lower()
        return True if text == "true" else False if text == "false" else bool(_refuse(field, value))
    if kind == "ip":
        return str(ip_address(str(value)))
    return str(value)


def _refuse(field: str, value: object) -> int:
    raise ValueError(f"{field}: {str(value)[:80]!r} is not a {kind_of(field)}")
