"""What came of a source since a moment: its first event, or why the last attempt was refused. For whoever waits for it."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soc.event import Event, Scope, from_micros
from soc.store.eventstore import EventStore, TimeRange

__all__ = ["Heard", "Refused", "heard"]

_WHY = {
    "token": ("the token is not valid", "take it from `soc source add`, or make a new one: soc source rotate"),
    "address": ("the token is bound to other addresses", "add the address to the source, or send from a bound one"),
    "syslog_unknown": ("no syslog source has the sender's address", "add one: `soc source add NAME --kind syslog --address ADDRESS`"),
    "syslog_empty": ("the message is empty", "send one with text"),
    "syslog_reset": ("the connection broke off, or TLS failed", "see what the sender's own log says of the certificate"),
    "syslog_connections": ("too many syslog connections are open", "close some, or raise syslog.max_connections"),
    "malformed": ("it is no valid HTTP", "is it sent as http what is listened to as https, or the other way round?"),
    "media_type": ("its Content-Type is not taken", "send application/x-ndjson"),
    "encoding": ("its Content-Encoding is not what the body is", "send plain, zstd or gzip"),
    "payload": ("the body cannot be read", "send it whole, one record a line"),
    "too_large": ("it is too large", "send smaller batches"),
    "empty": ("it holds no record", "send at least one"),
    "congested": ("the lane is full for now", "senders come again by themselves; see `soc store status`"),
    "disk_full": ("the disk is full", "make room; see `soc doctor`"),
}


@dataclass(frozen=True, slots=True)
class Refused:
    """An attempt that was refused: when (seconds since 1970 UTC), from which address, how often by now, why and what to do."""

    at: float
    reason: str
    peer: str
    count: int
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Heard:
    """`event` is the newest event of the source that came since; `received`: its records came in, whatever became of them."""

    event: Event | None
    received: bool
    refused: Refused | None


def heard(gateway: Mapping[str, Any], events: EventStore, source: str, scope: Scope, since: int, *,
          strangers: bool = True) -> Heard:
    """What came since a moment, in microseconds since 1970 UTC. `gateway` is the heartbeat of the gateway.

    An attempt whose sender is not known may have been anybody's: it is told only while nothing came of the source, and not
    without `strangers`. Raises StoreError.
    """
    tally = gateway.get("sources", {}).get(source, {}) if isinstance(gateway.get("sources"), dict) else {}
    received = float(tally.get("last_heard", 0.0)) * 1e6 >= since
    found = events.search(f'soc.source:{source} event.ingested:>="{from_micros(since).isoformat()}"', scope, TimeRange(), 1)
    event = found.events[0] if found.events else None
    turned_away = gateway.get("turned_away")
    refused = None
    if event is None and isinstance(turned_away, list):
        whose = ("", source) if strangers else (source,)
        fits = [one for one in turned_away if one.get("source") in whose and float(one.get("at", 0.0)) * 1e6 >= since]
        refused = _refused(max(fits, key=lambda one: float(one["at"]))) if fits else None
    return Heard(event, received or event is not None, refused)


def _refused(one: Mapping[str, Any]) -> Refused:
    reason, peer = str(one.get("reason", "")), str(one.get("peer", ""))
    why, remedy = _WHY.get(reason, (reason.replace("_", " "), "see docs/ingest.md, Refusals"))
    return Refused(float(one["at"]), reason, peer, int(one.get("count", 1)), why, remedy)
