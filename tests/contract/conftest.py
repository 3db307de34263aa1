"""Both dialects for every contract suite: a fresh SQLite file, and a real PostgreSQL that the tests start themselves.

`state_db` and `access_db` are migrated and empty, once per dialect; a suite takes them and says nothing of dialects.
"""
from __future__ import annotations

import importlib
import itertools
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import MetaData

from soc.database import ACCESS, STATE, Database, sqlite_url

REPOSITORY = Path(__file__).resolve().parents[2]

_names = itertools.count(1)


@pytest.fixture(scope="session")
def tables() -> list[str]:
    """Every module that declares tables on STATE or ACCESS, imported: found by reading, so there is no list to keep."""
    found = []
    for path in sorted([*(REPOSITORY / "soc").rglob("*.py"), *(REPOSITORY / "alerts").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        if re.search(r"\bTable\(\s*\"\w+\",\s*(STATE|ACCESS)\b", text):
            found.append(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
    for name in found:
        importlib.import_module(name)
    return found


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a private PostgreSQL server, without a database name after its last slash.

    Skips where PostgreSQL is not installed; fails there under CI=true.
    """
    binaries = _postgres_binaries()
    if binaries is None:
        reason = "no PostgreSQL server here; apt-get install postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="socpg"))
    user = _ordinary_user()
    as_user = []
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    data, log = folder / "data", folder / "log"
    subprocess.run(
        [*as_user, binaries / "initdb", "-D", data, "-U", "soc", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"],
        check=True, capture_output=True, cwd=folder, timeout=120,
    )
    settings = ["shared_buffers=32MB", "listen_addresses=", f"unix_socket_directories={folder}", "max_connections=60"]
    options = ["-F", *(part for setting in settings for part in ("-c", setting))]
    with log.open("wb") as output:
        command = [*as_user, binaries / "postgres", "-D", data, *options]
        server = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        _wait_for(folder, server, log)
        yield f"postgresql://soc@/{{}}?host={folder}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def dialect(request: pytest.FixtureRequest) -> str:
    """Each of the two dialects in turn."""
    return str(request.param)


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, empty database of that dialect."""
    if dialect == "sqlite":
        yield sqlite_url(tmp_path / "fresh.db")
        return
    template = request.getfixturevalue("postgres_url")
    name = f"fresh{next(_names)}"
    _postgres_do(template, f"CREATE DATABASE {name}")
    yield template.format(name)
    _postgres_do(template, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def state_db(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated, empty state database."""
    yield from _fresh(STATE, dialect, request, tmp_path)


@pytest.fixture
def access_db(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated access database with nothing but the agency `unassigned`."""
    yield from _fresh(ACCESS, dialect, request, tmp_path)


@pytest.fixture(scope="session")
def migrated_templates(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """Databases migrated once and copied per test: (dialect, tree) -> file or database name."""
    return {}


def _fresh(metadata: MetaData, dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    templates: dict[tuple[str, str], str] = request.getfixturevalue("migrated_templates")
    tree = metadata.info["tree"]
    if dialect == "sqlite":
        if (dialect, tree) not in templates:
            folder = request.getfixturevalue("tmp_path_factory").mktemp("template")
            templates[dialect, tree] = str(folder / f"{tree}.db")
            _migrate(sqlite_url(Path(templates[dialect, tree])), metadata)
        path = tmp_path / f"{tree}.db"
        shutil.copyfile(templates[dialect, tree], path)
        database = Database.open(sqlite_url(path), metadata)
        yield database
        database.close()
        return
    url = request.getfixturevalue("postgres_url")
    if (dialect, tree) not in templates:
        templates[dialect, tree] = f"template_{tree}"
        _postgres_do(url, f"CREATE DATABASE template_{tree}")
        _migrate(url.format(f"template_{tree}"), metadata)
    name = f"{tree}{next(_names)}"
    _postgres_do(url, f"CREATE DATABASE {name} TEMPLATE template_{tree}")
    database = Database.open(url.format(name), metadata)
    yield database
    database.close()
    _postgres_do(url, f"DROP DATABASE {name} WITH (FORCE)")


def _migrate(url: str, metadata: MetaData) -> None:
    database = Database.open(url, metadata)
    database.migrate()
    database.close()


def _postgres_do(template: str, statement: str) -> None:
    with psycopg.connect(template.format("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())


def _postgres_binaries() -> Path | None:
    """The folder of initdb and postgres: as pg_config says, else Debian's newest."""
    folders: list[Path] = []
    if shutil.which("pg_config"):
        said = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False, timeout=10)
        folders.append(Path(said.stdout.strip()))
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(debian, key=lambda path: float(path.parent.name) if path.parent.name.isdecimal() else 0.0, reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


def _ordinary_user() -> pwd.struct_passwd | None:
    """Whom to run the server as: PostgreSQL refuses root. None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("running as root, and there is no user postgres or nobody to run PostgreSQL as")


def _wait_for(folder: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"postgresql://soc@/postgres?host={folder}").close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
