"""`soc agency`, `soc user` and `soc source` as people run them."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from soc.access.audit import Audit, local_actor
from soc.access.authentication import Authentication
from soc.access.sources import SourceStore
from soc.database import ACCESS, STATE, Database, sqlite_url
from soc.secret import Secret

PASSWORD = "ba con voi vàng"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def soc(tmp_path):
    def run(*words: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "soc.cli", "--data", str(tmp_path / "data"), *words],
            input=stdin, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        assert done.returncode == code, done.stderr
        return done
    return run


@pytest.fixture
def access(soc, tmp_path):
    soc("agency", "list")
    database = Database.open(sqlite_url(tmp_path / "data" / "access.db"), ACCESS)
    yield database
    database.close()


def test_agencies_are_added_moved_renamed_and_listed(soc):
    soc("agency", "add", "tinh", "--name", "Tỉnh")
    soc("agency", "add", "so-yt", "--name", "Sở Y tế", "--parent", "tinh")
    soc("agency", "add", "bv-1", "--parent", "so-yt")
    soc("agency", "rename", "bv-1", "--name", "Bệnh viện 1", "--name-en", "Hospital 1")
    soc("agency", "move", "bv-1", "--parent", "tinh")
    rows = json.loads(soc("agency", "list", "--json").stdout)
    assert [(row["id"], row["parent"], row["name"]) for row in rows] == [
        ("bv-1", "tinh", "Bệnh viện 1"), ("so-yt", "tinh", "Sở Y tế"), ("tinh", None, "Tỉnh"),
        ("unassigned", None, "Chưa phân bổ"),
    ]
    assert [row["id"] for row in json.loads(soc("agency", "list", "--under", "so-yt", "--json").stdout)] == ["so-yt"]
    assert len(json.loads(soc("agency", "list", "--limit", "2", "--json").stdout)) == 2
    assert "under" in soc("agency", "move", "tinh", "--parent", "tinh", code=1).stderr
    assert "--top" in soc("agency", "move", "tinh", code=2).stderr


def test_a_user_added_on_the_command_line_can_log_in(soc, tmp_path):
    soc("user", "add", "an", "--role", "administrator", "--password-stdin", stdin=PASSWORD + "\n")
    access = Database.open(sqlite_url(tmp_path / "data" / "access.db"), ACCESS)
    doors = Authentication(access)
    token = doors.login("an", Secret(PASSWORD), source="127.0.0.1", now=1)
    assert doors.by_session(token, now=2)
    soc("user", "password", "an", "--password-stdin", stdin="một câu khác hẳn\n")
    assert doors.by_session(token, now=2) is None
    assert doors.login("an", Secret("một câu khác hẳn"), source="127.0.0.1", now=3)
    entries = Audit(access).list()
    assert {(entry.actor, entry.action) for entry in entries} >= {(local_actor(), "user.add"), (local_actor(), "user.password")}
    assert Audit(access).verify() is None
    access.close()


def test_users_are_listed_disabled_and_given_roles(soc):
    soc("agency", "add", "so-yt")
    soc("user", "add", "an", "--role", "administrator", "--password-stdin", stdin=PASSWORD)
    soc("user", "add", "vy", "--role", "viewer", "--agency", "so-yt", "--password-stdin", stdin=PASSWORD)
    soc("user", "disable", "vy")
    soc("user", "role", "vy", "--role", "analyst")
    rows = json.loads(soc("user", "list", "--json").stdout)
    assert [(row["name"], row["roles"], row["agencies"], row["enabled"]) for row in rows] == [
        ("an", ["administrator"], [], True), ("vy", ["analyst"], [], False),
    ]
    assert [row["name"] for row in json.loads(soc("user", "list", "--role", "analyst", "--json").stdout)] == ["vy"]
    assert "last administrator" in soc("user", "disable", "an", code=1).stderr
    assert "too short" in soc("user", "add", "x", "--role", "analyst", "--password-stdin", stdin="short", code=1).stderr
    for weak in ("Password@2026", "mật khẩu 123456", "ba-con-soi ba-con-soi"):
        refused = soc("user", "add", "ba-con-soi", "--role", "analyst", "--password-stdin", stdin=weak, code=1).stderr
        assert "easy to guess" in refused
        assert "a sentence of four words" in refused
        assert "easy to guess" in soc("user", "password", "an", "--password-stdin", stdin=weak.replace("ba-con-soi", "an an an"), code=1).stderr
    assert "--agency" in soc("user", "add", "x", "--password-stdin", stdin=PASSWORD, code=2).stderr
    assert "--password-stdin" in soc("user", "add", "x", "--role", "analyst", code=2).stderr


def test_api_tokens_are_printed_once_listed_and_ended(soc, tmp_path):
    soc("user", "add", "an", "--role", "analyst", "--password-stdin", stdin=PASSWORD)
    text = soc("user", "token", "an", "--label", "grafana", "--scope", "events.read", "--days", "1").stdout.strip()
    access = Database.open(sqlite_url(tmp_path / "data" / "access.db"), ACCESS)
    now = Audit(access).list(limit=1)[0].at
    assert Authentication(access).by_api_token(Secret(text), now=now).permissions == {"events.read"}
    listed = soc("user", "token", "an", "--list", "--json")
    row = json.loads(listed.stdout)[0]
    assert text not in listed.stdout
    assert (row["name"], row["scopes"], row["revoked"]) == ("grafana", ["events.read"], None)
    soc("user", "token", "an", "--revoke", row["id"])
    assert Authentication(access).by_api_token(Secret(text), now=now) is None
    access.close()


def test_a_source_is_made_with_a_token_that_works_and_lines_to_copy(soc, tmp_path):
    soc("agency", "add", "so-yt")
    made = soc("source", "add", "web-1", "--agency", "so-yt", "--format", "nginx")
    state = Database.open(sqlite_url(tmp_path / "data" / "state.db"), STATE)
    assert SourceStore(state).by_token(made.stdout.strip()).agency == "so-yt"
    assert "curl" in made.stderr
    assert made.stdout.strip() not in soc("source", "show", "web-1").stdout + soc("source", "list", "--json").stdout
    fresh = json.loads(soc("source", "rotate", "web-1", "--json").stdout)[0]["token"]
    assert SourceStore(state).by_token(made.stdout.strip()) is None
    assert SourceStore(state).by_token(fresh).id == "web-1"
    soc("source", "disable", "web-1")
    assert SourceStore(state).by_token(fresh) is None
    soc("source", "enable", "web-1")
    assert SourceStore(state).by_token(fresh)
    state.close()


def test_a_syslog_source_is_told_how_rsyslog_reaches_it(soc):
    made = soc("source", "add", "fw", "--kind", "syslog", "--address", "10.0.0.1")
    assert 'protocol="tcp"' in made.stderr
    assert [row["addresses"] for row in json.loads(soc("source", "list", "--kind", "syslog", "--json").stdout)] == [["10.0.0.1"]]


def test_refusals_leave_no_source_and_no_audit_row(soc, access):
    for words, word in (
        (["x", "--agency", "nowhere"], "soc agency add nowhere"), (["x", "--kind", "syslog"], "--address"),
        (["x", "--retention", "ages"], "default"), (["x", "--timezone", "Mars/Base"], "Asia/Ho_Chi_Minh"), (["X Y"], "a-z"),
        (["x", "--format", "nosuch"], "one of: auto, "),
    ):
        assert word in soc("source", "add", *words, code=1).stderr
    assert json.loads(soc("source", "list", "--json").stdout) == []
    assert Audit(access).head().seq == 0


def test_the_token_is_printed_even_where_tls_is_still_missing(soc, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("gateway:\n  host: 0.0.0.0\n", encoding="utf-8")
    made = soc("--config", str(config), "source", "add", "web-1")
    assert made.stdout.startswith("soci_")
    assert re.search(r" https://(?!0\.0\.0\.0)[\w.-]+:8081/ingest/v1/events", made.stderr)
