"""The databases themselves: migrations, transactions, concurrency; the same on both dialects."""
from __future__ import annotations

import logging
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from soc.database import ACCESS, STATE, Database, sqlite_url
from soc.errors import DamagedError, DiskFullError, InputRefused, StoreError


@pytest.mark.parametrize("metadata", [STATE, ACCESS], ids=["state", "access"])
def test_migrations_build_what_the_code_declares(metadata, database_url, tables):
    database = Database.open(database_url, metadata)
    database.migrate()
    tree = metadata.info["tree"]

    def ours(item, name, kind, reflected, compare_to):
        return not (kind == "table" and name in (f"migrated_{tree}", f"alembic_version_{tree}"))

    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={
            "version_table": f"alembic_version_{tree}", "compare_type": True, "include_object": ours,
        })
        differences = compare_metadata(context, metadata)
    database.close()
    assert differences == []


def test_modules_with_tables_are_found(tables):
    assert {"soc.access.users", "soc.access.sources"} <= set(tables)


def test_both_trees_may_share_one_database(database_url):
    for _ in range(2):
        for metadata in (STATE, ACCESS):
            database = Database.open(database_url, metadata)
            database.migrate()
            database.close()
    database = Database.open(database_url, STATE)
    with database.read() as connection:
        tables = set(inspect(connection).get_table_names())
    assert {"sources", "users", "alembic_version_state", "alembic_version_access"} <= tables
    database.close()


def test_a_second_migration_is_quick_and_leaves_alembic_alone(access_db):
    code = f"""
import sys, time
from soc.database import ACCESS, Database
database = Database.open({access_db._engine.url.render_as_string(hide_password=False)!r}, ACCESS)
with database.read(): pass
started = time.perf_counter()
database.migrate()
assert time.perf_counter() - started < 0.05, time.perf_counter() - started
assert "alembic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_two_processes_that_start_at_once_migrate_once(database_url):
    code = f"from soc.database import STATE, Database; Database.open({database_url!r}, STATE).migrate()"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert (process.returncode, said) == (0, b"")


def test_a_database_of_a_newer_version_is_refused_with_a_clear_word(state_db):
    with state_db.write() as connection:
        connection.execute(text("INSERT INTO alembic_version_state (version_num) VALUES ('sources_9999')"))
        connection.execute(text("UPDATE migrated_state SET names = names || ' sources_9999'"))
    with pytest.raises(StoreError, match="newer version"):
        state_db.migrate()


def test_migrating_says_nothing_in_the_log(database_url, caplog):
    with caplog.at_level(logging.INFO):
        database = Database.open(database_url, STATE)
        database.migrate()
        database.close()
    assert [record for record in caplog.records if record.levelno < logging.WARNING] == []


def test_an_exception_takes_the_whole_write_back(state_db):
    with state_db.write() as connection:
        connection.execute(text("CREATE TABLE notes (note TEXT)"))
    with pytest.raises(ZeroDivisionError), state_db.write() as connection:
        connection.execute(text("INSERT INTO notes VALUES ('lost')"))
        raise ZeroDivisionError
    with state_db.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM notes")).scalar() == 0


def test_a_read_sees_one_snapshot_and_keeps_nothing(state_db):
    with state_db.write() as connection:
        connection.execute(text("CREATE TABLE notes (note TEXT)"))
    with state_db.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM notes")).scalar() == 0
        with state_db.write() as writer:
            writer.execute(text("INSERT INTO notes VALUES ('new')"))
        assert reader.execute(text("SELECT count(*) FROM notes")).scalar() == 0
    try:
        with state_db.read() as reader:
            reader.execute(text("DELETE FROM notes"))
    except (DBAPIError, StoreError):
        pass
    with state_db.read() as reader:
        assert reader.execute(text("SELECT count(*) FROM notes")).scalar() == 1


def test_writers_that_read_first_lose_no_update(state_db):
    with state_db.write() as connection:
        connection.execute(text("CREATE TABLE counters (n INTEGER)"))
        connection.execute(text("INSERT INTO counters VALUES (0)"))

    def count() -> None:
        for _ in range(25):
            with state_db.write() as connection:
                n = connection.execute(text("SELECT n FROM counters")).scalar_one()
                connection.execute(text("UPDATE counters SET n = :n"), {"n": n + 1})

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with state_db.read() as connection:
        assert connection.execute(text("SELECT n FROM counters")).scalar() == 150


def test_a_writer_in_another_process_is_waited_for_then_named(state_db, monkeypatch):
    monkeypatch.setattr("soc.database.BUSY_SECONDS", 0.3)
    url = state_db._engine.url.render_as_string(hide_password=False)
    first, second = Database.open(url, STATE), Database.open(url, STATE)
    with first.write():
        started = time.monotonic()
        with pytest.raises(StoreError, match="another writer"), second.write():
            pass
        assert time.monotonic() - started < 5
    with second.write():
        pass
    first.close()
    second.close()


def test_unique_violations_reach_the_store_as_integrity_errors(state_db):
    with state_db.write() as connection:
        connection.execute(text("CREATE TABLE names (name TEXT PRIMARY KEY)"))
        connection.execute(text("INSERT INTO names VALUES ('a')"))
    with pytest.raises(IntegrityError), state_db.write() as connection:
        connection.execute(text("INSERT INTO names VALUES ('a')"))


def test_text_that_no_database_keeps_is_refused(state_db):
    with pytest.raises(InputRefused), state_db.write() as connection:
        connection.execute(text("SELECT :t"), {"t": "\ud800"})
    if state_db.dialect == "postgresql":
        with pytest.raises(InputRefused), state_db.read() as connection:
            connection.execute(text("SELECT :t"), {"t": "\x00"})


def test_nested_writes_on_sqlite_are_a_loud_mistake(tmp_path):
    database = Database.open(sqlite_url(tmp_path / "x.db"), STATE)
    with pytest.raises(RuntimeError, match="inside"), database.write(), database.write():
        pass
    with database.write():
        pass


def test_sqlite_files_are_durable_and_the_owners_alone(tmp_path):
    path = tmp_path / "näme %41?#.db"
    database = Database.open(sqlite_url(path), ACCESS)
    database.migrate()
    with database.read() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys")
        settings = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in names]
    assert settings == ["wal", 2, 1]
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert path.exists()


def test_a_damaged_sqlite_file_is_named(tmp_path):
    path = tmp_path / "state.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(DamagedError, match=r"state\.db"):
        Database.open(sqlite_url(path), STATE).migrate()


def test_a_full_disk_is_named_and_keeps_nothing(tmp_path):
    database = Database.open(sqlite_url(tmp_path / "state.db"), STATE)
    database.migrate()
    with pytest.raises(DiskFullError), database.write() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
        connection.execute(text("CREATE TABLE big AS SELECT randomblob(1000000) AS blob"))
    database.close()


def test_errors_never_show_values(state_db):
    with pytest.raises((DBAPIError, StoreError)) as caught, state_db.read() as connection:
        connection.execute(text("SELECT id FROM sources WHERE nothing = :secret"), {"secret": "hunter2hunter2"})
    assert "hunter2" not in str(caught.value)


def test_unreachable_or_unknown_databases_are_refused_without_their_password(tmp_path: Path):
    with pytest.raises(StoreError, match="mysql"):
        Database.open("mysql://root:hunter2hunter2@db/x", STATE)
    database = Database.open(f"postgresql://soc:hunter2hunter2@/x?host={tmp_path}", STATE)
    with pytest.raises(StoreError, match="check its address") as caught:
        database.migrate()
    assert "hunter2" not in repr(database) + str(caught.value)
