"""The two databases, state and access: one small API over SQLite (one machine) and PostgreSQL (many).

Each package defines its tables on `STATE` or `ACCESS`; `Database.migrate` brings the schema up to date.
A write is exclusive on both dialects, so a store may read, decide and write within one `write()`.
"""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, Integer, MetaData, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError, DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from soc.errors import DamagedError, DiskFullError, InputRefused, StoreError

__all__ = ["ACCESS", "BUSY_SECONDS", "MIGRATIONS", "SERIAL", "STATE", "Database", "sqlite_url"]

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s", "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
}

STATE = MetaData(naming_convention=_NAMES, info={"tree": "state"})
"""Tables of alerts, rules, ledger, imports and sources."""

ACCESS = MetaData(naming_convention=_NAMES, info={"tree": "access"})
"""Tables of agencies, users, sessions, tokens and audit."""

SERIAL = BigInteger().with_variant(Integer(), "sqlite")
"""The type of a numbered primary key: 64 bits on both dialects (SQLite's own must be spelt INTEGER)."""

BUSY_SECONDS = 15.0
"""How long a writer waits for another before it fails."""

MIGRATIONS = Path(__file__).with_name("migrations")
"""Where the migration trees `state` and `access` lie."""


def sqlite_url(path: Path) -> str:
    """The URL of the SQLite file at `path` (characters that mean something in URLs are escaped)."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


class Database:
    """One of the two databases. Thread-safe; open it once per process and pass it on."""

    def __init__(self, engine: Engine, metadata: MetaData) -> None:
        self.metadata = metadata
        self.tree: str = metadata.info["tree"]
        self._engine = engine
        self._writer = threading.Lock()
        self._writing: int | None = None

    @classmethod
    def open(cls, url: str, metadata: MetaData) -> Database:
        """The database at `url` (`sqlite:///…`, `postgresql://…`), connected to on first use.

        A new SQLite file is made readable by its owner only. Raises StoreError for another kind of URL.
        """
        made = make_url(url)
        if made.get_backend_name() == "sqlite":
            return cls(_sqlite_engine(made), metadata)
        if made.get_backend_name() in ("postgresql", "postgres"):
            return cls(_postgres_engine(made), metadata)
        raise StoreError(f"no database of kind {made.get_backend_name()!r}", remedy="use sqlite:///path or postgresql://…")

    def __repr__(self) -> str:
        return f"Database({self.tree}, {self.address})"

    @property
    def address(self) -> str:
        """Its URL without the password."""
        return self._engine.url.render_as_string(hide_password=True)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one snapshot and holds nobody up; its writes are never kept.

        Raises StoreError (DamagedError, DiskFullError) when the database cannot be used, InputRefused as `write`.
        """
        with _named_errors(self), self._engine.connect() as connection:
            if self.dialect == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection

    @contextmanager
    def write(self, *, exclusive: bool = True) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back by an exception.

        One writer at a time: SQLite takes its write lock at the start, PostgreSQL an advisory lock per tree,
        which `exclusive=False` leaves out (for single statements that need no read before them).
        Raises StoreError when the database cannot be used (DamagedError, DiskFullError) or another writer holds it for
        `BUSY_SECONDS`, RuntimeError if nested in one thread (SQLite), InputRefused for text that no
        database keeps (half a surrogate pair; on PostgreSQL also NUL).
        """
        if self.dialect == "sqlite":
            with self._alone(), self._engine.connect() as connection:
                connection = connection.execution_options(soc_write=True)
                with _named_errors(self), connection.begin():
                    yield connection
        else:
            with _named_errors(self), self._engine.begin() as connection:
                if exclusive:
                    _advisory_lock(self, connection)
                yield connection

    def migrate(self) -> None:
        """Bring the schema to what this version needs. Safe beside other processes; quick when there is nothing to do.

        Raises StoreError when a newer version has written this database.
        """
        names = _migration_files(self.tree)
        if self._mark() == names:
            return
        from soc.migrations.upgrade import upgrade  # alembic is loaded only when there is something to do

        with self.write() as connection:
            if _read_mark(connection, self.tree) == names:
                return
            upgrade(connection, self.metadata)
            _write_mark(connection, self.tree, names)

    def close(self) -> None:
        """Close every connection; on SQLite this folds the write-ahead log in."""
        self._engine.dispose()

    def _mark(self) -> str | None:
        with self.read() as connection:
            return _read_mark(connection, self.tree)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The turn of this thread among this process's writers: fair, where SQLite's own waiting is not."""
        me = threading.get_ident()
        if self._writing == me:
            raise RuntimeError("write() inside write(): pass the connection on instead")
        if not self._writer.acquire(timeout=BUSY_SECONDS):
            raise _unusable(self, "database is locked")
        self._writing = me
        try:
            yield
        finally:
            self._writing = None
            self._writer.release()


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise StoreError("a database in memory is not shared between threads", remedy="give a file")
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", remedy="check the folder's owner and permissions") from error
    engine = create_engine(
        url, pool_size=2, max_overflow=14, hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Settings of each new connection. Transactions are ours: the driver is told to begin none itself."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA trusted_schema = OFF")
    cursor.execute("PRAGMA journal_size_limit = 67108864")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """SQLite does not wait by itself when two processes switch a new file at the same moment."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("soc_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _named_errors(database: Database) -> Iterator[None]:
    """Give the drivers' errors that callers can act on our own names."""
    try:
        yield
    except OperationalError as error:
        raise _unusable(database, str(error.orig).strip()) from error
    except PoolTimeout as error:
        raise StoreError(f"{_place(database)}: all connections are in use") from error
    except UnicodeEncodeError as error:
        raise InputRefused("the text holds half a character, which no database keeps") from error
    except DataError as error:
        if "NUL" in str(error.orig):
            raise InputRefused("the text holds a NUL character, which PostgreSQL does not keep") from error
        raise
    except DatabaseError as error:
        if type(error) is DatabaseError:  # what SQLite says of a damaged file
            raise DamagedError(f"{_place(database)}: {error.orig}", remedy="restore it from a backup") from error
        raise


