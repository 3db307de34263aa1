"""The audit log: who did what to what, as a hash chain in the access database.

`verify` names the first row that was edited, dropped or cut off; the printed head checks it from outside.
"""
from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Integer, Row, String, Table, Text, insert, select, update

from soc.database import ACCESS, Database
from soc.errors import InputRefused

__all__ = ["Audit", "AuditEntry", "Head", "escape_controls", "local_actor"]

AUDIT = Table(
    "audit", ACCESS,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(100), nullable=False),
    Column("object", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
AUDIT_HEAD = Table(
    "audit_head", ACCESS,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)

_START = "0" * 64
_DETAIL_BYTES = 16_384
# C0, DEL, C1, line and paragraph separators, marks that turn the direction of text, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row: `at` in microseconds since 1970 UTC, `detail` as recorded."""

    seq: int
    at: int
    actor: str
    action: str
    object: str
    detail: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """The last row's number and hash. Printed as `seq:hash` and kept elsewhere, it proves what was there."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """The head written as `seq:hash`. Raises InputRefused if it is not one."""
        seq, _, digest = text.strip().partition(":")
        if not seq.isdecimal() or not re.fullmatch("[0-9a-f]{64}", digest):
            raise InputRefused("not an audit head", remedy="it looks like 42:9f86d0…")
        return cls(int(seq), digest)


class Audit:
    """The audit log in the access database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self, actor: str, action: str, object: str = "", detail: Mapping[str, object] | None = None, *,
        now: int, connection: Connection | None = None,
    ) -> int:
        """Append a row and return its number.

        With `connection` (a `write()` of the access database) the row is kept exactly if that transaction is.
        Control characters are escaped; a detail over 16 KiB is kept as its length and hash.
        """
        texts = escape_controls(actor)[:200], escape_controls(action)[:100], escape_controls(object)[:1000]
        body = _detail_text(detail or {})
        with self._joined(connection) as within:
            head = within.execute(select(AUDIT_HEAD).where(AUDIT_HEAD.c.id == 1).with_for_update()).first()
            seq, previous = (head.seq + 1, head.hash) if head else (1, _START)
            digest = _digest(previous, seq, now, *texts, body)
            within.execute(insert(AUDIT).values(
                seq=seq, at=now, actor=texts[0], action=texts[1], object=texts[2], detail=body, prev_hash=previous, hash=digest,
            ))
            if head:
                within.execute(update(AUDIT_HEAD).where(AUDIT_HEAD.c.id == 1).values(seq=seq, hash=digest))
            else:
                within.execute(insert(AUDIT_HEAD).values(id=1, seq=seq, hash=digest))
        return seq

    def head(self) -> Head:
        """The last row's number and hash, to print and keep elsewhere; (0, zeros) before the first row."""
        with self._database.read() as connection:
            row = connection.execute(select(AUDIT_HEAD).where(AUDIT_HEAD.c.id == 1)).first()
        return Head(row.seq, row.hash) if row else Head(0, _START)

    def verify(self, anchor: Head | None = None) -> int | None:
        """The number of the first row that is missing or not as it was written; None if all is well.

        `anchor` is a head printed earlier: a log rewritten whole, or cut back with its head, differs there.
        """
        with self._database.read() as connection:
            head = connection.execute(select(AUDIT_HEAD).where(AUDIT_HEAD.c.id == 1)).first()
            expected, previous = 1, _START
            rows = connection.execution_options(stream_results=True).execute(select(AUDIT).order_by(AUDIT.c.seq))
            for row in rows:
                if not _is_next(row, expected, previous) or (anchor and anchor.seq == row.seq and anchor.hash != row.hash):
                    rows.close()
                    return expected
                expected, previous = expected + 1, row.hash
        last = Head(head.seq, head.hash) if head else Head(0, _START)
        if last != Head(expected - 1, previous):
            return min(last.seq, expected - 1) + 1 if last.seq != expected - 1 else max(last.seq, 1)
        return expected if anchor and anchor.seq >= expected else None

    def list(
        self, *, limit: int = 100, before: int | None = None, actor: str | None = None, action: str | None = None,
    ) -> Sequence[AuditEntry]:
        """The newest rows first; `before` is the number to go on from. For those who hold `audit.read` only."""
        query = select(AUDIT).order_by(AUDIT.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(AUDIT.c.seq < before)
        if actor is not None:
            query = query.where(AUDIT.c.actor == escape_controls(actor))
        if action is not None:
            query = query.where(AUDIT.c.action == action)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [AuditEntry(r.seq, r.at, r.actor, r.action, r.object, json.loads(r.detail), r.hash) for r in rows]

    @contextmanager
    def _joined(self, connection: Connection | None) -> Iterator[Connection]:
        if connection is not None:
            yield connection
        else:
            with self._database.write() as own:
                yield own


def escape_controls(text: str) -> str:
    r"""`text` in which no character breaks a line, moves a cursor or turns the reading direction (written \uXXXX)."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def local_actor() -> str:
    """Who runs this process on this machine, as the audit names them: `local:<user>`."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"local:{name}"


def _detail_text(detail: Mapping[str, object]) -> str:
    text = json.dumps(_escaped(detail), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    raw = text.encode()
    if len(raw) > _DETAIL_BYTES:
        return json.dumps({"sha256": hashlib.sha256(raw).hexdigest(), "truncated_bytes": len(raw)}, separators=(",", ":"))
    return text


def _escaped(value: object) -> object:
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, Mapping):
        return {escape_controls(str(key)): _escaped(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [_escaped(item) for item in items]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return escape_controls(str(value))


def _digest(previous: str, seq: int, at: int, actor: str, action: str, object: str, detail: str) -> str:
    text = json.dumps([previous, seq, at, actor, action, object, detail], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_next(row: Row[Any], expected: int, previous: str) -> bool:
    digest = _digest(row.prev_hash, row.seq, row.at, row.actor, row.action, row.object, row.detail)
    return bool(row.seq == expected and row.prev_hash == previous and row.hash == digest)
