"""`node.db`: what one node knows of its own files, in one SQLite database beside its journal.

Manifest and chain, the normaliser's cursor, received ranges, dead letters, losses, undone imports. Every change is
one short IMMEDIATE transaction with synchronous=FULL; several processes may open it.
"""
from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from soc.errors import DiskFullError, StoreError

__all__ = ["NodeDatabase", "VERSION"]

VERSION = 1
REBUILT = "stop the server, move it away and start again: it is rebuilt from the files beside it (keep it until then)"

_SCHEMA = (
    """
    CREATE TABLE segments (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, lane TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        family TEXT NOT NULL, retention TEXT NOT NULL, origin TEXT NOT NULL, import_id TEXT NOT NULL, day TEXT NOT NULL,
        path TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, event_sum TEXT NOT NULL,
        min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, min_ingested INTEGER NOT NULL, max_ingested INTEGER NOT NULL,
        columns TEXT NOT NULL, tokens TEXT NOT NULL DEFAULT '', tier INTEGER NOT NULL DEFAULT 0,
        added INTEGER NOT NULL, removed INTEGER, removed_at INTEGER, why TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX segments_added ON segments (added);
    CREATE INDEX segments_removed ON segments (removed);
    CREATE INDEX segments_cut ON segments (kind, lane, first) WHERE removed IS NULL;
    CREATE TABLE chain (
        seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, op TEXT NOT NULL, body TEXT NOT NULL,
        prev TEXT NOT NULL, hash TEXT NOT NULL
    );
    CREATE TABLE positions (consumer TEXT NOT NULL, lane TEXT NOT NULL, sequence INTEGER NOT NULL,
        PRIMARY KEY (consumer, lane));
    CREATE TABLE cuts (lane TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, at INTEGER NOT NULL,
        PRIMARY KEY (lane, first));
    CREATE TABLE dead_letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, lane TEXT NOT NULL, sequence INTEGER NOT NULL,
        source TEXT NOT NULL, agency TEXT NOT NULL, origin TEXT NOT NULL, import_id TEXT NOT NULL, stream TEXT NOT NULL,
        n INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, context TEXT NOT NULL, raw BLOB NOT NULL,
        state TEXT NOT NULL DEFAULT 'dead', UNIQUE (lane, sequence)
    );
    CREATE INDEX dead_letters_reason ON dead_letters (state, reason);
    CREATE INDEX dead_letters_import ON dead_letters (import_id);
    CREATE TABLE losses (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, lane TEXT NOT NULL, first INTEGER NOT NULL,
        last INTEGER NOT NULL, path TEXT NOT NULL, reason TEXT NOT NULL, UNIQUE (lane, first, last, path)
    );
    CREATE TABLE received (
        stream TEXT NOT NULL, epoch INTEGER NOT NULL, import_id TEXT NOT NULL, ranges TEXT NOT NULL,
        touched INTEGER NOT NULL, PRIMARY KEY (stream, epoch)
    );
    CREATE INDEX received_import ON received (import_id);
    CREATE TABLE snapshots (lane TEXT PRIMARY KEY, sequence INTEGER NOT NULL);
    CREATE TABLE undone (import_id TEXT PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL);
    CREATE TABLE imports_seen (
        import_id TEXT PRIMARY KEY, lane TEXT NOT NULL, records INTEGER NOT NULL, events INTEGER NOT NULL,
        dead INTEGER NOT NULL, min_time INTEGER, max_time INTEGER, last INTEGER NOT NULL
    );
    """,
)
"""One script per schema version; `PRAGMA user_version` says how many have run (F28)."""


class NodeDatabase:
    """One connection to node.db; threads of one process take turns at it."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Opens, and migrates if the file is older. Raises StoreError if it is newer or no database."""
        self.path = path
        self.lock = threading.RLock()
        try:
            self.connection = sqlite3.connect(
                path if create else f"{path.resolve().as_uri()}?mode=rw", uri=not create,
                timeout=20.0, isolation_level=None, check_same_thread=False,
            )
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("PRAGMA synchronous=FULL")
            self.connection.execute("PRAGMA cache_size=-4000")
            if self._version() != VERSION:
                self._migrate()
        except sqlite3.DatabaseError as fault:
            # moving it away helps only against what it holds, never against a disk or a lock
            broken = getattr(fault, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            raise StoreError(f"{path.name}: {fault}", remedy=REBUILT if broken else "see `soc doctor`") from fault
        path.chmod(0o600)

    def _version(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        with self.write() as cursor:
            have = self._version()
            if have > VERSION:
                raise StoreError(f"{self.path.name} has format {have}; this program knows {VERSION}", remedy="use the version that wrote it")
            for number in range(have, VERSION):
                for statement in _SCHEMA[number].split(";"):
                    if statement.strip():
                        cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version={VERSION}")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, written through before it ends. Raises StoreError (DiskFullError) when it cannot be: then nothing is kept."""
        with self.lock:
            yield from self._transaction()

    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException as fault:
            if self.connection.in_transaction:  # a full disk makes SQLite roll back by itself
                self.connection.execute("ROLLBACK")
            if not isinstance(fault, sqlite3.OperationalError):
                raise
            kind = DiskFullError if getattr(fault, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL else StoreError
            raise kind(f"node.db: {fault}", remedy="see `soc doctor`") from fault

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """The rows of a read."""
        with self.lock:
            return self.connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
