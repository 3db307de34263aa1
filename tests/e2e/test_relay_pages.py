"""The rules of a relay as a page, without a script: ordered, previewed, saved as a version, put back; who comes second is told."""
from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from soc.access.relay import RelayRule
from soc.access.roles import Role
from soc.event import Scope
from tests.console_under_test import NOW, ConsoleUnderTest, build, quick_hashes

HOSTS = {"a.edu.vn": 3, "b.edu.vn": 2, "10.1.2.3": 4, "fw": 1, "-": 1}


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[ConsoleUnderTest]:
    quick_hashes(monkeypatch)
    made = build(tmp_path)
    made.parts.sources.create("relay", now=NOW, kind="syslog", addresses=["10.0.0.1"])
    made.parts.events.add([{
        "@timestamp": NOW, "event.created": NOW, "event.ingested": NOW, "soc.source": "relay", "organization.id": "unassigned", "soc.lane": "live",
        "event.original": f"<13>1 2026-02-28T09:10:11Z {host} app - - - text", "soc.stream_hash": "00000000000000aa", "soc.n": 100 * place + n, "soc.sub": 0}
        for place, (host, count) in enumerate(HOSTS.items()) for n in range(count)])
    yield made
    made.close()


@pytest.fixture
def browser(console):
    client, csrf = console.browser(Role.ADMINISTRATOR)
    client.cookies.set("soc_language", "en")

    def post(do, *rules, version=0, **more):
        rows = [*rules, ("host", "", "")]
        return client.post("/sources/relay/relay", data={
            "csrf": csrf, "do": do, "version": version, "kind": [row[0] for row in rows], "pattern": [row[1] for row in rows],
            "agency": [row[2] for row in rows], **more})

    client.push = post
    return client


def rows(text: str) -> list[tuple[str, str]]:
    """(pattern, agency) of each row of the form."""
    return [(re.search('name="pattern" value="([^"]*)"', row)[1], (re.search('value="([^"]*)" selected>', row.partition('name="agency"')[2]) or [row, ""])[1])
            for row in re.findall(r'<tr id="rule-.*?</tr>', text, re.S) if 'value="remove:' in row]


def lines(text: str) -> list[list[str]]:
    """The preview: host, records, rule, agency."""
    table = text.partition('id="preview"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [[re.sub(r"\s+", " ", re.sub("<[^>]*>", "", cell)).strip() for cell in re.findall(r"<td.*?</td>", row, re.S)[:4]]
            for row in re.findall(r"<tr.*?</tr>", table, re.S)]


EDU, NET = ("host", "*.edu.vn", "north"), ("address", "10.1.0.0/16", "south")


def test_a_draft_is_ordered_and_previewed_and_changes_nothing(console, browser):
    assert 'href="/sources/relay/relay"' in browser.get("/sources/relay").text
    assert rows(browser.get("/sources/relay/relay").text) == []
    assert rows(browser.push("add", EDU).text) == [EDU[1:]]
    assert rows(browser.push("up:2", EDU, NET).text) == [NET[1:], EDU[1:]]
    assert rows(browser.push("up:4", EDU, ("host", "", ""), NET, ("host", "new", "north")).text) == [EDU[1:], ("new", "north"), NET[1:]], "an emptied row is none"
    assert rows(browser.push("up:3", EDU, NET).text) == [EDU[1:], NET[1:]], "nor is the last, while nothing is in it"
    moved = browser.push("down:1", EDU, NET).text
    assert rows(moved) == [NET[1:], EDU[1:]]
    assert re.search(r'value="up:2"[^>]* autofocus', moved), "the last cannot go on down"
    assert rows(browser.push("remove:1", EDU, NET).text) == [NET[1:]]
    asked = browser.push("host:fw", EDU).text
    assert re.search('name="pattern" value="fw"', asked)
    seen = browser.push("preview", EDU, NET)
    assert seen.status_code == 200
    assert lines(seen.text) == [
        ["no host named (10.0.0.1)", "1", "none", "Unassigned"], ["fw", "1", "none", "Unassigned"],
        ["10.1.2.3", "4", "2", "Unassigned → south"], ["a.edu.vn", "3", "1", "Unassigned → north"], ["b.edu.vn", "2", "1", "Unassigned → north"]]
    assert "the newest 11 records" in seen.text
    assert browser.push("sing", EDU).status_code == browser.push("up:x", EDU).status_code == browser.push("down:9", EDU).status_code == 422
    assert browser.push("preview", EDU, kind=["host"]).status_code == browser.push("preview", EDU, kind=["pigeon", "host"]).status_code == 422
    assert console.parts.sources.get("relay", Scope.everything()).relay_version == 0


