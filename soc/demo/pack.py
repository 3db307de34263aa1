"""The rule pack of the demonstration: two rules that are really held, so that a gap and a rule that stands aside are there to be looked at.

One is held while the past is played and resumed afterwards: its gap is filled late. The other stays held until somebody resumes it.
Both look at records of the demonstration only. Health counts them apart (`soc.health`), so they never colour the strip.
"""
from __future__ import annotations

from pathlib import Path
from typing import Final

from soc.database import Database
from soc.demo.record import ACTOR
from soc.detect.holds import Holds
from soc.detect.isolation import Isolation
from soc.detect.ledger import Ledger
from soc.detect.packlist import packs
from soc.detect.rulestore import RuleRow, RuleStore

__all__ = ["PACK", "RULES", "SAW_LATE", "STANDS_ASIDE", "folder", "hold", "holds", "resume", "take_away", "there", "wanted"]

PACK: Final = "demonstration"
SAW_LATE: Final = "1b88312d-8190-5a80-b294-94284a1f9721"
STANDS_ASIDE: Final = "5ff322e2-739e-55ad-84da-9564d9b96969"
RULES: Final = {
    SAW_LATE: "while the past was played this rule was held; it was resumed afterwards and saw what it had missed",
    STANDS_ASIDE: "this rule stays held, so that you see one that stands aside: resume it, and it sees what it has missed",
}
"""The pack's rules, each with the reason for which it is held."""


def folder() -> Path:
    """Where its files are."""
    return Path(__file__).with_name("rules")


def wanted(state: Database) -> bool:
    """Whether it is still to be brought in; a pack of that name that somebody else brought stays as it is."""
    return PACK not in {one.name for one in packs(state)}


def holds(rule: RuleRow) -> bool:
    """Whether a rule is one of it."""
    return rule.pack == PACK and rule.rule_id in RULES


def there(state: Database) -> set[str]:
    """Those of its rules that are in the centre."""
    return {rule.rule_id for rule in RuleStore(state).list(pack=PACK) if holds(rule)}


def hold(state: Database, now: int) -> None:
    """Hold its rules, before the past is played. One that has missed something already was held before, and is left as it is."""
    ledger, aside = Ledger(state), Isolation(state).all()
    for rule_id in sorted(RuleStore(state).known(sorted(there(state)), enabled=True)):
        if rule_id not in aside and not ledger.gaps(rule_id) and not any(one.rule_id == rule_id for one in ledger.closed(rule_id)):
            Holds(state).hold([rule_id], RULES[rule_id], actor=ACTOR, now=now)


def resume(state: Database) -> None:
    """Let the rule go on that was held for the past only: what it missed is filled by the detector as every gap is."""
    Holds(state).resume(sorted(there(state) & {SAW_LATE}))


def take_away(state: Database, now: int) -> int:
    """Its rules with their holds, gaps and what is recorded of these, in one transaction; returns how many rules there were."""
    with state.write() as connection:
        gone = RuleStore(state).remove(connection, sorted(RULES), PACK, now)
        if gone:
            Isolation(state).forget(connection, RULES)
            Ledger(state).forget(connection, RULES)
    return gone
