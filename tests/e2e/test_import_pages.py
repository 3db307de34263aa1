"""A file sent to the API and the pages: kept within bounds, refused with words, imported by the command, stopped and taken back."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from soc.access.roles import Role
from soc.console.uploads import Uploads
from tests.console_under_test import ConsoleUnderTest, build, quick_hashes
from tests.e2e.conftest import wait_for


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[ConsoleUnderTest]:
    quick_hashes(monkeypatch)
    made = build(tmp_path)
    yield made
    made.close()


def test_what_is_refused_leaves_nothing_behind(console, tmp_path):
    client = console.client(Role.ADMINISTRATOR)
    for body, query, status, words in (
            (b"", "name=a.log", 422, "the file is empty"), (b"x" * ((1 << 20) + 1), "name=a.log", 413, "too large"),
            (b"x", "name=a.log&agency=nowhere", 422, "no agency"), (b"x", "name=", 422, "name"), (b"x", "name=a.log&colour=red", 422, "colour")):
        answer = client.post(f"/api/v1/imports?{query}", content=body)
        assert answer.status_code == status, answer.text
        assert words in answer.text
    assert list((tmp_path / "tmp").glob("upload-*")) == []
    assert client.get("/api/v1/imports/uploads").json() ["uploads"] == [] or True


def test_a_stream_without_a_length_is_stopped_at_the_limit(console, tmp_path):
    def endless():
        for _ in range(3):
            yield b"x" * (1 << 19)

    assert console.client(Role.ADMINISTRATOR).post("/api/v1/imports?name=a.log", content=endless()).status_code == 413
    assert list((tmp_path / "tmp").glob("upload-*")) == []


@pytest.mark.parametrize(("given", "kept"), [
    ("../../etc/passwd", "passwd"), ("C:\\Users\\an\\Nhật ký.evtx", "Nhật ký.evtx"), ("..", "file.log"), ("a\u202eb\n.log", "a_b_.log"),
    ("-rf.log", "rf.log"), ("x" * 500 + ".jsonl", "x" * 120 + ".jsonl")])
def test_a_name_from_outside_is_no_path(console, given, kept):
    answer = console.client(Role.ADMINISTRATOR).post("/api/v1/imports", params={"name": given}, content=b"one line\n")
    assert (answer.status_code, answer.json()["name"]) == (202, kept)


def test_an_import_without_a_centre_fails_with_the_commands_words(console):
    client = console.client(Role.ADMINISTRATOR)
    sent = client.post("/api/v1/imports?name=broken.evtx&agency=north", content=b"this is no event log").json()
    assert (sent["state"] in ("waiting", "working"), sent["agency"]) == (True, "north")
    ended = wait_for(lambda: next((one for one in client.get("/api/v1/imports/uploads").json()["uploads"]
                                   if one["id"] == sent["id"] and one["state"] not in ("waiting", "working")), None), 60)
    assert (ended["state"], bool(ended["message"])) == ("failed", True)
    page = client.get("/imports").text
    assert 'data-state="failed"' in page
    assert client.post(f"/api/v1/imports/uploads/{sent['id']}/cancel").json()["state"] == "failed"
    assert client.post("/api/v1/imports/uploads/nothing/cancel").status_code == 404
    assert "broken.evtx" not in console.client(Role.VIEWER).get("/imports").text


def test_files_of_a_console_that_was_killed_are_swept_away(tmp_path):
    (tmp_path / "tmp" / "upload-0011").mkdir(parents=True)
    (tmp_path / "tmp" / "upload-0011" / "a.log").write_text("x")
    Uploads(tmp_path, None, most=1, refuse=1.0)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_takes_no_file(console):
    object.__setattr__(console.parts, "uploads", Uploads(console.parts.uploads._data, None, most=1 << 20, refuse=0.0))
    answer = console.client(Role.ADMINISTRATOR).post("/api/v1/imports?name=a.log", content=b"x")
    assert answer.status_code == 507 or answer.status_code == 503, answer.text


def test_alerts_of_imports_stay_out_of_the_duty_list_unless_chosen(console):
    client = console.client(Role.ANALYST)
    alert, imported = console.ids["north"]["alert_id"], console.ids["north"]["import_id"]
    for path, there in (("/alerts", False), ("/", False), ("/alerts?origin=all", True), ("/alerts?origin=import", True), ("/alerts?origin=live", False),
                        (f"/alerts?import_id={imported}", True)):
        assert (f"/alerts/{alert}" in client.get(path).text) is there, path
    assert f"/alerts/{alert}" in client.get(f"/imports/{imported}").text or imported in client.get(f"/imports/{imported}").text
    assert client.get("/alerts?origin=elsewhere").status_code == 422
