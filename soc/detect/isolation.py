"""Rules that are set aside because they throw, hang or are suspected to, or because somebody holds them: kept in the state
database, so that every detector leaves them out, through restarts, until a trial goes well, the rule is another one, or it is resumed.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, Text, delete, false, insert, or_, select, true, update

from soc.database import STATE, Database

__all__ = ["HANGS", "HELD", "SUSPECT", "THROWS", "Isolated", "Isolation", "outdated"]

THROWS, HANGS, SUSPECT = "throws", "hangs", "suspect"
"""Why a rule stands aside: it raised an error; it did not finish; it was one of several that did not finish together."""

HELD: Final = "held"
"""Somebody has set it aside (`soc.detect.holds`): it is never tried, and no other version of it ends that."""

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
    """A rule set aside: `version` is the rule's, `since` and `due` (when it is tried again; 0: never) are µs UTC.

    Of one that is held, `error` says by whom and why.
    """

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
        return self.error if self.kind == HELD else f"{self.kind}: {self.error}"


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

        A suspect is tried at once. What somebody holds stays held.
        """
        known = connection.execute(select(TABLE).where(TABLE.c.rule_id == rule_id)).first()
        if known is not None and known.kind == HELD:
            return
        same = known is not None and known.version == version and known.kind != SUSPECT and not (known.kind == _WELL and known.due <= now)
        attempts = known.attempts + 1 if known is not None and same else 1
        due = now if kind == SUSPECT else now + min(_FIRST_PAUSE << min(attempts - 1, 20), _LONGEST_PAUSE)
        since = known.since if known is not None and same and known.kind != _WELL else now
        connection.execute(delete(TABLE).where(TABLE.c.rule_id == rule_id))
        connection.execute(insert(TABLE).values(
            rule_id=rule_id, version=version, kind=kind, error=error[:300], since=since, attempts=attempts, due=due))

    def hold(self, connection: Connection, rule_id: str, version: str, why: str, now: int) -> bool:
        """Set a rule aside until it is resumed, for the reason `why`; False if it is held already."""
        if connection.execute(select(TABLE.c.rule_id).where(TABLE.c.rule_id == rule_id, TABLE.c.kind == HELD)).first() is not None:
            return False
        connection.execute(delete(TABLE).where(TABLE.c.rule_id == rule_id))
        connection.execute(insert(TABLE).values(rule_id=rule_id, version=version, kind=HELD, error=why[:300], since=now, attempts=0, due=0))
        return True

    def resume(self, connection: Connection, rule_id: str) -> bool:
        """Take a rule in that somebody held; False if nobody does."""
        return connection.execute(delete(TABLE).where(TABLE.c.rule_id == rule_id, TABLE.c.kind == HELD)).rowcount > 0

    def release(self, connection: Connection, rule_ids: Iterable[str], now: int | None = None) -> None:
        """Take rules in again that failed; with `now`, remembering for an hour how often they did. What somebody holds stays held."""
        for rule_id in rule_ids:
            mine = (TABLE.c.rule_id == rule_id, TABLE.c.kind != HELD)
            connection.execute(delete(TABLE).where(*mine, or_(true() if now is None else false(), TABLE.c.kind == SUSPECT)))
            if now is not None:
                connection.execute(update(TABLE).where(*mine).values(kind=_WELL, due=now + _LONGEST_PAUSE))

    def forget(self, connection: Connection, rule_ids: Iterable[str]) -> None:
        """Keep nothing of rules that are no more."""
        for rule_id in rule_ids:
            connection.execute(delete(TABLE).where(TABLE.c.rule_id == rule_id))

    def hurry(self, connection: Connection, now: int) -> None:
        """Let every rule set aside be tried now: the rule set has changed."""
        connection.execute(update(TABLE).where(TABLE.c.due > now, TABLE.c.kind.not_in((_WELL, HELD))).values(due=now))


def outdated(isolated: Mapping[str, Isolated], versions: Mapping[str, str]) -> list[str]:
    """Those of `isolated` that failed in another version of a rule than the one that is on now (rule -> version)."""
    return [rule_id for rule_id, one in isolated.items() if one.kind != HELD and rule_id in versions and versions[rule_id] != one.version]
