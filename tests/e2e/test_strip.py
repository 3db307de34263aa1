"""The strip of every page: what it says, to whom, and that its renewals use no session."""
from __future__ import annotations

from typing import Any

import pytest

from soc.access.roles import Role
from soc.access.sessions import SessionStore
from soc.console.parts import TRIAL
from soc.errors import StoreError
from soc.event import Scope
from tests.console_under_test import NOW, ConsoleUnderTest, build, quick_hashes

LATE = {"status": "failing", "reasons": ["the live lane is 62 s behind; 1204 records wait"], "lanes": {
    "live": {"waiting": 1204, "seconds_behind": 62.0, "late": True}, "bulk": {"waiting": 7, "seconds_behind": 3.0, "late": False}}}


def opened(tmp_path: Any, monkeypatch: Any, health: dict[str, Any] | None = None) -> ConsoleUnderTest:
    quick_hashes(monkeypatch)
    return build(tmp_path, health=health)


def test_what_is_late_is_said_with_the_moment_up_to_which_all_is_judged(tmp_path, monkeypatch):
    console = opened(tmp_path, monkeypatch, LATE)
    console.gateway["sources"] = {"src-north": {"last_heard": NOW / 1e6 - 5}}
    client = console.client(Role.ADMINISTRATOR)
    for path in ("/", "/alerts", "/events", "/rules", "/sources", "/imports", "/deadletters", "/api", "/nowhere"):
        text = client.get(path).text
        assert 'data-status="failing"' in text, path
        assert "1.204 sự kiện đang chờ" in text, path
    strip = client.get("/strip").text
    assert "<html" not in strip
    assert "1/2 nguồn" in strip
    assert "7 đang chờ" in strip
    client.cookies.set("soc_language", "en")
    assert "Nothing after" in client.get("/strip").text
    console.close()


def test_who_sees_one_agency_is_told_that_it_is_late_and_not_how_much_waits(tmp_path, monkeypatch):
    console = opened(tmp_path, monkeypatch, LATE)
    strip = console.client(Role.VIEWER).get("/strip").text
    assert "chưa có gì được đánh giá" in strip
    assert "1.204" not in strip
    assert "0/1 nguồn" in strip
    assert "/health" not in strip
    assert console.client(Role.VIEWER).get("/health").status_code == 403
    assert console.client().get("/strip").status_code == 303
    console.close()


def test_a_line_that_was_tried_is_no_source_that_is_missed_later(tmp_path, monkeypatch):
    console = opened(tmp_path, monkeypatch)
    for source in ("src-north", "src-south"):
        console.parts.sources.disable(source, Scope.everything(), now=NOW)
    console.parts.sources.create(TRIAL, "Try it now", now=NOW)
    client = console.client(Role.ADMINISTRATOR)
    assert "chưa nối nguồn nào" in client.get("/strip").text
    client.cookies.set("soc_language", "en")
    assert "no source connected yet" in client.get("/strip").text
    console.close()


def test_health_that_cannot_be_read_is_no_good_health(tmp_path, monkeypatch):
    console = opened(tmp_path, monkeypatch)

    def broken() -> dict[str, Any]:
        raise StoreError("the disk gave no answer")

    object.__setattr__(console.parts, "health", broken)
    answer = console.client(Role.ADMINISTRATOR).get("/alerts")
    assert answer.status_code == 200
    assert 'data-status="failing"' in answer.text
    assert "the disk gave no answer" in answer.text
    console.close()


@pytest.mark.parametrize(("headers", "touched"), [({}, True), ({"soc-renewal": "1"}, False)])
def test_an_open_page_alone_keeps_no_session_alive(tmp_path, monkeypatch, headers, touched):
    console = opened(tmp_path, monkeypatch)
    client, _ = console.browser(Role.ANALYST)
    used: list[bool] = []
    find = SessionStore.find
    monkeypatch.setattr(SessionStore, "find", lambda self, token, *, now, used_=used, used=True: (used_.append(used), find(self, token, now=now, used=used))[1])
    assert client.get("/strip", headers=headers).status_code == 200
    assert used == [touched]
    console.close()
