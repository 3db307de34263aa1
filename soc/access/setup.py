"""The first administrator: made through a one-time link, because there is no default password."""
from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Integer, String, Table, delete, func, insert, select, update

from soc.access.audit import Audit
from soc.access.credentials import digest_of, new_credential
from soc.access.passwords import check_password
from soc.access.roles import Role
from soc.access.users import USERS, User, UserStore, check_name
from soc.database import ACCESS, Database
from soc.errors import PermissionDenied
from soc.secret import Secret

__all__ = ["LIFETIME", "Chosen", "Setup"]

LIFETIME = 24 * 3600 * 1_000_000
"""Microseconds a set-up token may be used; a new one is made at each start until somebody used one."""

SETUP_TOKENS = Table(
    "setup_tokens", ACCESS,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("token_hash", String(64), nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("used", BigInteger),
)

CHOICES = Table("centre_choices", ACCESS, Column("key", String(32), primary_key=True), Column("value", String(200), nullable=False))


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen for the centre at set-up; "" where nothing was."""

    name: str = ""
    language: str = ""


class Setup:
    """The one-time set-up of a new centre, of the name `centre`."""

    def __init__(self, database: Database, *, centre: str = "") -> None:
        self._database, self._name = database, centre
        self._chosen: Chosen | None = None
        self._users = UserStore(database, centre=centre)
        self._audit = Audit(database)

    def needed(self) -> bool:
        """Whether nobody can log in yet, because there is no user at all."""
        return self._users.count() == 0

    def issue(self, *, now: int) -> Secret | None:
        """A fresh set-up token, which ends the one before; None once there is a user."""
        token = new_credential()
        with self._database.write() as connection:
            if connection.execute(select(func.count()).select_from(USERS)).scalar_one():
                return None
            connection.execute(delete(SETUP_TOKENS))
            connection.execute(insert(SETUP_TOKENS).values(id=1, token_hash=digest_of(token), expires=now + LIFETIME))
            self._audit.record("centre", "setup.issue", now=now, connection=connection)
        return token

    def valid(self, token: Secret, *, now: int) -> bool:
        """Whether the token would be taken now."""
        with self._database.read() as connection:
            row = connection.execute(select(SETUP_TOKENS).where(
                SETUP_TOKENS.c.token_hash == digest_of(token), SETUP_TOKENS.c.used.is_(None), SETUP_TOKENS.c.expires > now,
            )).first()
        return row is not None and self.needed()

    def chosen(self) -> Chosen:
        """What was chosen for this centre; it never changes once there is a user, and is read no more then."""
        if self._chosen is not None:
            return self._chosen
        final = not self.needed()
        with self._database.read() as connection:
            rows = {row.key: row.value for row in connection.execute(select(CHOICES.c.key, CHOICES.c.value))}
        found = Chosen(**{key: value for key, value in rows.items() if key in Chosen.__slots__})
        self._chosen = found if final else None
        return found

    def redeem(self, token: Secret, name: str, password: Secret, *, now: int, chosen: Chosen | None = None) -> User:
        """Make the first administrator, and keep what was chosen; the token is used up with it, all or nothing.

        Raises PermissionDenied for a token that is unknown, used or expired, InputRefused for name or password.
        """
        if not self.valid(token, now=now):
            raise _refused()
        chosen = chosen or Chosen()
        centre = check_name(chosen.name) if chosen.name else ""
        check_password(password, names=(check_name(name), self._name, centre))
        with self._database.write() as connection:
            spent = connection.execute(
                update(SETUP_TOKENS).where(
                    SETUP_TOKENS.c.token_hash == digest_of(token), SETUP_TOKENS.c.used.is_(None), SETUP_TOKENS.c.expires > now,
                ).values(used=now),
            )
            if spent.rowcount != 1 or connection.execute(select(func.count()).select_from(USERS)).scalar_one():
                raise _refused()
            kept = {"name": centre, "language": chosen.language}
            connection.execute(delete(CHOICES))
            connection.execute(insert(CHOICES), [{"key": key, "value": value} for key, value in kept.items()])
            return self._users.add(name, password, [Role.ADMINISTRATOR], actor="setup", now=now, connection=connection)


def _refused() -> PermissionDenied:
    return PermissionDenied("the set-up link is not valid", remedy="restart the centre: it prints a new one while there is no user")