def test_what_is_wrong_is_said_at_its_line_and_nothing_is_saved(console, browser):
    wrong = [EDU, ("address", "10.1.0.0/99", "south"), ("host", "a b", "north"), ("host", "x", ""), ("host", "", "north"), ("host", "y", "nowhere")]
    for do in ("save", "preview"):
        answer = browser.push(do, *wrong)
        assert answer.status_code == 422
        told = dict(re.findall(r'id="fault-(\d)"><span class="failed">(.*?)</span>', answer.text))
        assert {int(number): text.replace("&#39;", "'") for number, text in told.items()} == {
            2: "rule 2: '10.1.0.0/99' is no address.", 3: "rule 3: 'a b' is no host.", 4: "rule 4: whose the records are is missing.",
            5: "rule 5: either a host or an address is needed.", 6: "rule 6: no agency 'nowhere'."}
        assert [pattern for pattern, _ in rows(answer.text)] == ["*.edu.vn", "10.1.0.0/99", "a b", "x", "", "y"], "what was typed stays"
    assert console.parts.sources.get("relay", Scope.everything()).relay == ()
    assert console.parts.audit.list(action="source.relay") == []


def test_it_is_saved_as_a_version_audited_and_undone(console, browser):
    saved = browser.push("save", EDU, NET)
    assert (saved.status_code, saved.headers["location"]) == (303, "/sources/relay/relay?saved=1")
    page = browser.get("/sources/relay/relay?saved=1").text
    assert "Saved as version 1" in page
    assert rows(page) == [EDU[1:], NET[1:]]
    assert console.parts.sources.get("relay", Scope.everything()).relay == (RelayRule("north", host="*.edu.vn"), RelayRule("south", address="10.1.0.0/16"))
    audited = console.parts.audit.list(action="source.relay")[0]
    assert (audited.object, audited.detail) == ("relay", {"version": 1, "rules": ["host *.edu.vn → north", "address 10.1.0.0/16 → south"]})

    assert browser.push("save", NET, version=1).status_code == 303
    looked = browser.get("/sources/relay/relay?of=1").text
    assert rows(looked) == [EDU[1:], NET[1:]]
    assert "the rules of version 1" in looked
    assert len(lines(looked)) == 5
    assert browser.push("undo", version=2, of=1).headers["location"] == "/sources/relay/relay?saved=3"
    assert len(console.parts.sources.get("relay", Scope.everything()).relay) == 2
    assert console.parts.audit.list(action="source.relay")[0].detail["put_back"] == 1
    assert browser.get("/sources/relay/relay?of=99").status_code == 404


def test_who_saves_second_is_told_what_the_first_saved_and_may_then_save_over_it(console, browser):
    console.parts.sources.split("relay", Scope.everything(), [RelayRule("south", host="theirs")], now=NOW, by="binh")
    late = browser.push("save", EDU, version=0)
    assert late.status_code == 409
    assert "binh changed these rules at" in late.text
    assert re.search(r"<code>theirs</code> → *<span[^>]*>south", late.text)
    assert rows(late.text) == [EDU[1:]], "what was typed stays"
    assert console.parts.sources.get("relay", Scope.everything()).relay == (RelayRule("south", host="theirs"),)
    (version,) = set(re.findall('name="version" value="(.*?)"', late.text))
    assert browser.push("save", EDU, version=version).status_code == 303


def test_the_same_refusals_in_vietnamese(console, browser):
    browser.cookies.set("soc_language", "vi")
    assert "Luật 1: &#39;a b&#39; không phải tên máy." in browser.push("save", ("host", "a b", "north")).text
    console.parts.sources.split("relay", Scope.everything(), [], now=NOW, by="binh")
    assert "binh đã đổi các luật này" in browser.push("save", EDU).text


def test_a_thousand_rules_are_one_page(console, browser):
    many = [("host", f"h{n}", "north") for n in range(1000)]
    assert browser.push("save", *many).status_code == 303
    assert len(rows(browser.get("/sources/relay/relay").text)) == 1000
    over = browser.push("save", *many, ("host", "one-more", "north"), version=1)
    assert over.status_code == 422
    assert console.parts.sources.get("relay", Scope.everything()).relay_version == 1


def test_who_may_not_change_it_sees_it_and_only_syslog_is_split(console, browser):
    sources = console.parts.sources
    sources.create("of-north", now=NOW, kind="syslog", addresses=["10.0.0.2"], agency="north")
    sources.split("of-north", Scope.everything(), [RelayRule("south", host="one")], now=NOW, by="an")
    client, csrf = console.browser(Role.ANALYST)
    shown = client.get("/sources/of-north/relay").text
    assert "<code>one</code>" in shown
    assert 'name="pattern"' not in shown
    assert client.post("/sources/of-north/relay", data={"csrf": csrf, "do": "save"}).status_code == 403
    web = console.ids["north"]["source_id"]
    assert "Only what comes by syslog is split" in browser.get(f"/sources/{web}/relay").text
    assert f"/sources/{web}/relay" not in browser.get(f"/sources/{web}").text
