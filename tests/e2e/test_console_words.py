"""Errors as people read them: in the language they chose, saying what, where and what to do; agencies by name."""
from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from soc.access.roles import Permission, Role
from soc.errors import StoreError
from soc.event import Scope
from tests.console_under_test import EVIL, NOW, PASSWORD, RULE, ConsoleUnderTest, build, quick_hashes


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[ConsoleUnderTest]:
    quick_hashes(monkeypatch)
    made = build(tmp_path)
    yield made
    made.close()


PAGES = [
    ("/alerts/a1", 404, "Không có cảnh báo &#39;a1&#39;", "no alert", "Trang Cảnh báo"),
    ("/rules/r1", 404, "Không có luật r1.", "there is no rule", "Trang Luật phát hiện"),
    ("/imports/i1", 404, "Không có lần nhập &#39;i1&#39;", "there is no import", "Trang Nhập dữ liệu"),
    ("/deadletters/77", 404, "Không có bản ghi lỗi số 77", "there is no dead letter", "Trang Bản ghi lỗi"),
    ("/events/zzz", 404, "Không có sự kiện &#39;zzz&#39;", "no event", "Mã sự kiện có dạng"),
    ("/nowhere", 404, "Địa chỉ này không có gì.", "nothing at this address", "Trang Tổng quan dẫn tới"),
    ("/events?q=((", 400, "Câu tìm kiếm hết ở chỗ lẽ ra phải có", "the search ends where", "(ở ký tự thứ 3)"),
    ("/alerts?level=zzz", 422, "“Mức độ” phải là một trong: critical, high, medium, low, informational", "must be one of",
     "phải là một trong"),
    ("/alerts?after=x", 400, "Không phải vị trí trong danh sách cảnh báo.", "not a cursor", "mở lại danh sách từ đầu"),
    ("/alerts?colour=red", 422, "“colour” không có ở đây; hãy bỏ đi", "is not known here", "hãy bỏ đi"),
    ("/rules?offset=many", 422, "“offset” phải là số nguyên", "must be a whole number", "phải là số nguyên"),
]


@pytest.mark.parametrize(("path", "status", "vietnamese", "english", "remedy"), PAGES)
def test_an_error_page_speaks_the_language_that_was_chosen(console, path, status, vietnamese, english, remedy):
    client = console.client(Role.ADMINISTRATOR)
    answer = client.get(path)
    assert answer.status_code == status
    assert vietnamese in answer.text
    assert remedy in answer.text
    assert english not in answer.text
    client.cookies.set("soc_language", "en")
    answer = client.get(path)
    assert answer.status_code == status
    assert english in answer.text
    assert vietnamese not in answer.text


def test_a_refusal_says_what_to_do_in_both_languages(console):
    path = f"/alerts/{console.ids['north']['alert_id']}"
    client = console.client(Role.VIEWER)
    answer = client.post(path, data={"do": "comment", "text": "x"})
    assert answer.status_code == 403
    assert "Việc này cần quyền alerts.write" in answer.text
    assert "nhờ người quản trị" in answer.text
    asked = client.post(f"/api/v1{path}/comments", json={"text": "x"})
    assert asked.status_code == 403
    assert "ask an administrator" in asked.json()["remedy"]


def test_a_page_that_says_no_still_shows_the_menu_to_whom_it_knows(console):
    viewer, csrf = console.browser(Role.VIEWER)
    for answer in (viewer.get("/nowhere"), viewer.get("/alerts/a1"), viewer.get("/imports/x"), viewer.put("/alerts"),
                   viewer.post(f"/rules/{RULE}", data={"csrf": csrf, "do": "disable"})):
        assert answer.status_code >= 400
        assert '<a href="/alerts"' in answer.text
        assert "viewer" in answer.text
        assert '<a href="/deadletters"' not in answer.text
    stranger = console.client().get("/nowhere")
    assert stranger.status_code == 404
    assert '<a href="/alerts"' not in stranger.text


