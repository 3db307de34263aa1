"""Imports as objects in the state database: what was taken from where, and how far.

A content is imported once, under a stream named by its own hash, by the import that owns it; a record's number is its
ordinal in the content. A log that has grown holds on its own only what lies behind its longest head that was imported
before. So every record keeps one number, one id and one owner, whatever is repeated, interrupted or undone.
"""
from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from soc.database import SERIAL, STATE, Database
from soc.errors import NotFoundError
from soc.event import Scope
from soc.ingest.content import Content

__all__ = ["Import", "ImportFile", "ImportStore", "Plan", "import_id", "undone_among"]

IMPORTS = Table(
    "imports", STATE,
    Column("id", String(32), primary_key=True),
    Column("started", BigInteger, nullable=False),
    Column("finished", BigInteger),
    Column("actor", String(200), nullable=False),
    Column("agency", String(64), nullable=False),
    Column("options", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("note", Text, nullable=False),
    Index("ix_imports_started", "started"),
)
IMPORT_FILES = Table(
    "import_files", STATE,
    Column("id", SERIAL, primary_key=True),
    Column("import_id", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("head", String(80), nullable=False),
    Column("stream", String(64), nullable=False),
    Column("base", Integer, nullable=False),
    Column("read_at", BigInteger, nullable=False),
    Column("file_time", BigInteger, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("sent", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("bad", BigInteger, nullable=False),
    Column("cut", BigInteger, nullable=False),
    Index("ix_import_files_import_id", "import_id"),
    Index("ix_import_files_sha256", "sha256"),
    Index("ix_import_files_head", "head"),
)

READING, READ, DUPLICATE, REFUSED, SKIPPED = "reading", "read", "duplicate", "refused", "skipped"
RUNNING, INTERRUPTED, DONE, FAILED, UNDOING, UNDONE = "running", "interrupted", "done", "failed", "undoing", "undone"
_GONE = (UNDOING, UNDONE)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class Import:
    """One call of `soc import`; times in microseconds since 1970 UTC. Sums are over its files.

    `state`: running, interrupted, done, failed, undoing, undone.
    """

    id: str
    started: int
    finished: int | None
    actor: str
    agency: str
    options: Mapping[str, Any]
    state: str
    note: str
    read: int = 0
    refused: int = 0
    skipped: int = 0
    duplicates: int = 0
    records: int = 0
    bad: int = 0


@dataclass(frozen=True, slots=True)
class ImportFile:
    """One file of an import. `state`: reading (or interrupted there), read, duplicate, refused, skipped.

    The content holds `records`; those from the ordinal `start` on belong to it, those before to the file number `base`
    (0: none). `sent` were new to the centre, `duplicates` known; `bad` could not be read, `cut` were shortened.
    `duplicate`: another file owns this very content.
    """

    import_id: str
    name: str
    state: str
    reason: str = ""
    kind: str = ""
    bytes: int = 0
    sha256: str = ""
    head: str = ""
    stream: str = ""
    base: int = 0
    read_at: int = 0
    file_time: int = 0
    start: int = 0
    records: int = 0
    sent: int = 0
    duplicates: int = 0
    bad: int = 0
    cut: int = 0
    id: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a content. `owner` is the file that has it already, wholly or interrupted.

    Else it is new, and its own from `start` on if it goes on after `head`. `before` is a file that holds its beginning
    but is unfinished or undone: that many bytes are to be imported first, as a content of their own.
    """

    read_at: int
    owner: ImportFile | None = None
    head: ImportFile | None = None
    before: ImportFile | None = None
    start: int = 0
    base: int = 0


class ImportStore:
    """The imports in the state database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- while importing

    def begin(self, *, actor: str, agency: str, options: Mapping[str, Any], now: int) -> Import:
        """A new import, running."""
        made = Import(import_id(now), now, None, actor, agency, dict(options), RUNNING, "")
        with self._database.write() as connection:
            connection.execute(insert(IMPORTS).values(
                id=made.id, started=now, finished=None, actor=actor, agency=agency, options=dict(options), state=RUNNING, note="",
            ))
        return made

    def lengths(self, heads: Collection[str]) -> set[int]:
        """Lengths in bytes of the files imported before (and not undone) that have one of these heads."""
        with self._database.read() as connection:
            query = _alive(select(IMPORT_FILES.c.bytes).where(IMPORT_FILES.c.head.in_(list(heads)))).distinct()
            return {int(each) for each in connection.execute(query).scalars()}

    def plan(self, content: Content, *, grows: bool, now: int) -> Plan:
        """What is known of this content, and, if such files grow by appending, of its beginning."""
        with self._database.read() as connection:
            owner = self._owner(connection, content.sha256)
            if owner is not None:
                base = self._file(connection, owner.base)
                return Plan(owner.read_at, owner, None, None if base is None or self._sound(connection, base) else base,
                            owner.start, owner.base)
            for size in sorted((size for size in content.prefixes if size < content.size), reverse=True) if grows else ():
                head = self._owner(connection, content.prefixes[size])
                if head is not None and head.kind != "evtx":
                    return Plan(now, None, head, None if self._sound(connection, head) else head, head.records, head.id)
        return Plan(now)

    def resume(self, *, agency: str, options: Mapping[str, Any], now: int, alive: Callable[[Import], bool]) -> Import | None:
        """The interrupted import of the same inputs with the same options, running again; None if there is none.

        `alive` tells whether an import that says it runs really does. What it had left is found again.
        """
        inputs = {key: value for key, value in options.items() if key != "pid"}
        for found in [*self.list(Scope.everything(), agency=agency, state=INTERRUPTED),
                      *self.list(Scope.everything(), agency=agency, state=RUNNING)]:
            if {key: value for key, value in found.options.items() if key != "pid"} != inputs or (
                    found.state == RUNNING and alive(found)):
                continue
            with self._database.write() as connection:
                connection.execute(update(IMPORTS).where(IMPORTS.c.id == found.id, IMPORTS.c.state == found.state).values(
                    state=RUNNING, finished=None, note="", options=dict(options)))
                connection.execute(delete(IMPORT_FILES).where(
                    IMPORT_FILES.c.import_id == found.id, IMPORT_FILES.c.state.in_((REFUSED, SKIPPED, DUPLICATE))))
            return replace(found, state=RUNNING, finished=None, options=dict(options))
        return None

    def begin_file(self, file: ImportFile) -> ImportFile:
        """Keep a file that is about to be read; gives it back with its number."""
        with self._database.write() as connection:
            result = connection.execute(insert(IMPORT_FILES).values(**_values(file)))
            key = result.inserted_primary_key
            assert key is not None
        return replace(file, id=int(key[0]))

    def end_file(self, file: ImportFile) -> None:
        """Keep how a file ended."""
        with self._database.write() as connection:
            connection.execute(update(IMPORT_FILES).where(IMPORT_FILES.c.id == file.id).values(**_values(file)))

    def left(self, files: Sequence[ImportFile]) -> None:
        """Keep files that were refused or skipped."""
        if files:
            with self._database.write() as connection:
                connection.execute(insert(IMPORT_FILES), [_values(each) for each in files])

    def end(self, import_id: str, state: str, now: int, note: str = "") -> None:
        """Close an import as done, interrupted or failed."""
        with self._database.write() as connection:
            connection.execute(
                update(IMPORTS).where(IMPORTS.c.id == import_id, IMPORTS.c.state.not_in(_GONE))
                .values(state=state, finished=now, note=note),
            )

    # ---- afterwards

    def list(self, scope: Scope, *, agency: str = "", state: str = "", limit: int = 100) -> list[Import]:
        """Newest first, with the sums of their files."""
        query = select(IMPORTS).order_by(IMPORTS.c.started.desc(), IMPORTS.c.id.desc()).limit(limit)
        if scope.agencies is not None:
            query = query.where(IMPORTS.c.agency.in_(sorted(scope.agencies)))
        if agency:
            query = query.where(IMPORTS.c.agency == agency)
        if state:
            query = query.where(IMPORTS.c.state == state)
        with self._database.read() as connection:
            found = connection.execute(query).all()
            sums = _sums(connection, [each.id for each in found])
        return [_import(each, sums.get(each.id, {})) for each in found]

    def get(self, import_id: str, scope: Scope) -> Import:
        """One import. Raises NotFoundError if there is none within `scope`."""
        with self._database.read() as connection:
            row = connection.execute(select(IMPORTS).where(IMPORTS.c.id == import_id)).first()
            if row is None or not scope.allows(row.agency):
                raise NotFoundError(f"there is no import {import_id!r}", remedy="`soc import list` shows them")
            return _import(row, _sums(connection, [import_id]).get(import_id, {}))

    def files(self, import_id: str, scope: Scope, *, state: str = "", limit: int = 1000) -> Sequence[ImportFile]:
        """The files of an import in the order of reading. Raises NotFoundError."""
        self.get(import_id, scope)
        query = select(IMPORT_FILES).where(IMPORT_FILES.c.import_id == import_id).order_by(IMPORT_FILES.c.id).limit(limit)
        if state:
            query = query.where(IMPORT_FILES.c.state == state)
        with self._database.read() as connection:
            return [_file(row) for row in connection.execute(query).all()]

    def undoing(self, import_id: str, scope: Scope) -> Import:
        """Mark an import as going: from now on the detector raises nothing for it. Raises NotFoundError."""
        found = self.get(import_id, scope)
        with self._database.write() as connection:
            connection.execute(update(IMPORTS).where(IMPORTS.c.id == import_id).values(state=UNDOING))
        return found

    def undone(self, import_id: str, now: int) -> None:
        """Mark an import as gone; it stays in the list."""
        with self._database.write() as connection:
            connection.execute(update(IMPORTS).where(IMPORTS.c.id == import_id).values(state=UNDONE, finished=now))

    @staticmethod
    def _owner(connection: Connection, digest: str) -> ImportFile | None:
        """The file that holds this content, if it is not undone."""
        query = _alive(select(IMPORT_FILES).where(IMPORT_FILES.c.sha256 == digest)).order_by(IMPORT_FILES.c.id).limit(1)
        row = connection.execute(query).first()
        return None if row is None else _file(row)

    @staticmethod
    def _file(connection: Connection, number: int) -> ImportFile | None:
        row = connection.execute(select(IMPORT_FILES).where(IMPORT_FILES.c.id == number)).first() if number else None
        return None if row is None else _file(row)

    @staticmethod
    def _sound(connection: Connection, file: ImportFile) -> bool:
        """Whether a file was read to its end and is not undone."""
        query = _alive(select(IMPORT_FILES.c.id).where(IMPORT_FILES.c.id == file.id, IMPORT_FILES.c.state == READ))
        return connection.execute(query).first() is not None


def undone_among(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of these imports that are undone (or being undone), as this transaction on the state database sees it."""
    if not ids:
        return set()
    return set(connection.execute(select(IMPORTS.c.id).where(IMPORTS.c.id.in_(list(ids)), IMPORTS.c.state.in_(_GONE))).scalars())


def import_id(now: int) -> str:
    """A new id, sortable by time: 9 digits of base 32 for milliseconds since 1970, 5 of chance."""
    return _base32(now // 1000, 9) + _base32(secrets.randbits(25), 5)


def _base32(number: int, digits: int) -> str:
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(digits)))


def _alive(query: Any) -> Any:
    gone = select(IMPORTS.c.id).where(IMPORTS.c.state.in_(_GONE))
    return query.where(
        IMPORT_FILES.c.state.in_((READ, READING)), IMPORT_FILES.c.import_id.not_in(gone), IMPORT_FILES.c.stream != "",
    )


def _values(file: ImportFile) -> dict[str, Any]:
    return {column.name: getattr(file, column.name) for column in IMPORT_FILES.columns if column.name != "id"}


def _file(row: Row[Any]) -> ImportFile:
    return ImportFile(**{column.name: getattr(row, column.name) for column in IMPORT_FILES.columns})


def _sums(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    if not ids:
        return {}
    c = IMPORT_FILES.c
    query = select(
        c.import_id, c.state, func.count(), func.sum(c.sent), func.sum(c.duplicates), func.sum(c.bad),
    ).where(c.import_id.in_(list(ids))).group_by(c.import_id, c.state)
    sums: dict[str, dict[str, int]] = {}
    for name, state, files, sent, duplicates, bad in connection.execute(query):
        into = sums.setdefault(name, {})
        column = {REFUSED: "refused", SKIPPED: "skipped"}.get(state, "read")
        for key, value in ((column, files), ("records", sent), ("duplicates", duplicates), ("bad", bad)):
            into[key] = into.get(key, 0) + int(value or 0)
    return sums


def _import(row: Row[Any], sums: Mapping[str, int]) -> Import:
    return Import(row.id, row.started, row.finished, row.actor, row.agency, row.options, row.state, row.note, **sums)
