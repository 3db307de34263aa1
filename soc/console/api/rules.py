"""`/api/v1/rules`: list, one with its source, what imports refused, on and off, hold and resume."""
from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from alerts.outputs import iso
from soc.access.principal import Principal
from soc.access.roles import Permission
from soc.console.callers import requires
from soc.console.parts import Given, Parts
from soc.console.ranges import JSON, Limit, Strict, Text
from soc.demo import pack
from soc.detect.coverage import coverage, coverage_out, trouble
from soc.detect.holds import Holds
from soc.detect.rulestore import RuleRow

__all__ = ["hold", "resume", "router", "switch"]

router = APIRouter(prefix="/api/v1/rules", tags=["rules"])

Reader = Annotated[Principal, Depends(requires(Permission.RULES_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.RULES_WRITE))]


class Wanted(Strict):
    """A list of rules; `text` is looked for in title, id and path."""

    enabled: bool | None = None
    level: Text = ""
    product: Text = ""
    pack: Text = ""
    text: Text = ""
    limit: Limit = 100
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class Refused(Strict):
    """A list of refused rules."""

    pack: Text = ""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000


class Reason(Strict):
    """Why a rule is held."""

    reason: Text


@router.get("")
def list_(parts: Given, who: Reader, wanted: Annotated[Wanted, Query()]) -> JSON:
    """Rules, the worst level first; `total` without the limit. `trouble` says so of a rule that is behind or stands aside.

    `demonstration`: it belongs to the demonstration and goes with it.
    """
    given = {"level": wanted.level, "product": wanted.product, "pack": wanted.pack, "text": wanted.text}
    rules = parts.rules.list(enabled=wanted.enabled, limit=wanted.limit, offset=wanted.offset, **given)
    total = parts.rules.count(enabled=wanted.enabled, **given)
    behind = trouble(parts.rules.database, parts.now())
    return JSON({"rules": [_out(rule) | {"trouble": behind.get(rule.rule_id, "")} for rule in rules], "total": total})


@router.get("/refusals")
def refusals(parts: Given, who: Reader, wanted: Annotated[Refused, Query()]) -> JSON:
    """What the last import of each pack refused: file, line, reason."""
    found = parts.rules.refusals(pack=wanted.pack, limit=wanted.limit)
    return JSON({"refusals": [asdict(one) | {"at": iso(one.at)} for one in found]})


@router.get("/{rule_id}")
def show(parts: Given, who: Reader, rule_id: str) -> JSON:
    """One rule with its source text, and in `coverage` what it has seen, has still to see, saw late and never will."""
    rule, source = parts.rules.show(rule_id)
    covered = coverage_out(coverage(parts.rules.database, rule.rule_id, rule.version), parts.now())
    return JSON(_out(rule) | {"source": source, "coverage": covered})


@router.post("/{rule_id}/enable")
def enable(parts: Given, who: Writer, rule_id: str) -> JSON:
    """Switch a rule on; `changed` tells whether it was off."""
    return JSON({"changed": switch(parts, who, rule_id, True)})


@router.post("/{rule_id}/disable")
def disable(parts: Given, who: Writer, rule_id: str) -> JSON:
    """Switch a rule off."""
    return JSON({"changed": switch(parts, who, rule_id, False)})


@router.post("/{rule_id}/hold")
def hold_(parts: Given, who: Writer, rule_id: str, given: Reason) -> JSON:
    """Let a rule judge nothing until it is resumed, for a reason; what it misses is its gap. `changed` tells whether it was not held."""
    return JSON({"changed": hold(parts, who, rule_id, given.reason)})


@router.post("/{rule_id}/resume")
def resume_(parts: Given, who: Writer, rule_id: str) -> JSON:
    """Let a held rule judge again and see what it has missed; `changed` tells whether it was held."""
    return JSON({"changed": resume(parts, who, rule_id)})


def hold(parts: Parts, who: Principal, rule_id: str, reason: str) -> bool:
    """Hold a rule and audit it; whether it was not held before. Raises NotFoundError, RuleError."""
    now = parts.now()
    changed = bool(Holds(parts.rules.database).hold([rule_id], reason, actor=who.name, now=now))
    if changed:
        parts.audit.record(who.actor, "rules.hold", rule_id, {"reason": reason}, now=now)
    return changed


def resume(parts: Parts, who: Principal, rule_id: str) -> bool:
    """Resume a rule and audit it; whether it was held before. Raises NotFoundError."""
    changed = bool(Holds(parts.rules.database).resume([rule_id]))
    if changed:
        parts.audit.record(who.actor, "rules.resume", rule_id, now=parts.now())
    return changed


def switch(parts: Parts, who: Principal, rule_id: str, on: bool) -> bool:
    """Switch a rule and audit it; whether it was otherwise before. Raises NotFoundError, RuleError."""
    now = parts.now()
    changed = bool(parts.rules.enable([rule_id], now) if on else parts.rules.disable([rule_id], now))
    if changed:
        parts.audit.record(who.actor, "rules.enable" if on else "rules.disable", rule_id, now=now)
    return changed


def _out(rule: RuleRow) -> dict[str, Any]:
    return asdict(rule) | {"imported": iso(rule.imported), "can_fire": rule.can_fire, "demonstration": pack.holds(rule)}
