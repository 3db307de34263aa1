"""Sources as pages: the list, a new one with its lines and its token, once; what came of it; switching."""
from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from soc.access.roles import Role
from soc.event import Scope
from tests.console_under_test import ConsoleUnderTest, build, quick_hashes


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[ConsoleUnderTest]:
    quick_hashes(monkeypatch)
    made = build(tmp_path)
    yield made
    made.close()


FORM = {"name": "fw-01", "agency": "north", "shipper": "curl", "over": "", "addresses": "10.0.0.5, 10.1.0.0/24", "host": "centre.test"}


def test_a_source_is_added_shown_with_its_token_once_and_switched(console):
    client, csrf = console.browser(Role.ADMINISTRATOR)
    assert 'href="/sources/new"' in client.get("/sources").text
    made = client.post("/sources/new", data=FORM | {"csrf": csrf})
    assert made.status_code == 200, made.text
    token = re.search(r'id="token">(soci_[^<]+)<', made.text)
    assert token
    assert f"Bearer {token[1]}" in made.text.replace("&#34;", '"')
    assert 'data-state="waiting"' in made.text
    again = client.get("/sources/fw-01", params={"shipper": "curl"})
    assert again.status_code == 200
    assert token[1] not in again.text
    assert "$SOC_TOKEN" in again.text
    assert "10.1.0.0/24" in again.text
    assert client.post("/sources/fw-01", data={"csrf": csrf, "on": "false"}).headers["location"] == "/sources/fw-01"
    assert not console.parts.sources.get("fw-01", Scope.everything()).enabled
    assert client.post("/sources/fw-01", data={"csrf": csrf, "on": "true"}).status_code == 303
    assert "fw-01" in client.get("/sources").text


def test_what_cannot_be_made_says_so_beside_the_form_and_keeps_what_was_typed(console):
    client, csrf = console.browser(Role.ADMINISTRATOR)
    for wrong in ({"name": ""}, {"name": "a b"}, {"agency": "nowhere"}, {"addresses": "10.0.0.300"}, {"shipper": "pigeon"},
                  {"name": console.ids["north"]["source_id"]}):
        answer = client.post("/sources/new", data=FORM | {"csrf": csrf} | wrong)
        assert answer.status_code in (409, 422), (wrong, answer.status_code)
        assert 'class="failed"' in answer.text, wrong
        assert 'value="centre.test"' in answer.text, wrong
    assert "fw-01" not in client.get("/sources").text


def test_only_who_may_adds_and_sees(console):
    client, csrf = console.browser(Role.ANALYST)
    assert client.get("/sources").status_code == 200
    assert 'href="/sources/new"' not in client.get("/sources").text
    assert client.get("/sources/new").status_code == 403
    assert client.post("/sources/new", data=FORM | {"csrf": csrf}).status_code == 403
    viewer = console.client(Role.VIEWER)
    assert viewer.get(f"/sources/{console.ids['south']['source_id']}").status_code == 404
    assert client.post("/sources/fw-01", data={"on": "true"}).status_code == 403


def test_last_heard_and_a_refusal_are_shown(console):
    source = console.ids["north"]["source_id"]
    now = console.parts.now() / 1e6
    console.gateway.update({
        "sources": {source: {"records": 1204, "refused": 3, "lost": 0, "last_heard": now}},
        "turned_away": [{"reason": "token", "peer": "192.0.2.9", "source": source, "at": now, "count": 3}]})
    client = console.client(Role.ADMINISTRATOR)
    client.cookies.set("soc_language", "en")
    assert "1,204" in client.get("/sources").text
    shown = client.get(f"/sources/{source}/heard").text
    assert 'data-state="' in shown
    assert "<html" not in shown
