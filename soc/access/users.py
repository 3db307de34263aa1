"""People who may log in: name, roles, agencies, password hash. Every change is audited and ends their sessions."""
from __future__ import annotations

import json
import secrets
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Connection, Row, String, Table, Text, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from soc.access.agencies import AGENCIES, AgencyTree
from soc.access.audit import Audit, escape_controls
from soc.access.passwords import check_password, hash_password
from soc.access.roles import Role
from soc.access.sessions import close_sessions
from soc.database import ACCESS, Database
from soc.errors import DuplicateError, InputRefused, NotFoundError
from soc.event import UNASSIGNED, Scope
from soc.secret import Secret

__all__ = ["User", "UserStore", "scope_of"]

USERS = Table(
    "users", ACCESS,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("name_key", String(128), nullable=False, unique=True),
    Column("roles", Text, nullable=False),
    Column("agencies", Text, nullable=False),
    Column("password_hash", String(200), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("password_changed", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class User:
    """A person; `agencies` are the tops of the subtrees they see. The password hash stays in the store."""

    id: str
    name: str
    roles: tuple[Role, ...]
    agencies: tuple[str, ...]
    enabled: bool
    created: int
    password_changed: int


def scope_of(user: User, tree: AgencyTree) -> Scope:
    """What a person may see: administrators everything; others their agencies and all under them.

    An analyst without agencies watches the whole province, *unassigned* excepted; a viewer without sees nothing.
    """
    if Role.ADMINISTRATOR in user.roles:
        return Scope.everything()
    if user.agencies:
        return Scope.of(tree.subtree(user.agencies) - {UNASSIGNED})
    if Role.ANALYST in user.roles:
        return Scope.of(tree.agencies - {UNASSIGNED})
    return Scope.of(())


class UserStore:
    """The users in the access database. No password is made of the name of the `centre`."""

    def __init__(self, database: Database, *, centre: str = "") -> None:
        self._database, self._names = database, (centre,)
        self._audit = Audit(database)

    def add(
        self, name: str, password: Secret, roles: Iterable[Role], agencies: Iterable[str] = (), *, actor: str, now: int,
        connection: Connection | None = None,
    ) -> User:
        """A new user. `connection` joins a write transaction of the access database.

        Raises InputRefused (name, password, role without agency), NotFoundError (agency), DuplicateError.
        """
        shown = check_name(name)
        check_password(password, names=(shown, *self._names))
        kept = hash_password(password)
        user = User("u_" + secrets.token_hex(8), shown, _roles(roles), tuple(sorted(set(agencies))), True, now, now)
        if connection is not None:
            self._insert(connection, user, kept, actor, now)
        else:
            with self._database.write() as own:
                self._insert(own, user, kept, actor, now)
        return user

    def get(self, user_id: str) -> User | None:
        """The user of that id."""
        with self._database.read() as connection:
            row = connection.execute(select(USERS).where(USERS.c.id == user_id)).first()
        return _user(row) if row else None

    def by_name(self, name: str) -> User | None:
        """The user of that name, however it is spelt (case, Unicode form)."""
        found = self.credentials(name)
        return found[0] if found else None

    def credentials(self, name: str) -> tuple[User, str] | None:
        """The user of that name and their password hash; for the login only."""
        with self._database.read() as connection:
            row = connection.execute(select(USERS).where(USERS.c.name_key == name_key(name))).first()
        return (_user(row), row.password_hash) if row else None

    def list(self, scope: Scope, *, limit: int = 1000) -> Sequence[User]:
        """Users by name; within a limited scope, those whose agencies all lie inside it."""
        with self._database.read() as connection:
            users = [_user(row) for row in connection.execute(select(USERS).order_by(USERS.c.name_key))]
        if scope.agencies is not None:
            inside = scope.agencies
            users = [user for user in users if user.agencies and inside.issuperset(user.agencies)]
        return users[:limit]

    def count(self) -> int:
        """How many users there are, disabled ones too; none means the centre is not set up."""
        with self._database.read() as connection:
            return connection.execute(select(func.count()).select_from(USERS)).scalar_one()

    def set_roles(self, user_id: str, roles: Iterable[Role], agencies: Iterable[str] = (), *, actor: str, now: int) -> None:
        """Give a user other roles and agencies; all their sessions end. Raises as `add`, and for the last administrator."""
        chosen, tops = _roles(roles), sorted(set(agencies))
        with self._database.write() as connection:
            self._must_have(connection, user_id)
            _check_agencies(connection, tops)
            values = {"roles": json.dumps(chosen), "agencies": json.dumps(tops)}
            connection.execute(update(USERS).where(USERS.c.id == user_id).values(**values))
            _check_administrator_left(connection)
            close_sessions(connection, user_id)
            self._audit.record(actor, "user.roles", user_id, {"roles": chosen, "agencies": tops}, now=now, connection=connection)

    def set_enabled(self, user_id: str, enabled: bool, *, actor: str, now: int) -> None:
        """Let a user in or keep them out; either way their sessions end. Raises NotFoundError, InputRefused as above."""
        with self._database.write() as connection:
            self._must_have(connection, user_id)
            connection.execute(update(USERS).where(USERS.c.id == user_id).values(enabled=enabled))
            _check_administrator_left(connection)
            close_sessions(connection, user_id)
            action = "user.enable" if enabled else "user.disable"
            self._audit.record(actor, action, user_id, now=now, connection=connection)

    def set_password(self, user_id: str, password: Secret, *, actor: str, now: int, keep_session: str = "") -> None:
        """Change a password; all sessions end except the one whose token hash is `keep_session`."""
        user = self.get(user_id)
        if user is None:
            raise _unknown(user_id)
        check_password(password, names=(user.name, *self._names))
        kept = hash_password(password)
        with self._database.write() as connection:
            connection.execute(update(USERS).where(USERS.c.id == user_id).values(password_hash=kept, password_changed=now))
            close_sessions(connection, user_id, keep=keep_session)
            self._audit.record(actor, "user.password", user_id, now=now, connection=connection)

    def refresh_hash(self, user_id: str, old: str, password: Secret) -> None:
        """Keep the same password under today's hash parameters; nothing happens if it changed meanwhile."""
        kept = hash_password(password)
        with self._database.write() as connection:
            connection.execute(
                update(USERS).where(USERS.c.id == user_id, USERS.c.password_hash == old).values(password_hash=kept),
            )

    def _insert(self, connection: Connection, user: User, kept: str, actor: str, now: int) -> None:
        _check_agencies(connection, user.agencies)
        try:
            connection.execute(insert(USERS).values(
                id=user.id, name=user.name, name_key=name_key(user.name), roles=json.dumps(user.roles),
                agencies=json.dumps(user.agencies), password_hash=kept, enabled=True, created=now, password_changed=now,
            ))
        except IntegrityError as error:
            raise DuplicateError(f"there is a user {user.name!r} already") from error
        detail = {"name": user.name, "roles": user.roles, "agencies": user.agencies}
        self._audit.record(actor, "user.add", user.id, detail, now=now, connection=connection)

    def _must_have(self, connection: Connection, user_id: str) -> None:
        if connection.execute(select(USERS.c.id).where(USERS.c.id == user_id)).first() is None:
            raise _unknown(user_id)


def name_key(name: str) -> str:
    """What makes two names the same account: NFKC, case folded."""
    return escape_controls(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name[:200]).casefold()))[:128]


def check_name(name: str) -> str:
    """The name in NFC. Raises InputRefused for one that is empty, over 64 characters or not all visible."""
    shown = unicodedata.normalize("NFC", name)
    if not 1 <= len(shown) <= 64 or shown != shown.strip() or not shown.isprintable() or escape_controls(shown) != shown:
        raise InputRefused("a user's name has 1 to 64 visible characters, without spaces around it")
    return shown


def _user(row: Row[Any]) -> User:
    roles = tuple(Role(role) for role in json.loads(row.roles))
    return User(row.id, row.name, roles, tuple(json.loads(row.agencies)), row.enabled, row.created, row.password_changed)


def _roles(roles: Iterable[Role]) -> tuple[Role, ...]:
    chosen = tuple(sorted(set(roles)))
    if not chosen:
        raise InputRefused("a user has at least one role", remedy=f"one of {', '.join(Role)}")
    return chosen


def _check_agencies(connection: Connection, agencies: Iterable[str]) -> None:
    for agency in agencies:
        if agency == UNASSIGNED:
            raise InputRefused(f"only administrators see {UNASSIGNED!r}", remedy="give the role administrator instead")
        if connection.execute(select(AGENCIES.c.id).where(AGENCIES.c.id == agency)).first() is None:
            raise NotFoundError(f"no agency {agency!r}", remedy="add it first: soc agency add")


def _check_administrator_left(connection: Connection) -> None:
    rows = connection.execute(select(USERS.c.roles).where(USERS.c.enabled.is_(True))).scalars()
    if not any(Role.ADMINISTRATOR in json.loads(roles) for roles in rows):
        raise InputRefused("the last administrator stays", remedy="make another administrator first")


def _unknown(user_id: str) -> NotFoundError:
    return NotFoundError(f"no user {escape_controls(user_id[:64])!r}", remedy="`soc user list` shows them")
