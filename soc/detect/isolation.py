"""Rules that are set aside because they throw, hang or are suspected to: kept in the state database, so that every
detector leaves them out, through restarts, until a trial goes well or the rule is another one.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, Text, delete, false, insert, or_, select, true, update

from soc.database import STATE, Database

__all__ = ["HANGS", "SUSPECT", "THROWS", "Isolated", "Isolation", "outdated"]

THROWS, HANGS, SUSPECT = "throws", "hangs", "suspect"
"""Why a rule stands aside: it raised an error; it did not finish; it was one of several that did not finish together."""

_WELL: Final = "well"
"""Taken in again, but remembered for a while: if it fails soon, it waits longer than the first time."""

TABLE = Table(
    "rule_isolation", STATE,
    Column("rule_id", String(64), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("error", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", BigInteger, nullable=False),
)
_FIRST_PAUSE: Final = 30_000_000
_LONGEST_PAUSE: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Isolated:
    """A rule set aside: `version` is the rule's, `since` and `due` (when it is tried again) are µs UTC."""

    rule_id: str
    version: str
    kind: str
    error: str
    since: int
    attempts: int
    due: int

    @property
    def reason(self) -> str:
        """Kind and error in a line: the reason of the gaps it leaves."""
        return f"{self.kind}: {self.error}"


class Isolation:
    """The rules set aside."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, Isolated]:
        """Every rule set aside. One small read."""
        with self._database.read() as c:
            return {row.rule_id: Isolated(*row) for row in c.execute(select(TABLE).where(TABLE.c.kind != _WELL)).all()}

    def put(self, connection: Connection, rule_id: str, version: str, kind: str, error: str, now: int) -> None:
        """Set a rule aside, or note that its trial failed again: the next one waits longer (30 s, 60 s … an hour).

        A suspect is tried at once.
        """
        known = connection.execute(select(TABLE).where(TABLE.c.rule_id == rule_id)).first()
        same = known is not None and known.version == version and known.kind != SUSPECT and not (known.kind == _WELL and known.due <= now)
        attempts = known.attempts + 1 if known is not None and same else 1
        due = now if kind == SUSPECT else now + min(_FIRST_PAUSE << min(attempts - 1, 20), _LONGEST_PAUSE)
        since = known.since if known is not None and same and known.kind != _WELL else now
        connection.execute(delete(TABLE).where(TABLE.c.rule_id == rule_id))
        connection.execute(insert(TABLE).values(
            rule_id=rule_id, version=version, kind=kind, error=error[:300], since=since, attempts=attempts, due=due))

    def release(self, connection: Connection, rule_ids: Iterable[str], now: int | None = None) -> None:
        """Take rules in again; with `now`, remembering for an hour how often they failed."""
        for rule_id in rule_ids:
            connection.execute(delete(TABLE).where(TABLE.c.rule_id == rule_id, or_(true() if now is None else false(), TABLE.c.kind == SUSPECT)))
            if now is not None:
                connection.execute(update(TABLE).where(TABLE.c.rule_id == rule_id).values(kind=_WELL, due=now + _LONGEST_PAUSE))

    def hurry(self, connection: Connection, now: int) -> None:
        """Let every rule set aside be tried now: the rule set has changed."""
        connection.execute(update(TABLE).where(TABLE.c.due > now, TABLE.c.kind != _WELL).values(due=now))


def outdated(isolated: Mapping[str, Isolated], versions: Mapping[str, str]) -> list[str]:
    """Those of `isolated` that stand for another version of a rule than the one that is on now (rule -> version)."""
    return [rule_id for rule_id, one in isolated.items() if rule_id in versions and versions[rule_id] != one.version]
