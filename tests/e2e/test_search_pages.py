"""The page of searches: spans of one's own, bars that narrow, and where the hits are if there are none here."""
from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from soc.access.roles import Role
from soc.event import from_micros
from tests.console_under_test import NOW, ConsoleUnderTest, build, quick_hashes


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[ConsoleUnderTest]:
    quick_hashes(monkeypatch)
    made = build(tmp_path)
    yield made
    made.close()


def local(micros: int) -> str:
    return (from_micros(micros) + timedelta(hours=7)).replace(tzinfo=None, microsecond=0).isoformat()


def test_a_search_without_hits_says_where_the_nearest_are_and_leads_there(console):
    client = console.client(Role.ANALYST)
    text = client.get("/events", params={"since": "2020-01-01T00:00", "until": "2020-01-02T00:00"}).text
    assert "Không có sự kiện nào từ 2020-01-01 00:00:00 +07 đến 2020-01-02 00:00:00 +07." in text
    assert f"Kết quả gần nhất: ngày {local(NOW)[:10]}, 2 sự kiện." in text
    there = html.unescape(re.search(r'class="button" href="(/events\?[^"]*since[^"]*)"', text)[1])
    assert ">2</small>" in client.get(there).text
    nothing = client.get("/events", params={"q": '"such a word is nowhere"', "since": "2020-01-01T00:00"}).text
    assert "Mọi thời điểm khác cũng không có." in nothing


def test_a_bar_is_a_link_to_its_span(console):
    client = console.client(Role.ANALYST)
    text = client.get("/events", params={"span": "all"}).text
    links = re.findall(r'<a href="(/events\?[^"]*)"><rect', text)
    assert links
    assert sum(int(re.search(r"<h1>[^<]*<small>(\d+)</small>", client.get(html.unescape(link)).text)[1]) for link in links) == 2


def test_own_times_are_of_the_centres_zone_and_win_over_the_span(console):
    client = console.client(Role.ANALYST)
    hour = 3_600_000_000
    inside = client.get("/events", params={"span": "1h", "since": local(NOW - hour), "until": local(NOW + hour)}).text
    assert ">2</small>" in inside
    assert f'name="since" value="{local(NOW - hour)}"' in inside
    assert "Asia/Ho_Chi_Minh" in inside
    for since, until in (("yesterday", ""), ("2026-01-02T00:00", "2026-01-01T00:00")):
        answer = client.get("/events", params={"since": since, "until": until})
        assert (answer.status_code, 'class="failed"' in answer.text) == (400, True)


def test_the_nearest_hits_are_those_that_one_may_see(console):
    text = console.client(Role.VIEWER).get("/events", params={"since": "2020-01-01T00:00", "until": "2020-01-02T00:00"}).text
    assert ", 1 sự kiện." in text
