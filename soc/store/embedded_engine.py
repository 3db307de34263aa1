"""DuckDB in memory over exactly the files of one state of the store: bounded, locked, interrupted when it takes too long.

The home of DuckDB. It is imported and started at the first search, so a process that does not search pays nothing.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from soc.errors import StoreError

__all__ = ["Engine", "FileFault", "Session", "Watchdog"]


class FileFault(Exception):
    """A statement failed for a reason that may be one of its files."""


class Watchdog:
    """Interrupts sessions whose time is up. One thread for all of them, and none while there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[int, Session] = {}
        self._thread: threading.Thread | None = None

    def add(self, session: Session) -> None:
        """Watch a session."""
        with self._changed:
            self._watched[id(session)] = session
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="search-watchdog", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, session: Session) -> None:
        """Watch it no longer."""
        with self._changed:
            self._watched.pop(id(session), None)

    def _run(self) -> None:
        with self._changed:
            quiet = 0
            while quiet < _LINGER:
                now = time.monotonic()
                for key in [key for key, session in self._watched.items() if session.ends <= now]:
                    self._watched.pop(key).interrupt()
                quiet = 0 if self._watched else quiet + 1
                self._changed.wait(max(0.01, min((session.ends for session in self._watched.values()), default=now + 1.0) - now))
            self._thread = None


_LINGER = 5
"""Seconds for which the watchdog's thread stays when nothing is asked."""


class Session:
    """One question's statements on one connection, all under one deadline (seconds)."""

    def __init__(self, connection: Any, timeout: float) -> None:
        self._connection = connection
        self.ends = time.monotonic() + timeout
        self._timeout = timeout
        self._expired = threading.Event()

    def rows(self, sql: str, values: Sequence[object] = (), tables: Mapping[str, pa.Table] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a statement; `tables` are Arrow tables it may name. Raises StoreError (limits), FileFault."""
        found: list[tuple[Any, ...]] = self._run(sql, values, tables or {}, arrow=False)
        return found

    def table(self, sql: str, values: Sequence[object] = (), tables: Mapping[str, pa.Table] | None = None) -> pa.Table:
        """The same as an Arrow table."""
        return self._run(sql, values, tables or {}, arrow=True)

    def check(self) -> None:
        """Raises StoreError once the time is up; called between statements."""
        if time.monotonic() >= self.ends:
            raise self._late()

    def _run(self, sql: str, values: Sequence[object], tables: Mapping[str, pa.Table], *, arrow: bool) -> Any:
        import duckdb

        self.check()
        for name, table in tables.items():
            self._connection.register(name, table)
        try:
            if arrow:
                return self._connection.sql(sql, params=list(values)).to_arrow_table()
            return self._connection.execute(sql, list(values)).fetchall()
        except duckdb.InterruptException as fault:
            raise self._late() from fault
        except duckdb.OutOfMemoryException as fault:
            raise StoreError("the search needs more memory than it may have", remedy="narrow the time range or the search") from fault
        except (duckdb.Error, pa.ArrowException, OSError) as fault:
            if self._expired.is_set():
                raise self._late() from fault
            raise FileFault(str(fault)) from fault
        finally:
            for name in tables:
                self._connection.unregister(name)

    def interrupt(self) -> None:
        """Stop what runs: the time is up."""
        self._expired.set()
        self._connection.interrupt()

    def _late(self) -> StoreError:
        return StoreError(f"the search took longer than {self._timeout:g} s and was stopped", remedy="narrow the time range or the search")


class Engine:
    """One DuckDB instance that may read `paths` and nothing else."""

    def __init__(self, paths: frozenset[str], watchdog: Watchdog, *, memory_limit: str, threads: int) -> None:
        import duckdb

        self.paths = paths
        self._watchdog = watchdog
        self._touched: dict[str, int] = {}
        self._database = duckdb.connect(":memory:", config={"threads": threads, "memory_limit": memory_limit})
        setup = self._database.execute
        setup("SET temp_directory = ''")
        setup("SET TimeZone = 'UTC'")
        setup("SET parquet_metadata_cache = true")
        setup("SET python_enable_replacements = false")
        setup("SET autoinstall_known_extensions = false")
        setup("SET autoload_known_extensions = false")
        setup("SET allowed_paths = ?", [sorted(paths)])
        setup("SET enable_external_access = false")
        setup("SET lock_configuration = true")

    def touch(self, path: str, cells: int) -> int:
        """Note that a file's footer (of `cells` column chunks) is now remembered; returns all remembered cells."""
        self._touched[path] = cells
        return sum(self._touched.values())

    def close(self) -> None:
        """Let the instance go. A session that is still open keeps it until it ends."""
        self._database.close()

    @contextmanager
    def session(self, timeout: float) -> Iterator[Session]:
        """A connection of its own for one question."""
        connection = self._database.cursor()
        session = Session(connection, timeout)
        self._watchdog.add(session)
        try:
            yield session
        finally:
            self._watchdog.remove(session)
            connection.close()