def _unusable(database: Database, said: str) -> StoreError:
    if "database is locked" in said:
        return StoreError(f"{_place(database)}: another writer held it for {BUSY_SECONDS:.0f} s")
    if "disk is full" in said or "No space left" in said:
        return DiskFullError(f"{_place(database)}: the disk is full", remedy="make room; nothing of this was kept")
    remedy = "check its address and that it runs" if database.dialect == "postgresql" else "soc doctor says what is wrong with it"
    return StoreError(f"{_place(database)}: {said}", remedy=remedy)


def _place(database: Database) -> str:
    return f"the {database.tree} database {database.address}"


def _postgres_engine(url: URL) -> Engine:
    return create_engine(
        url.set(drivername="postgresql+psycopg"), pool_size=2, max_overflow=14, pool_pre_ping=True, hide_parameters=True,
        connect_args={"connect_timeout": 10, "application_name": "soc"},
    )


def _advisory_lock(database: Database, connection: Connection) -> None:
    """One writer per tree and PostgreSQL database, until the transaction ends."""
    connection.execute(text(f"SET LOCAL lock_timeout = {int(BUSY_SECONDS * 1000)}"))
    try:
        connection.execute(text("SELECT pg_advisory_xact_lock(:space, hashtext(:tree))"), {"space": 0x50C, "tree": database.tree})
    except OperationalError as error:
        raise _unusable(database, "database is locked") from error


def _migration_files(tree: str) -> str:
    """The names of this version's migrations: the whole state of a schema, in a line."""
    names = sorted(path.stem for path in (MIGRATIONS / tree / "versions").glob("*.py") if path.stem != "__init__")
    return " ".join(names)


def _read_mark(connection: Connection, tree: str) -> str | None:
    if not connection.dialect.has_table(connection, f"migrated_{tree}"):
        return None
    found: str | None = connection.execute(text(f"SELECT names FROM migrated_{tree}")).scalar()
    return found


def _write_mark(connection: Connection, tree: str, names: str) -> None:
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS migrated_{tree} (names TEXT NOT NULL)"))
    connection.execute(text(f"DELETE FROM migrated_{tree}"))
    connection.execute(text(f"INSERT INTO migrated_{tree} (names) VALUES (:names)"), {"names": names})
