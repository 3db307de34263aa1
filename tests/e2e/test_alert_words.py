"""What an alert says to people: the title of our rules in their language, what to do, and where in the event the rule found it."""
from __future__ import annotations

import zipfile
from collections.abc import Iterator

import pytest

from soc.access.roles import Role
from soc.console.pages.matched import marked, texts_of
from soc.detect.match import Atom
from tests.console_under_test import NOW, RULE, ConsoleUnderTest, build, quick_hashes

OURS = f"""title: A shell in English
id: {RULE}
description: What it is about
falsepositives: [A test of ours]
references: ["https://example.org/?a=1&b=<b>", "javascript:alert(1)"]
logsource: {{product: linux}}
level: high
detection: {{a: {{f: x}}, condition: a}}
custom:
    title_vi: "Tiêu đề <b>tiếng Việt</b>"
    description_vi: "Luật này <u>nói</u> về gì"
    falsepositives_vi: ["Bài thử của đơn vị"]
    response: ["Look first."]
    response_vi: ["Xem trước.", "Rồi <i>làm</i>."]
"""


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[ConsoleUnderTest]:
    quick_hashes(monkeypatch)
    made = build(tmp_path)
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("one.yml", OURS)
    made.parts.rules.import_pack(tmp_path / "pack.zip", now=NOW)
    yield made
    made.close()


@pytest.mark.parametrize(("language", "title", "steps", "other"), [
    ("vi", "Tiêu đề &lt;b&gt;tiếng Việt&lt;/b&gt;",
     ("Xem trước.", "Rồi &lt;i&gt;làm&lt;/i&gt;.", "Luật này &lt;u&gt;nói&lt;/u&gt; về gì", "Bài thử của đơn vị"), "Look first."),
    ("en", "A shell in English", ("Look first.", "What it is about", "A test of ours"), "Xem trước.")])
def test_titles_and_what_to_do_are_in_the_language_that_was_chosen(console, language, title, steps, other):
    client = console.client(Role.ANALYST)
    client.cookies.set("soc_language", language)
    shown = client.get(f"/rules/{RULE}").text
    head = shown.partition("<pre>")[0]
    assert title in head
    assert all(step in head for step in steps)
    assert other not in head
    assert title in client.get("/rules").text
    alert = client.get(f"/alerts/{console.ids['north']['alert_id']}").text
    assert all(step in alert for step in steps)
    if language == "vi":
        assert title in alert
        assert title in client.get("/alerts?origin=all").text


def test_references_are_links_to_the_web_and_nothing_else(console):
    alert = console.client(Role.ANALYST).get(f"/alerts/{console.ids['north']['alert_id']}").text
    assert 'href="https://example.org/?a=1&amp;b=&lt;b&gt;" rel="noreferrer noopener"' in alert
    assert 'href="javascript' not in alert
    assert "title_vi" in alert, "the rule's source"


def test_what_a_test_found_is_marked_and_stays_inert():
    event = {"process.command_line": r"C:\\x\\POWERSHELL.exe <b> -enc", "host.name": "a", "winlog.event_data.Image": r"C:\\x\\PowerShell.exe", "event.original": "…PowerShell…"}
    found = texts_of([Atom("Image", "endswith", r"\PowerShell.exe"), Atom("CommandLine", "like", "*-enc*"), Atom("nothing", "re", "x")], event)
    assert found["winlog.event_data.Image"] == (r"\PowerShell.exe",)
    assert found["process.command_line"] == ("-enc",)
    assert "host.name" not in found
    assert marked("a <b> PowerShell <i>", ["powershell"]) == "a &lt;b&gt; <mark>PowerShell</mark> &lt;i&gt;"
    assert marked("<script>", []) == "&lt;script&gt;"
    assert marked("aaa", ["a", "aa"]) == "<mark>aa</mark><mark>a</mark>"
