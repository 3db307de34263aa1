"""The pages: hostile text is inert on every one of them (F53), forms work without scripts, both languages are whole."""
from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from alerts.store import AlertFilters
from soc.access.roles import Role
from soc.access.setup import LIFETIME
from soc.console.language import LANGUAGES, load_messages
from soc.console.pages.render import Pages, inert, local_path
from soc.event import Scope
from tests.console_under_test import EVIL, NOW, PASSWORD, RULE, ConsoleUnderTest, build, quick_hashes


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[ConsoleUnderTest]:
    quick_hashes(monkeypatch)
    made = build(tmp_path)
    yield made
    made.close()


def every_page(console: ConsoleUnderTest) -> list[str]:
    ids = console.ids["north"]
    return [
        "/", "/alerts", f"/alerts/{ids['alert_id']}", "/events?span=all", f"/events/{ids['event_id']}", "/rules", f"/rules/{RULE}",
        "/rules/refused", "/sources", f"/sources/{ids['source_id']}", "/sources/new", "/imports", f"/imports/{ids['import_id']}", "/deadletters", f"/deadletters/{ids['number']}", "/api",
        "/alerts?entity=%3Cscript%3E", "/events?q=%3Cscript%3E", "/rules?text=%22%3E%3Cscript%3E", "/login?next=%22%3E%3Cscript%3E",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_hostile_text_is_inert_on_every_page(console, language):
    client = console.client(Role.ADMINISTRATOR)
    client.cookies.set("soc_language", language)
    shown = 0
    for path in every_page(console):
        answer = client.get(path)
        assert answer.status_code in (200, 400), (path, answer.text)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        text = answer.text
        assert f'<html lang="{language}">' in text
        assert not re.search(r"<(script(?! src=\"/assets/[a-z]+\.js\" defer></script>)|img)|\son\w+=[^&]*>|javascript:", text, re.IGNORECASE), path
        assert "49" not in re.findall(r"\{\{.*?\}\}|>49<", text), path
        for odd in "\u202e\x1b\x00":
            assert odd not in text, path
        shown += "&lt;script&gt;alert(1)" in text
        assert not re.search(r">(menu|field|state|level|do|import|letter|health)\.\w+<", text), path
    assert shown >= 8


def test_an_unread_query_is_said_beside_the_form(console):
    answer = console.client(Role.ANALYST).get("/events", params={"q": "(("})
    assert answer.status_code == 400
    assert 'class="failed"' in answer.text


def test_work_on_an_alert_by_forms(console):
    client, csrf = console.browser(Role.ANALYST)
    alert = console.ids["north"]["alert_id"]
    assert console.parts.alerts.get(Scope.everything(), alert).assignee == ""
    for form in ({"do": "transition", "to": "in_progress"}, {"do": "assign", "text": "Analyst"}, {"do": "escalate"},
                 {"do": "comment", "text": "looked"},
                 {"do": "transition", "to": "closed", "disposition": "benign", "text": "known tool"}):
        answer = client.post(f"/alerts/{alert}", data=form | {"csrf": csrf})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/alerts/{alert}")
    done = console.parts.alerts.get(Scope.everything(), alert)
    assert (done.state, done.disposition, done.reason, done.assignee, done.escalated) == (
        "closed", "benign", "known tool", "analyst", True)
    shown = client.get(f"/alerts/{alert}").text
    for words in ("Mới → Đang xử lý", "– → analyst", "Báo cáo lên trên", "looked", "Đang xử lý → Đã đóng: Hoạt động hợp lệ. known tool"):
        assert words in shown
    assert "in_progress" not in re.sub("<[^>]*>", "", shown)
    again = client.post(f"/alerts/{alert}", data={"csrf": csrf, "do": "transition", "to": "waiting"})
    assert again.status_code == 409
    assert client.post(f"/alerts/{alert}", data={"csrf": csrf, "do": "sing"}).status_code == 422
    assert client.post(f"/alerts/{alert}", data={"csrf": csrf, "do": "assign", "text": "nobody"}).status_code == 422


def test_a_form_without_the_sessions_csrf_token_changes_nothing(console):
    client, csrf = console.browser(Role.ADMINISTRATOR)
    for form in ({"do": "disable"}, {"do": "disable", "csrf": "0" * 64}, {"do": "disable", "csrf": ""}):
        assert client.post(f"/rules/{RULE}", data=form).status_code == 403
    foreign = {"origin": "http://evil.test"}
    assert client.post(f"/rules/{RULE}", data={"do": "disable", "csrf": csrf}, headers=foreign).status_code == 403
    assert console.parts.rules.show(RULE)[0].enabled
    assert client.post(f"/rules/{RULE}", data={"do": "disable", "csrf": csrf}).status_code == 303
    assert not console.parts.rules.show(RULE)[0].enabled


@pytest.mark.parametrize("path", ["/alerts?state=foo", "/alerts?level=zzz", "/rules?level=zzz"])
def test_a_filter_that_means_nothing_is_refused_and_does_not_look_like_nothing_found(console, path):
    client = console.client(Role.ANALYST)
    assert client.get(path).status_code == 422
    for fine in ("/alerts?state=&level=", "/alerts?state=open", "/alerts?state=closed&level=high", "/rules?level=low"):
        assert client.get(fine).status_code == 200


def test_login_leads_to_the_page_that_was_asked_for_and_never_elsewhere(console):
    client = console.client()
    asked = client.get("/alerts?state=new")
    assert asked.headers["location"] == "/login?next=%2Falerts%3Fstate%3Dnew"
    for wanted, leads in (("/alerts?state=new", "/alerts?state=new"), ("//evil.test", "/"), ("https://evil.test", "/"),
                          ("/\\evil.test", "/"), ("/a\r\nSet-Cookie: x=y", "/")):
        answer = console.client().post("/login", data={"name": "analyst", "password": PASSWORD, "next": wanted})
        assert (answer.status_code, answer.headers["location"]) == (303, leads)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_a_wrong_login_says_one_thing_whoever_is_meant(console):
    said = {console.client().post("/login", data={"name": name, "password": "wrong wrong wrong"}).text.replace(name, "X")
            for name in ("analyst", "nobody-here")}
    assert len(said) == 1
    assert console.client().post("/login", data={"name": EVIL, "password": EVIL}).status_code == 401


def test_a_login_from_another_site_is_refused(console):
    headers = {"sec-fetch-site": "cross-site"}
    answer = console.client().post("/login", data={"name": "analyst", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 403


def test_logout_ends_the_session(console):
    client, csrf = console.browser(Role.ANALYST)
    kept = client.cookies["soc_session"]
    assert client.get("/").status_code == 200
    assert client.post("/logout", data={"csrf": csrf}).headers["location"] == "/login"
    client.cookies.set("soc_session", kept)
    assert client.get("/").status_code == 303


def test_set_up_makes_one_administrator_once(tmp_path, monkeypatch):
    quick_hashes(monkeypatch)
    console = build(tmp_path, users=False, centre="Tỉnh Sao Mai")
    client = console.client()
    token = console.parts.setup.issue(now=NOW).reveal()
    assert client.get("/setup", params={"token": "wrong"}).status_code == 403
    assert token in client.get("/setup", params={"token": token}).text
    form = {"token": token, "name": "Quản trị", "password": PASSWORD, "again": PASSWORD}
    refused = client.post("/setup", data=form | {"again": "other"})
    assert refused.status_code == 422
    assert "Hai mật khẩu không giống nhau." in refused.text
    assert f'/language/en?back=%2Fsetup%3Ftoken%3D{token}"' in refused.text
    for weak in ("x", "Quản trị 2026", "Tỉnh Sao Mai 123"):
        refused = client.post("/setup", data=form | {"password": weak, "again": weak})
        assert refused.status_code == 422
        assert "Một câu bốn từ là tốt." in refused.text
    assert client.post("/setup", data=form).headers["location"] == "/"
    assert client.get("/").status_code == 200  # whoever set it up is logged in
    assert client.post("/setup", data=form).status_code == 403
    assert client.get("/setup", params={"token": token}).headers["location"] == "/login"  # the account is there: nothing to set up
    assert client.post("/api/v1/setup", json={"token": token, "name": "b", "password": PASSWORD}).status_code == 403
    assert client.post("/login", data={"name": "quản trị", "password": PASSWORD}).status_code == 303
    assert LIFETIME > 0
    console.close()


def test_set_up_names_the_centre_and_its_language_unless_the_configuration_does(tmp_path, monkeypatch):
    quick_hashes(monkeypatch)
    for folder, name in (("chosen", "Sở Sao Mai"), ("configured", "Tỉnh Sao Mai")):
        (tmp_path / folder).mkdir()
        console = build(tmp_path / folder, users=False)
        client = console.client()
        form = {"token": console.parts.setup.issue(now=NOW).reveal(), "name": "an", "password": PASSWORD, "again": PASSWORD}
        if folder == "configured":
            console.app.state.pages = Pages(replace(console.parts, name=name))
        assert client.post("/setup", data=form | {"centre": " Sở Sao Mai ", "language": "en"}).status_code == 303
        page = client.get("/login").text
        assert f'<a class="brand" href="/">{name}</a>' in page
        assert '<html lang="en">' in page
        console.close()


def test_behind_tls_the_cookie_is_bound_to_it(tmp_path, monkeypatch):
    quick_hashes(monkeypatch)
    console = build(tmp_path, secure=True)
    answer = console.client().post("/api/v1/session", json={"name": "analyst", "password": PASSWORD})
    assert answer.headers["set-cookie"].startswith("__Host-soc_session=")
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "max-age" in answer.headers["strict-transport-security"]
    console.close()


def test_health_that_lacks_parts_still_makes_a_page(tmp_path, monkeypatch):
    quick_hashes(monkeypatch)
    console = build(tmp_path, health={"status": "ok", "reasons": []})
    assert console.client(Role.ADMINISTRATOR).get("/").status_code == 200
    console.close()


def test_both_languages_say_the_same_things():
    messages = load_messages()
    vi, en = messages["vi"], messages["en"]
    assert set(vi) == set(en)
    for key in vi:
        assert re.findall(r"\{\w+\}", vi[key]) == re.findall(r"\{\w+\}", en[key]), key


def test_every_word_that_templates_ask_for_is_there(console):
    messages = load_messages()["en"]
    folder = __import__("pathlib").Path(Pages.page.__code__.co_filename).parent / "templates"
    asked = {key for path in folder.glob("*.html") for key in re.findall(r"\bt\('([\w.]+[a-z])'[,)]", path.read_text())}
    assert asked
    assert asked - set(messages) == set()


def test_a_language_is_kept_and_leads_back_home_only(console):
    answer = console.client().get("/language/en", params={"back": "//evil.test"})
    assert answer.headers["location"] == "/"
    assert "soc_language=en" in answer.headers["set-cookie"]
    assert "set-cookie" not in console.client().get("/language/xx").headers
    assert '/language/en?back=%2Flogin%3Fnext%3D%252Falerts"' in console.client().get("/login?next=%2Falerts").text


def test_marks_that_mislead_are_written_out():
    assert inert("a\u202eb\x1bc\ud800\td") == "a\\u202eb\\u001bc\\ud800\td"
    assert inert("a\r\nb\rc") == "a\nb\\u000dc"
    assert inert(["x", "y"]) == "x, y"
    assert local_path("/ok?x=1") == "/ok?x=1"


def test_an_alert_shows_others_like_it_and_searches_around_its_events(console):
    client = console.client(Role.ADMINISTRATOR)
    store, scope = console.parts.alerts, Scope.everything()
    north = store.get(scope, console.ids["north"]["alert_id"])
    same = [one for one in store.list(scope, AlertFilters(rule_id=north.rule_id), 50).alerts if one.id != north.id]
    assert same, "the premise: another alert of this rule"
    text = client.get(f"/alerts/{north.id}").text
    assert f'href="/alerts/{same[0].id}"' in text
    assert f"rule_id={RULE}" in text
    listed = client.get(f"/alerts?state=&origin=all&rule_id={RULE}").text
    assert all(f'href="/alerts/{one.id}"' in listed for one in same)
    for link in re.findall(r'href="(/events\?q=[^"]+)"', text):
        assert client.get(html.unescape(link)).status_code == 200
    narrow = console.client(Role.VIEWER).get(f"/alerts/{north.id}").text  # who sees north only
    assert not any(one.id in narrow for one in same)
