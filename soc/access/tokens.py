"""API tokens: a program's way in, with a part of its owner's permissions, an end and a name."""
from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Row, String, Table, Text, insert, select, update

from soc.access.audit import Audit, escape_controls
from soc.access.credentials import digest_of, new_credential
from soc.access.roles import Permission
from soc.database import ACCESS, Database
from soc.errors import InputRefused, NotFoundError
from soc.secret import Secret

__all__ = ["PREFIX", "ApiToken", "TokenStore"]

PREFIX = "soc_"
"""What every API token begins with, so that a leaked one is recognised."""

_USED = 60 * 1_000_000  # `used` is written at most this often

API_TOKENS = Table(
    "api_tokens", ACCESS,
    Column("id", String(32), primary_key=True),
    Column("user", String(32), nullable=False),
    Column("name", String(100), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("used", BigInteger),
    Column("revoked", BigInteger),
    Index("ix_api_tokens_user", "user"),
)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token without its text; `scopes` bound what its owner's roles allow. Times in microseconds UTC."""

    id: str
    user: str
    name: str
    scopes: frozenset[Permission]
    created: int
    expires: int
    used: int | None = None
    revoked: int | None = None


class TokenStore:
    """The API tokens in the access database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = Audit(database)

    def create(
        self, user: str, name: str, scopes: Iterable[Permission], *, expires: int, actor: str, now: int,
    ) -> tuple[ApiToken, Secret]:
        """A new token and its text, which is shown now and never again. Raises InputRefused."""
        chosen = frozenset(scopes)
        if not chosen or not name.strip() or len(name) > 100 or expires <= now:
            raise InputRefused("a token has a name, at least one scope and an end in the future")
        made = ApiToken("t_" + secrets.token_hex(8), user, escape_controls(name.strip())[:100], chosen, now, expires)
        text = new_credential(PREFIX)
        with self._database.write() as connection:
            connection.execute(insert(API_TOKENS).values(
                id=made.id, user=user, name=made.name, token_hash=digest_of(text), scopes=json.dumps(sorted(chosen)),
                created=now, expires=expires,
            ))
            detail = {"user": user, "name": name, "scopes": chosen, "expires": expires}
            self._audit.record(actor, "token.create", made.id, detail, now=now, connection=connection)
        return made, text

    def by_token(self, token: Secret, *, now: int) -> ApiToken | None:
        """The valid token of that text; None if unknown, expired or revoked."""
        with self._database.read() as connection:
            row = connection.execute(select(API_TOKENS).where(API_TOKENS.c.token_hash == digest_of(token))).first()
        if row is None or row.revoked is not None or now >= row.expires:
            return None
        if row.used is None or now - row.used >= _USED:
            with self._database.write() as connection:
                connection.execute(update(API_TOKENS).where(API_TOKENS.c.id == row.id).values(used=now))
        return _token(row)

    def revoke(self, token_id: str, *, actor: str, now: int, user: str | None = None) -> None:
        """End a token (of `user`, if given). Raises NotFoundError."""
        query = update(API_TOKENS).where(API_TOKENS.c.id == token_id, API_TOKENS.c.revoked.is_(None)).values(revoked=now)
        if user is not None:
            query = query.where(API_TOKENS.c.user == user)
        with self._database.write() as connection:
            if not connection.execute(query).rowcount:
                raise NotFoundError("no such token")
            self._audit.record(actor, "token.revoke", token_id, now=now, connection=connection)

    def list(self, user: str | None = None) -> Sequence[ApiToken]:
        """A user's tokens (everybody's for None), the newest first, ended ones too."""
        query = select(API_TOKENS).order_by(API_TOKENS.c.created.desc(), API_TOKENS.c.id)
        if user is not None:
            query = query.where(API_TOKENS.c.user == user)
        with self._database.read() as connection:
            return [_token(row) for row in connection.execute(query)]


def _token(row: Row[Any]) -> ApiToken:
    known = {permission.value for permission in Permission}
    scopes = frozenset(Permission(scope) for scope in json.loads(row.scopes) if scope in known)
    return ApiToken(row.id, row.user, row.name, scopes, row.created, row.expires, row.used, row.revoked)
