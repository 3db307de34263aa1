"""Sessions of people: kept by the server, named by a random token of which only the hash is stored.

A session ends after 30 minutes without a request, after 12 hours in any case, and when it is revoked.
"""
from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Index, Row, String, Table, delete, insert, select, update

from soc.access.audit import escape_controls
from soc.access.credentials import digest_of, new_credential
from soc.database import ACCESS, Database
from soc.secret import Secret

__all__ = ["ABSOLUTE", "IDLE", "Session", "SessionStore", "close_sessions", "csrf_of"]

IDLE = 30 * 60 * 1_000_000
"""Microseconds without a request after which a session ends."""

ABSOLUTE = 12 * 3600 * 1_000_000
"""Microseconds after the login at which a session ends."""

_TOUCH = 30 * 1_000_000  # `seen` is written at most this often, so that reading pages costs no writes

SESSIONS = Table(
    "sessions", ACCESS,
    Column("token_hash", String(64), primary_key=True),
    Column("user", String(32), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("source", String(64), nullable=False),
    Index("ix_sessions_user", "user"),
)


@dataclass(frozen=True, slots=True)
class Session:
    """A living session; `id` is the hash of its token, `expires` when it ends if nothing more is asked. Microseconds UTC."""

    id: str
    user: str
    created: int
    seen: int
    source: str
    expires: int


class SessionStore:
    """The sessions in the access database."""

    def __init__(self, database: Database, *, idle: int = IDLE, absolute: int = ABSOLUTE) -> None:
        self._database = database
        self._idle = idle
        self._absolute = absolute

    def open(self, user: str, *, source: str, now: int) -> Secret:
        """A new session for `user`, always under a fresh token; ended ones are swept away."""
        token = new_credential()
        with self._database.write() as connection:
            connection.execute(delete(SESSIONS).where(self._ended(now)))
            _insert(connection, token, user, now, now, source)
        return token

    def find(self, token: Secret, *, now: int, used: bool = True) -> Session | None:
        """The living session of a token; None if there is none (any more). Its idle time starts anew, unless it is not `used`."""
        with self._database.read() as connection:
            row = connection.execute(select(SESSIONS).where(SESSIONS.c.token_hash == digest_of(token))).first()
        if row is None:
            return None
        session = self._session(row)
        if now >= session.expires:
            self.close(token)
            return None
        if used and now - session.seen >= _TOUCH:
            with self._database.write() as connection:
                connection.execute(
                    update(SESSIONS).where(SESSIONS.c.token_hash == session.id, SESSIONS.c.seen < now).values(seen=now),
                )
        return session

    def rotate(self, token: Secret, *, now: int) -> Secret | None:
        """The same session under a fresh token, the old one dead; None if there is no living one."""
        fresh = new_credential()
        with self._database.write() as connection:
            row = connection.execute(select(SESSIONS).where(SESSIONS.c.token_hash == digest_of(token))).first()
            if row is None or now >= self._session(row).expires:
                return None
            connection.execute(delete(SESSIONS).where(SESSIONS.c.token_hash == row.token_hash))
            _insert(connection, fresh, row.user, row.created, now, row.source)
        return fresh

    def close(self, token: Secret) -> None:
        """End the session of a token, if it lives."""
        with self._database.write() as connection:
            connection.execute(delete(SESSIONS).where(SESSIONS.c.token_hash == digest_of(token)))

    def revoke(self, user: str, *, session: str = "", keep: str = "") -> int:
        """End a user's session of that id, or all but `keep`. Returns how many ended."""
        with self._database.write() as connection:
            return close_sessions(connection, user, session=session, keep=keep)

    def list(self, user: str, *, now: int) -> Sequence[Session]:
        """A user's living sessions, the latest seen first."""
        with self._database.read() as connection:
            rows = connection.execute(select(SESSIONS).where(SESSIONS.c.user == user).order_by(SESSIONS.c.seen.desc())).all()
        return [session for session in map(self._session, rows) if now < session.expires]

    def _ended(self, now: int) -> ColumnElement[bool]:
        return (SESSIONS.c.seen <= now - self._idle) | (SESSIONS.c.created <= now - self._absolute)

    def _session(self, row: Row[Any]) -> Session:
        expires = min(row.seen + self._idle, row.created + self._absolute)
        return Session(row.token_hash, row.user, row.created, row.seen, row.source, expires)


def close_sessions(connection: Connection, user: str, *, session: str = "", keep: str = "") -> int:
    """End sessions of a user within a write transaction: one by id, or all but `keep`. Returns how many ended."""
    query = delete(SESSIONS).where(SESSIONS.c.user == user, SESSIONS.c.token_hash != keep)
    if session:
        query = query.where(SESSIONS.c.token_hash == session)
    return connection.execute(query).rowcount


def csrf_of(token: Secret) -> str:
    """The token that a session's forms and scripts must send back; another one after each rotation."""
    return hmac.new(token.reveal().encode("utf-8", "surrogatepass"), b"soc csrf", hashlib.sha256).hexdigest()


def _insert(connection: Connection, token: Secret, user: str, created: int, seen: int, source: str) -> None:
    connection.execute(insert(SESSIONS).values(
        token_hash=digest_of(token), user=user, created=created, seen=seen, source=escape_controls(source)[:64],
    ))