def test_an_old_page_says_that_it_is_to_be_loaded_again(console):
    client, _ = console.browser(Role.ADMINISTRATOR)
    answer = client.post(f"/rules/{RULE}", data={"do": "disable", "csrf": "0" * 64})
    assert answer.status_code == 403
    assert "Hãy tải lại trang" in answer.text


def test_work_that_cannot_be_done_is_said_with_the_ways_there_are(console):
    client, csrf = console.browser(Role.ANALYST)
    path = f"/alerts/{console.ids['north']['alert_id']}"
    answer = client.post(path, data={"csrf": csrf, "do": "transition", "to": "reopened"})
    assert answer.status_code == 409
    assert "Cảnh báo ở trạng thái “Mới” không thể chuyển sang “Mở lại”." in answer.text
    assert "Có thể chuyển sang: Đã đóng, Đang xử lý, Đang chờ." in answer.text
    nobody = client.post(path, data={"csrf": csrf, "do": "assign", "text": "nobody"})
    assert "Không có người dùng nào tên như vậy" in nobody.text


def test_words_from_deep_below_stay_and_are_framed(console, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise StoreError("sector 7 of <b>disk</b> sings")

    monkeypatch.setattr(console.parts.alerts, "list", broken)
    answer = console.client(Role.ADMINISTRATOR).get("/alerts")
    assert answer.status_code == 503
    assert "Hệ thống báo (tiếng Anh): sector 7 of &lt;b&gt;disk&lt;/b&gt; sings" in answer.text


def test_ill_health_is_told_in_vietnamese(tmp_path, monkeypatch):
    quick_hashes(monkeypatch)
    reasons = ["detector is not running", "the live lane is 45 s behind; 1200 records wait", "the disk is 91% full"]
    console = build(tmp_path, health={"status": "failing", "reasons": reasons})
    text = console.client(Role.ADMINISTRATOR).get("/health").text
    for words in ("bộ phát hiện không chạy", "luồng trực tiếp trễ 45 giây; 1200 bản ghi đang chờ", "ổ đĩa đã dùng 91%"):
        assert words in text
    assert not any(reason in text for reason in reasons)
    console.close()


def test_a_program_is_told_in_english_where_what_and_what_to_do(console):
    client = console.client(Role.ADMINISTRATOR)
    client.cookies.set("soc_language", "vi")
    told = client.get("/api/v1/alerts", params={"limit": 0, "colour": "red"}).json()
    assert {one["where"]: one["what"] for one in told["errors"]} == {
        "query.limit": "must be at least 1", "query.colour": "is not known here; leave it out"}
    assert "openapi.json" in told["remedy"]
    path = f"/api/v1/alerts/{console.ids['north']['alert_id']}/close"
    told = client.post(path, json={"disposition": "nice", "reason": ""}).json()
    assert {one["where"]: one["what"] for one in told["errors"]} == {
        "body.disposition": "must be one of true_positive, benign, false_positive, undetermined",
        "body.reason": "is too short; at least 1 characters"}
    told = client.post(path, content=b"{", headers={"content-type": "application/json"}).json()
    assert told["errors"] == [{"where": "body", "what": "is not JSON; check quotes, commas and brackets"}]
    assert "openapi.json" in client.get("/api/v1/nowhere").json()["remedy"]
    assert "DELETE" in client.delete("/api/v1/alerts").json()["detail"]


def test_a_fault_never_repeats_a_secret(console):
    told = console.client().post("/api/v1/session", json={"name": "a", "password": "hunter2" * 300})
    assert told.status_code == 422
    assert "hunter2" not in told.text


@pytest.mark.parametrize(("language", "name"), [("vi", "Sở Tài chính &lt;b&gt;"), ("en", "Department of Finance &lt;b&gt;")])
def test_agencies_are_shown_by_name_with_their_id_as_tooltip(console, language, name):
    console.parts.agencies.rename("north", "Sở Tài chính <b>", "Department of Finance <b>", actor="t", now=2)
    client, ids = console.client(Role.VIEWER), console.ids["north"]
    admin = console.client(Role.ADMINISTRATOR)
    shown = f'<span title="north">{name}</span>'
    for who, path in ((client, "/alerts?origin=all"), (client, f"/alerts/{ids['alert_id']}"), (admin, "/imports"),
                      (admin, f"/imports/{ids['import_id']}"), (admin, "/deadletters"), (admin, f"/deadletters/{ids['number']}")):
        who.cookies.set("soc_language", language)
        answer = who.get(path)
        assert answer.status_code == 200
        assert shown in answer.text, path
    assert "unassigned" not in re.sub(r"<[^>]*>", "", client.get("/alerts?origin=all").text)


ACTS = [
    ("transition", {"to": "in_progress"}), ("close", {"disposition": "benign", "reason": "known"}), ("assign", {"assignee": "north-analyst"}),
    ("escalate", {"escalated": True}), ("comments", {"text": "seen"}),
]


@pytest.mark.parametrize(("act", "body"), ACTS)
def test_an_analyst_of_one_agency_cannot_touch_anothers_alert(console, act, body):
    doors, alerts, everything = console.parts.doors, console.parts.alerts, Scope.everything()
    from soc.access.tokens import TokenStore
    from soc.secret import Secret

    user = doors.users.add("north-analyst", Secret(PASSWORD), [Role.ANALYST], ["north"], actor="t", now=1)
    _, token = TokenStore(console.databases[1]).create(user.id, "t", list(Permission), expires=NOW * 2, actor="t", now=1)
    client = console.client()
    client.headers["Authorization"] = f"Bearer {token.reveal()}"
    foreign, own = console.ids["south"]["alert_id"], console.ids["north"]["alert_id"]
    before = alerts.get(everything, foreign), list(alerts.history(everything, foreign))
    refused = client.post(f"/api/v1/alerts/{foreign}/{act}", json=body)
    assert refused.status_code == 404
    assert EVIL not in refused.text
    unknown = client.post(f"/api/v1/alerts/{foreign[:-1]}x/{act}", json=body)
    assert unknown.json().keys() == refused.json().keys()
    assert unknown.json()["detail"].split("'")[0] == refused.json()["detail"].split("'")[0]  # nor does it tell that there is one
    assert (alerts.get(everything, foreign), list(alerts.history(everything, foreign))) == before
    assert client.post(f"/api/v1/alerts/{own}/{act}", json=body).status_code == 200
    form = {"comments": {"do": "comment", "text": "seen"}, "close": {"do": "transition", "to": "closed", "disposition": "benign", "text": "x"},
            "assign": {"do": "assign", "text": "north-analyst"}, "escalate": {"do": "escalate"},
            "transition": {"do": "transition", "to": "in_progress"}}[act]
    assert client.post(f"/alerts/{foreign}", data=form).status_code == 404
    assert (alerts.get(everything, foreign), list(alerts.history(everything, foreign))) == before


@pytest.mark.parametrize(("language", "none", "near"), [
    ("vi", "Không sự kiện nào có trường “hots.name”.", "Có phải bạn muốn tìm host.name?"),
    ("en", "No event has the field “hots.name”.", "Did you mean host.name?")])
def test_a_search_for_a_field_that_no_event_has_says_so(console, language, none, near):
    client = console.client(Role.ANALYST)
    client.cookies.set("soc_language", language)
    text = client.get("/events", params={"q": "hots.name:x", "span": "all"}).text
    assert none in text
    assert near in text
    assert none[:12] not in client.get("/events", params={"q": "host.name:nothing-like-it", "span": "all"}).text
    assert "&lt;b&gt;" in client.get("/events", params={"q": "<b>:x", "span": "all"}).text


def test_agencies_are_offered_by_name_where_alerts_are_filtered(console):
    console.parts.agencies.rename("north", "Sở Tài chính", "Department of Finance", actor="t", now=2)
    text = console.client(Role.VIEWER).get("/alerts").text
    assert '<option value="north">Sở Tài chính</option>' in text
    assert 'value="south"' not in text
