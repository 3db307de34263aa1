"""The first page: the picture of the last days, what to begin with, and where its links lead; and numbers as each language writes them."""
from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest

from alerts.pipeline import AlertPipeline
from soc.access.roles import Role
from soc.detect.match import Match
from soc.event import Lane, Origin, Position
from tests.console_under_test import NOW, RULE, ConsoleUnderTest, build, quick_hashes

HOUR = 3_600_000_000
BAR = re.compile(r'<a href="(/alerts\?state=&amp;since=[^"]+)">(.*?)</a>', re.DOTALL)


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[ConsoleUnderTest]:
    quick_hashes(monkeypatch)
    made = build(tmp_path)
    yield made
    made.close()


def raised(console: ConsoleUnderTest, *alerts: tuple[int, str, str]) -> None:
    """Live alerts (hours ago, level, agency), each about a host of its own."""
    with console.databases[0].write() as connection:
        AlertPipeline().deliver(connection, [Match(
            rule_id=RULE, rule_version="v1", title="t", level=level, tags=(), event_id=f"e{n}", event_time=NOW - hours * HOUR, event={},
            position=Position(Lane.LIVE, n + 10), agency=agency, origin=Origin.LIVE, import_id="", entity=f"pc{n}", entity_kind="host", atoms=())
            for n, (hours, level, agency) in enumerate(alerts)], NOW)


def test_the_alerts_of_the_last_days_are_a_picture_whose_bars_lead_to_them(console):
    client = console.client(Role.ADMINISTRATOR)
    assert "<svg" not in client.get("/").text, "nothing to draw, since imports are no duty"
    raised(console, (1, "high", "north"), (1, "medium", "south"), (50, "low", "north"), (24 * 9, "critical", "north"))
    bars = BAR.findall(client.get("/").text)
    assert [sorted(re.findall(r'class="(high|medium|other)"', inside)) for _, inside in bars] == [["other"], ["high", "medium"]]
    newest = client.get(html.unescape(bars[1][0])).text
    assert "<small>2</small>" in newest
    assert "pc0" in newest
    assert "pc2" not in newest
    assert len(BAR.findall(console.client(Role.VIEWER).get("/").text)) == 2
    assert "medium" not in "".join(inside for _, inside in BAR.findall(console.client(Role.VIEWER).get("/").text)), "of another agency"


@pytest.mark.parametrize("text", ["gestern", "2026-13-01T00:00:00"])
def test_a_time_that_is_none_is_refused_in_words(console, text):
    answer = console.client(Role.ADMINISTRATOR).get("/alerts", params={"since": text})
    assert answer.status_code == 400
    assert "is no time" not in answer.text
    assert text in answer.text


def test_what_to_begin_with_goes_away_when_it_is_done(console):
    client = console.client(Role.ADMINISTRATOR)
    page = client.get("/").text
    assert 'action="/try"' in page
    assert 'class="steps"' in page
    assert all(f'<li><a href="{done}"' not in page for done in ("/rulepacks", "/sources/new", "/imports")), "there are some of each"
    viewer = console.client(Role.VIEWER).get("/").text
    assert 'class="steps"' not in viewer, "who may begin with nothing is offered nothing"


def test_numbers_are_written_as_the_language_does(console):
    console.gateway["sources"] = {"src-north": {"records": 102_003, "refused": 0, "lost": 0, "last_heard": NOW / 1e6}}
    client = console.client(Role.ADMINISTRATOR)
    assert "102.003" in client.get("/sources").text
    assert "trễ 0,5 giây" in client.get("/strip").text
    client.cookies.set("soc_language", "en")
    assert "102,003" in client.get("/sources").text
    assert "0.5 s behind" in client.get("/strip").text


def test_an_event_leads_to_what_was_near_it(console):
    client = console.client(Role.ADMINISTRATOR)
    event = {"@timestamp": NOW - HOUR, "event.created": NOW, "event.ingested": NOW, "host.name": "pc-7", "organization.id": "north",
             "soc.stream_hash": "00000000000000aa", "soc.n": 7, "soc.sub": 0, "soc.lane": "live"}
    console.parts.events.add([event])
    shown = client.get(f"/events/{NOW // 1000:012x}-00000000000000aa-7").text
    near = re.search(r'href="(/events\?q=host\.name[^"]+)"', shown)
    assert near is not None, shown[:3000]
    assert "pc-7" in client.get(html.unescape(near[1])).text


@pytest.mark.parametrize(("event", "line"), [
    ({"event.dataset": "windows", "event.code": "4688", "event.action": "created-process", "process.command_line": "whoami", "process.executable": "x",
      "user.name": ["an", "binh"], "event.original": "<Event/>"}, "4688 created-process · process.command_line: whoami · user.name: an, binh"),
    ({"event.dataset": "windows", "event.code": "7036", "winlog.channel": "System", "event.original": "<Event/>"}, "7036 System · &lt;Event/&gt;"),
    ({"event.dataset": "windows", "event.original": "{torn"}, "{torn"),
    ({"event.dataset": "sshd", "event.code": "1", "message": "Failed <b>", "event.original": "raw"}, "Failed &lt;b&gt;")])
def test_a_list_of_events_tells_each_in_a_line(console, event, line):
    console.parts.events.add([event | {
        "@timestamp": NOW, "event.created": NOW, "event.ingested": NOW, "organization.id": "north", "soc.stream_hash": "00000000000000ab", "soc.n": 1,
        "soc.sub": 0, "soc.lane": "live"}])
    assert f'<td class="text">{line}</td>' in console.client(Role.ADMINISTRATOR).get("/events").text


def test_people_are_named_and_not_numbered(console):
    client, csrf = console.browser(Role.ANALYST)
    alert = f"/alerts/{console.ids['north']['alert_id']}"
    assert client.post(alert, data={"csrf": csrf, "do": "comment", "text": "seen"}).status_code == 303
    assert re.search(r'<td title="u_[0-9a-f]{16} analyst">analyst</td>', client.get(alert).text)
