"""Slows guessing of passwords: by account and source, by source, and a little by account.

A stranger can delay an account's owner by seconds at most, never lock them out: only attempts from the
stranger's own source are held back for long.
"""
from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, String, Table, delete, func, insert, select, update

from soc.database import ACCESS, Database

__all__ = ["Throttle"]

LOGIN_ATTEMPTS = Table(
    "login_attempts", ACCESS,
    Column("key", String(64), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("blocked_until", BigInteger, nullable=False),
    Index("ix_login_attempts_last", "last"),
)

_SECOND = 1_000_000
_MOST_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class _Bucket:
    """`free` failures cost nothing; then 1, 2, 4 … seconds up to `cap`; all is forgotten after `memory` seconds."""

    free: int
    cap: int
    memory: int

    def delay(self, failures: int) -> int:
        over = failures - self.free
        return 0 if over <= 0 else min(self.cap, 1 << min(over - 1, 20)) * _SECOND


_PAIR = _Bucket(free=5, cap=900, memory=3600)
_SOURCE = _Bucket(free=20, cap=300, memory=3600)
_ACCOUNT = _Bucket(free=50, cap=5, memory=900)


class Throttle:
    """The counters of failed logins, shared by all processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def charge(self, account: str, source: str, *, now: int) -> int:
        """Count an attempt before it is tried, so that many at once are not cheaper.

        Returns 0 if it may be tried, else the seconds to wait; a refused attempt is not counted.
        The answer is the same whether the account exists or not.
        """
        with self._database.write() as connection:
            _sweep(connection, now)
            keyed = _keys(account, source)
            rows = {
                row.key: row
                for row in connection.execute(select(LOGIN_ATTEMPTS).where(LOGIN_ATTEMPTS.c.key.in_([key for key, _ in keyed])))
            }
            wait = max((row.blocked_until - now for row in rows.values()), default=0)
            if wait > 0:
                return -(-wait // _SECOND)
            for key, bucket in keyed:
                row = rows.get(key)
                fresh = row is None or now - row.last > bucket.memory * _SECOND
                failures = 1 if fresh or row is None else row.failures + 1
                values = {"failures": failures, "last": now, "blocked_until": now + bucket.delay(failures)}
                if row is None:
                    connection.execute(insert(LOGIN_ATTEMPTS).values(key=key, **values))
                else:
                    connection.execute(update(LOGIN_ATTEMPTS).where(LOGIN_ATTEMPTS.c.key == key).values(**values))
        return 0

    def refund(self, account: str, source: str) -> None:
        """The attempt succeeded: forget the pair's failures and take this one back from source and account."""
        pair, *others = [key for key, _ in _keys(account, source)]
        with self._database.write() as connection:
            connection.execute(delete(LOGIN_ATTEMPTS).where(LOGIN_ATTEMPTS.c.key == pair))
            connection.execute(
                update(LOGIN_ATTEMPTS).where(LOGIN_ATTEMPTS.c.key.in_(others), LOGIN_ATTEMPTS.c.failures > 0)
                .values(failures=LOGIN_ATTEMPTS.c.failures - 1, blocked_until=0),
            )


def _keys(account: str, source: str) -> list[tuple[str, _Bucket]]:
    network = _network(source)
    return [
        (_digest("pair", account, network), _PAIR),
        (_digest("source", network), _SOURCE),
        (_digest("account", account), _ACCOUNT),
    ]


def _network(source: str) -> str:
    """One caller's addresses: an IPv6 host has its whole /64."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _sweep(connection: Connection, now: int) -> None:
    """Forget what is old, and the oldest when a flood of invented names fills the table."""
    connection.execute(delete(LOGIN_ATTEMPTS).where(LOGIN_ATTEMPTS.c.last < now - _PAIR.memory * _SECOND))
    rows = connection.execute(select(func.count()).select_from(LOGIN_ATTEMPTS)).scalar_one()
    if rows > _MOST_ROWS:
        last = LOGIN_ATTEMPTS.c.last
        middle = connection.execute(select(last).order_by(last).offset(rows // 2).limit(1)).scalar_one()
        connection.execute(delete(LOGIN_ATTEMPTS).where(last < middle, LOGIN_ATTEMPTS.c.blocked_until < now))
