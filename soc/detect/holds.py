"""Rules that somebody holds: they judge nothing until they are resumed, and what they miss meanwhile is their gap, filled then.

Unlike switching a rule off, nothing is passed by: every position of that time is judged late, and its alerts say so.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, select

from soc.database import Database
from soc.detect.isolation import Isolation
from soc.detect.ledger import Ledger
from soc.detect.ruletables import RULES
from soc.errors import NotFoundError, RuleError

__all__ = ["LONGEST", "Holds"]

LONGEST: Final = 200
"""Characters of a reason."""


class Holds:
    """Holds and resumes rules; the detectors read it before each cut."""

    def __init__(self, database: Database) -> None:
        self._database, self._isolation, self._ledger = database, Isolation(database), Ledger(database)

    def hold(self, ids: Sequence[str], reason: str, *, actor: str, now: int) -> int:
        """Let these rules stand aside until they are resumed; returns how many did not before. All or none.

        Raises NotFoundError, and RuleError for what is off, is no plain rule, or where the reason says nothing or is longer than LONGEST.
        """
        reason = " ".join(reason.split())
        if not reason or len(reason) > LONGEST:
            raise RuleError(f"a rule is held for a reason of 1 to {LONGEST} characters", remedy="say in a sentence why it is to judge nothing")
        with self._database.write() as connection:
            versions = {rule_id: _version(connection, rule_id) for rule_id in ids}
            return sum(self._isolation.hold(connection, rule_id, version, f"held by {actor}: {reason}", now) for rule_id, version in versions.items())

    def resume(self, ids: Sequence[str]) -> int:
        """Let these rules judge again, and see what they have missed; returns how many were held. Raises NotFoundError; all or none."""
        with self._database.write() as connection:
            for rule_id in ids:
                _found(connection, rule_id)
            held = [rule_id for rule_id in ids if self._isolation.resume(connection, rule_id)]
            for rule_id in held:
                self._ledger.hurry(connection, rule_id)
            return len(held)


def _version(connection: Connection, rule_id: str) -> str:
    kind, enabled, version = _found(connection, rule_id)
    if kind != "rule":
        raise RuleError(f"{rule_id} is a {kind}: only rules that judge events are held", remedy="hold the rules it refers to, or switch it off")
    if not enabled:
        raise RuleError(f"rule {rule_id} is off: it judges nothing, and misses nothing", remedy="switch it on first")
    return version


def _found(connection: Connection, rule_id: str) -> tuple[str, bool, str]:
    row = connection.execute(select(RULES.c.kind, RULES.c.enabled, RULES.c.version).where(RULES.c.rule_id == rule_id)).first()
    if row is None:
        raise NotFoundError(f"there is no rule {rule_id}", remedy="`soc rules list` shows them")
    return str(row.kind), bool(row.enabled), str(row.version)
