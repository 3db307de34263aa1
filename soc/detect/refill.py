"""Rules with placeholders compiled anew from the lists of today, inside a transaction of the rule store."""
from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Table, select, update

from soc.detect.compiled import FORMAT
from soc.detect.lists import Lists

__all__ = ["refill", "waits_for"]

_WAITS: Final = "placeholder"


def refill(c: Connection, rules: Table, lists: Lists) -> int:
    """Compile them; returns how many changed. Those that waited for nothing but a list are switched on.

    A rule whose list went keeps the values it had until its pack is imported again.
    """
    from soc.detect.rules import read_rules

    query = select(rules.c.rule_id, rules.c.source, rules.c.version, rules.c.reason_off).where(rules.c.source.contains("expand"))
    changed = 0
    for row in c.execute(query).all():
        found = [one for one in read_rules("rule.yml", _bytes(row.source), lists)[0] if one.rule is not None]
        if len(found) != 1 or found[0].rule is None or found[0].version == row.version:
            continue
        values = {"version": found[0].version, "format": FORMAT, "compiled": found[0].rule.detection}
        on = {"enabled": True, "reason_off": ""} if row.reason_off.startswith(_WAITS) else {}
        c.execute(update(rules).where(rules.c.rule_id == row.rule_id).values(values | on))
        changed += 1
    return changed


def waits_for(c: Connection, rules: Table, rule_id: str, lists: Lists) -> str:
    """Which placeholders of a rule have no list, as lists of rules say it."""
    from soc.detect.rules import read_rules

    source = c.execute(select(rules.c.source).where(rules.c.rule_id == rule_id)).scalar_one()
    return next((one.off for one in read_rules("rule.yml", _bytes(source), lists)[0] if one.off), "it cannot run")


def _bytes(source: str) -> bytes:
    return source.encode("utf-8", "surrogatepass")
