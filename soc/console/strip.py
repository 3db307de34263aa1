"""The strip on every page: is what comes in judged, up to when, and if not, since when and how much waits. Read, never guessed.

The live lane decides its colour; the bulk lane stands beside it.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.parts import TRIAL, Parts
from soc.errors import SocError

__all__ = ["HEARD", "Strip", "strip_of"]

HEARD = 3600
"""Seconds within which a source that sends counts as heard."""

_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Strip:
    """`status` is ok, warning or failing, as health says; `at` when it was read. Times are microseconds since 1970 UTC.

    `judged`: everything received until then is judged, and of what came after `waiting` records wait; None if nothing is late.
    `heard` of `expected` sources sent within the last hour, the last one at `last`. `reason` is what is wrong in words, of those
    who may know more than their agency; `waiting` and `bulk` (waiting records and seconds behind) are None for the others.
    """

    status: str
    at: int
    judged: int | None = None
    waiting: int | None = None
    behind: float = 0.0
    bulk: tuple[int, float] | None = None
    heard: int = 0
    expected: int = 0
    last: int | None = None
    rules: int = 0
    reason: str = ""


def strip_of(parts: Parts, who: Principal) -> Strip:
    """What the strip says to somebody. What cannot be read is failing."""
    now = parts.now()
    try:
        return _strip(parts, who, parts.health(), now)
    except SocError as fault:
        return Strip("failing", now, reason=str(fault))


def _strip(parts: Parts, who: Principal, health: Mapping[str, Any], now: int) -> Strip:
    lanes = health.get("lanes", {})
    live, bulk = lanes.get("live", {}), lanes.get("bulk", {})
    behind = float(live.get("seconds_behind", 0.0))
    status = str(health.get("status", "failing"))
    late = int(live.get("waiting", 0)) > 0 and bool(live.get("late"))
    gateway = parts.gateway()
    tallies: dict[str, Any] = gateway.get("sources") or {}
    expected = [source.id for source in parts.sources.list(who.scope, limit=_MOST) if source.enabled and source.id != TRIAL]
    times: list[float] = [float(tallies.get(source, {}).get("last_heard") or 0.0) for source in expected]
    whole = who.may(Permission.HEALTH_READ)
    received = float((gateway.get("lanes") or {}).get("live", {}).get("last_heard") or 0.0) if whole else 0.0
    newest = max([received, *times])
    return Strip(
        status, now, judged=now - int(behind * 1e6) if late else None, waiting=int(live.get("waiting", 0)) if whole else None, behind=behind,
        bulk=(int(bulk.get("waiting", 0)), float(bulk.get("seconds_behind", 0.0))) if whole else None,
        heard=sum(at * 1e6 > now - HEARD * 1_000_000 for at in times), expected=len(expected),
        last=int(newest * 1e6) if newest else None, rules=parts.rules.count(enabled=True),
        reason=str(next(iter(health.get("reasons", ())), "")) if whole else "")
