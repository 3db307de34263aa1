"""The API as programs use it: each noun's answers, strict requests (F63), problem documents, sessions with CSRF."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from soc.access.roles import Role
from soc.demo.plots import PLOTS
from soc.demo.record import begin
from soc.demo.story import SHORTEST
from soc.errors import StoreError
from soc.event import Scope
from tests.console_under_test import EVIL, NOW, PASSWORD, RULE, ConsoleUnderTest, build, quick_hashes


@pytest.fixture
def console(tmp_path, monkeypatch) -> Iterator[ConsoleUnderTest]:
    quick_hashes(monkeypatch)
    made = build(tmp_path)
    yield made
    made.close()


@pytest.fixture
def admin(console):
    return console.client(Role.ADMINISTRATOR)


@pytest.fixture(scope="module")
def reading(tmp_path_factory) -> Iterator[ConsoleUnderTest]:
    """A console that no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        quick_hashes(patch)
        made = build(tmp_path_factory.mktemp("reading"))
        yield made
        made.close()


def test_events_are_searched_counted_ranked_and_shown(console, admin):
    found = admin.get("/api/v1/events", params={"limit": 1}).json()
    assert len(found["events"]) == 1
    assert found["next"]
    event = found["events"][0]
    assert event["@timestamp"].startswith("2025-")
    assert event["message"] == EVIL
    rest = admin.get("/api/v1/events", params={"after": found["next"]}).json()
    assert len(rest["events"]) == 1
    assert admin.get("/api/v1/events/count").json() == {"count": 2}
    assert admin.get("/api/v1/events/count", params={"until": "2001-01-01T00:00:00Z"}).json() == {"count": 0}
    assert sum(b["count"] for b in admin.get("/api/v1/events/histogram").json()["buckets"]) == 2
    top = admin.get("/api/v1/events/top", params={"field": "organization.id"}).json()["values"]
    assert {one["value"]: one["count"] for one in top} == {"north": 1, "south": 1}
    assert "host.name" in admin.get("/api/v1/events/fields").json()["fields"]
    name = console.ids["north"]["event_id"]
    assert admin.get(f"/api/v1/events/{name}").json()["event.id"] == name


def test_a_search_that_cannot_be_read_is_a_problem_with_its_column(admin):
    answer = admin.get("/api/v1/events", params={"q": "a AND ("})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 400
    assert answer.json()["detail"]


def test_an_alert_is_read_and_worked_on(console, admin):
    name = console.ids["north"]["alert_id"]
    alert = admin.get(f"/api/v1/alerts/{name}").json()
    assert (alert["id"], alert["agency"], alert["count"], alert["entity"]) == (name, "north", 1, EVIL.replace("\x00", "\ufffd"))
    assert admin.get(f"/api/v1/alerts/{name}/events").json() == {"events": [console.ids["north"]["event_id"]]}
    (evidence,) = admin.get(f"/api/v1/alerts/{name}/evidence").json()["evidence"]
    assert evidence["event"]["@timestamp"].endswith("Z")
    assert admin.post(f"/api/v1/alerts/{name}/assign", json={"assignee": "ANALYST"}).json()["assignee"] == "analyst"
    closed = admin.post(f"/api/v1/alerts/{name}/close", json={"disposition": "benign", "reason": "known"}).json()
    assert (closed["state"], closed["disposition"]) == ("closed", "benign")
    refused = admin.post(f"/api/v1/alerts/{name}/transition", json={"to": "waiting"})
    assert (refused.status_code, refused.json()["remedy"]) == (409, "it can become: reopened")
    history = admin.get(f"/api/v1/alerts/{name}/history").json()["history"]
    assert [entry["action"] for entry in history] == ["comment", "assign", "transition"]
    assert "administrator" in history[-1]["actor"]
    listed = admin.get("/api/v1/alerts", params={"state": ["closed", "new"], "agency": "north"}).json()["alerts"]
    assert [one["id"] for one in listed] == [name]
    assert admin.get("/api/v1/alerts", params={"state": "new", "agency": "north"}).json()["alerts"] == []
    assert admin.get("/api/v1/alerts/counts").json()["state"]["closed"] == 1


def test_rules_are_listed_shown_and_switched(console, admin):
    listed = admin.get("/api/v1/rules").json()
    assert (listed["total"], listed["rules"][0]["rule_id"]) == (1, RULE)
    assert "detection:" in admin.get(f"/api/v1/rules/{RULE}").json()["source"]
    assert admin.post(f"/api/v1/rules/{RULE}/disable").json() == {"changed": True}
    assert admin.post(f"/api/v1/rules/{RULE}/disable").json() == {"changed": False}
    assert admin.get("/api/v1/rules", params={"enabled": "true"}).json()["total"] == 0
    assert admin.post(f"/api/v1/rules/{RULE}/enable").json() == {"changed": True}
    assert [entry.action for entry in console.parts.audit.list(limit=2)] == ["rules.enable", "rules.disable"]
    (refusal,) = admin.get("/api/v1/rules/refusals").json()["refusals"]
    assert refusal["path"] == "bad.yml"


def test_sources_imports_dead_letters_agencies_users_health(console, admin):
    ids = console.ids["north"]
    source = admin.get(f"/api/v1/sources/{ids['source_id']}").json()
    assert source["enabled"]
    assert not {"token", "token_hash"} & set(source)
    assert not admin.post(f"/api/v1/sources/{ids['source_id']}/disable").json()["enabled"]
    assert admin.post(f"/api/v1/sources/{ids['source_id']}/enable").json()["enabled"]
    assert admin.get(f"/api/v1/imports/{ids['import_id']}").json()["alerts"] == 1
    assert admin.get(f"/api/v1/imports/{ids['import_id']}/files").json()["files"][0]["state"] == "refused"
    letter = admin.get(f"/api/v1/deadletters/{ids['number']}").json()
    assert letter["record"].startswith("<script>")
    assert letter["record"].endswith("\\xff\x00")
    assert admin.get("/api/v1/deadletters").json()["total"] == 2
    assert admin.post("/api/v1/deadletters/replay", json={"ids": [int(ids["number"])]}).json() == {"taken": 1}
    assert console.replayed == [int(ids["number"])]
    assert {one["id"] for one in admin.get("/api/v1/agencies").json()["agencies"]} >= {"north", "south"}
    assert admin.get("/api/v1/agencies/north", params={"at": "2025-01-01T00:00:00+07:00"}).json()["id"] == "north"
    users = admin.get("/api/v1/users").json()["users"]
    assert {user["name"] for user in users} == {"administrator", "analyst", "viewer"}
    assert not any("password_hash" in user for user in users)
    me = console.client(Role.VIEWER).get("/api/v1/users/me").json()
    assert (me["name"], me["agencies"], me["via"]) == ("viewer", ["north"], "token")
    assert admin.get("/api/v1/health").json()["status"] == "warning"


def test_a_demonstration_is_told_of_and_taken_away(console, admin):
    assert admin.get("/api/v1/demonstration").json() == {"there": False, "planted": []}
    begin(console.parts.imports, seed=1, start=NOW - SHORTEST, end=NOW, pid=1, now=NOW)
    told = admin.get("/api/v1/demonstration").json()
    assert told["there"]
    assert {one["id"]: (one["public"], one["alerts"]) for one in told["planted"]} == {plot.id: (plot.public, []) for plot in PLOTS}
    before = console.parts.alerts.count(Scope.everything())
    assert admin.delete("/api/v1/demonstration").json() == {"events": 0, "alerts": 0, "rules": 0, "agencies": [], "kept": []}
    assert not admin.get("/api/v1/demonstration").json()["there"]
    assert console.parts.alerts.count(Scope.everything()) == before > 0
    assert console.client(Role.ANALYST).delete("/api/v1/demonstration").status_code == 403


@pytest.mark.parametrize(("path", "body"), [
    ("/api/v1/alerts/{alert_id}/assign", {"assignee": "analyst", "agency": "south"}),
    ("/api/v1/alerts/{alert_id}/transition", {"to": "in_progress", "touched": False}),
    ("/api/v1/alerts/{alert_id}/transition", {"to": "asleep"}),
    ("/api/v1/alerts/{alert_id}/close", {"disposition": "benign", "reason": "x", "count": 0}),
    ("/api/v1/alerts/{alert_id}/close", {"disposition": "benign"}),
    ("/api/v1/alerts/{alert_id}/comments", {"text": ""}),
    ("/api/v1/alerts/{alert_id}/comments", {"text": "x" * 20_000}),
    ("/api/v1/deadletters/replay", {"ids": [1], "scope": "all"}),
    ("/api/v1/deadletters/replay", {"ids": [-1]}),
    ("/api/v1/deadletters/replay", {"ids": [2**70]}),
    ("/api/v1/session", {"name": "a", "password": "b", "is_admin": True}),
    ("/api/v1/setup", {"token": "a", "name": "b", "password": "c", "roles": ["administrator"]}),
])
def test_what_is_not_declared_is_refused(reading, path, body):
    answer = reading.client(Role.ADMINISTRATOR).post(path.format(**reading.ids["north"]), json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_source_is_made_pointed_at_and_waited_for(console, admin):
    made = admin.post("/api/v1/sources", json={"id": "beats", "agency": "north", "shipper": "filebeat", "host": "soc.tinh.vn"}).json()
    assert (made["kind"], made["agency"], made["timezone"]) == ("ndjson", "north", "Asia/Ho_Chi_Minh")
    assert console.parts.sources.by_token(made["token"]).id == "beats"
    assert f'password: "{made["token"]}"' in made["lines"]["text"]
    assert 'hosts: ["http://soc.tinh.vn:8081"]' in made["lines"]["text"]
    assert console.parts.audit.list(limit=1)[0].action == "source.add"
    again = admin.get("/api/v1/sources/beats/lines", params={"shipper": "fluent-bit"}).json()
    assert "HTTP_Passwd               $SOC_TOKEN" in again["text"]
    assert again["then"][-1] == "systemctl restart fluent-bit"
    silent = admin.get("/api/v1/sources/beats/heard").json()
    assert silent == {"received": False, "event": None, "refused": None}
    console.gateway["turned_away"] = [
        {"reason": "token", "peer": "10.0.0.7", "source": "", "at": NOW / 1e6 + 1, "count": 3},
        {"reason": "address", "peer": "10.0.0.6", "source": "beats", "at": NOW / 1e6 - 1, "count": 1}]
    refused = admin.get("/api/v1/sources/beats/heard").json()["refused"]
    assert (refused["peer"], refused["count"], refused["why"]) == ("10.0.0.7", 3, "the token is not valid")
    scoped = console.client(Role.VIEWER).get("/api/v1/sources/beats/heard", params={"since": "2025-10-01T00:00:00Z"}).json()
    assert scoped["refused"]["peer"] == "10.0.0.6", "who else sends is not told to those of one agency"
    console.gateway["sources"] = {"beats": {"last_heard": NOW / 1e6 + 2}}
    assert admin.get("/api/v1/sources/beats/heard").json()["received"]


def test_a_relays_rules_are_tried_kept_and_refused(console, admin):
    assert admin.post("/api/v1/sources", json={"id": "relay", "kind": "syslog", "addresses": ["10.0.0.1"]}).status_code == 200
    rules = {"rules": [{"agency": "north", "host": "*.edu.vn"}, {"agency": "south", "address": "10.1.0.0/16"}]}
    tried = admin.post("/api/v1/sources/relay/relay/preview", json=rules).json()
    assert (tried["seen"], [share["agency"] for share in tried["shares"]]) == (0, ["north", "south", "unassigned"])
    kept = admin.put("/api/v1/sources/relay/relay", json=rules).json()
    assert [(rule["host"], rule["address"]) for rule in kept["relay"]] == [("*.edu.vn", ""), ("", "10.1.0.0/16")]
    assert console.parts.audit.list(limit=1)[0].action == "source.relay"
    for wrong in ({"agency": "nowhere", "host": "x"}, {"agency": "north"}, {"agency": "north", "address": "here"}):
        assert admin.put("/api/v1/sources/relay/relay", json={"rules": [wrong]}).status_code == 422
    assert len(admin.get("/api/v1/sources/relay").json()["relay"]) == 2
    assert console.client(Role.VIEWER).put("/api/v1/sources/relay/relay", json=rules).status_code == 403

    assert kept["relay_version"] == 1
    assert admin.put("/api/v1/sources/relay/relay", json={"rules": [], "version": 1}).json()["relay_version"] == 2
    late = admin.put("/api/v1/sources/relay/relay", json=rules | {"version": 1})
    assert (late.status_code, late.json()["detail"]) == (409, "the rules were changed meanwhile: they are at version 2, not 1")
    told = admin.get("/api/v1/sources/relay/relay").json()
    assert (told["version"], told["rules"]) == (2, [])
    assert [(edit["version"], edit["by"], len(edit["rules"])) for edit in told["edits"]] == [(2, "administrator", 0), (1, "administrator", 2), (0, "", 0)]


@pytest.mark.parametrize("asked, said", [
    ({"id": "x", "agency": "nowhere"}, "no agency"), ({"id": "x", "shipper": "nosuch"}, "no lines are known"), ({"id": "X y"}, "a-z"),
    ({"id": "x", "shipper": "rsyslog"}, "known by its address"), ({"id": "x", "kind": "syslog", "shipper": "curl"}, "takes syslog"),
    ({"id": "x", "shipper": "rsyslog", "over": "tls", "addresses": ["10.0.0.9"]}, "soc tls init"), ({"id": "x", "format": "nosuch"}, "no format"),
])
def test_a_source_that_cannot_be_made_is_refused_and_not_made(reading, asked, said):
    answer = reading.client(Role.ADMINISTRATOR).post("/api/v1/sources", json=asked)
    assert answer.status_code in (400, 422)
    assert said in answer.text
    assert reading.client(Role.ADMINISTRATOR).get("/api/v1/sources/x").status_code == 404


@pytest.mark.parametrize("path", [
    "/api/v1/alerts?agencies=south", "/api/v1/alerts?limit=0", "/api/v1/alerts?limit=5000", "/api/v1/alerts?since=2025-01-01T00:00:00",
    "/api/v1/events?scope=all", "/api/v1/events/top", "/api/v1/rules?enabled=perhaps", "/api/v1/deadletters/x",
])
def test_parameters_that_are_not_declared_are_refused(reading, path):
    assert reading.client(Role.ADMINISTRATOR).get(path).status_code == 422


@pytest.mark.parametrize("path", ["/api/v1/alerts?after=x", "/api/v1/events?after=x",
                                  "/api/v1/events?since=2025-01-02T00:00:00Z&until=2025-01-01T00:00:00Z"])
def test_false_cursors_and_spans_are_bad_requests(reading, path):
    assert reading.client(Role.ADMINISTRATOR).get(path).status_code == 400


@pytest.mark.parametrize("path", ["/api/v1/alerts/%00", "/api/v1/alerts/x", "/api/v1/events/x", "/api/v1/rules/x%27--",
                                  "/api/v1/imports/x", "/api/v1/deadletters/99", "/api/v1/agencies/x", "/api/v1/sources/x"])
def test_what_is_not_there_is_not_found(reading, path):
    answer = reading.client(Role.ADMINISTRATOR).get(path)
    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")


def test_a_session_changes_things_only_with_its_csrf_token(console):
    client, csrf = console.browser(Role.ANALYST)
    path = f"/api/v1/alerts/{console.ids['north']['alert_id']}/comments"
    assert client.get("/api/v1/session").json()["csrf"] == csrf
    assert client.post(path, json={"text": "x"}).status_code == 403
    assert client.post(path, json={"text": "x"}, headers={"X-CSRF-Token": "no"}).status_code == 403
    assert client.post(path, json={"text": "x"}, headers={"X-CSRF-Token": csrf, "Origin": "http://evil.test"}).status_code == 403
    assert client.post(path, json={"text": "x"}, headers={"X-CSRF-Token": csrf, "Origin": "http://soc.test"}).status_code == 200
    assert client.delete("/api/v1/session").status_code == 403
    assert client.delete("/api/v1/session", headers={"X-CSRF-Token": csrf}).status_code == 204
    assert client.get("/api/v1/session").status_code == 401


def test_a_new_password_moves_the_session_and_ends_the_others(console):
    client, csrf = console.browser(Role.ANALYST)
    other, _ = console.browser(Role.ANALYST)
    body = {"old": PASSWORD, "new": "bốn con gà trắng"}
    answer = client.post("/api/v1/users/me/password", json=body, headers={"X-CSRF-Token": csrf})
    assert answer.status_code == 200
    assert answer.json()["csrf"] != csrf
    assert client.get("/api/v1/session").json()["csrf"] == answer.json()["csrf"]
    assert other.get("/api/v1/session").status_code == 401
    assert console.client(Role.ANALYST).post("/api/v1/users/me/password", json=body).status_code == 403


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer soc_wrong", "Basic YTpi", "Bearer " + "x" * 5000, "bearer \x00"])
def test_a_false_token_is_unauthenticated_even_beside_a_session(reading, header):
    client, _ = reading.browser(Role.ADMINISTRATOR)
    answer = client.get("/api/v1/alerts", headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_too_many_logins_are_told_to_wait(console):
    client = console.client()
    answers = [client.post("/api/v1/session", json={"name": "analyst", "password": "wrong wrong"}) for _ in range(40)]
    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 0


def test_a_body_over_the_cap_is_refused_whether_announced_or_not(console, admin):
    big = b'{"text": "' + b"x" * (2 << 20) + b'"}'
    path = f"/api/v1/alerts/{console.ids['north']['alert_id']}/comments"
    assert admin.post(path, content=big, headers={"content-type": "application/json"}).status_code == 413
    pieces = (big[at : at + 65536] for at in range(0, len(big), 65536))
    assert admin.post(path, content=pieces, headers={"content-type": "application/json"}).status_code == 413
    page = console.client().post("/login", content=b"name=" + b"x" * (2 << 20), headers={"content-type": "application/x-www-form-urlencoded"})
    assert page.status_code == 413
    assert "Nội dung gửi lên quá lớn." in page.text


def test_what_fails_unforeseen_says_nothing_of_itself(console, admin, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inner secret")

    monkeypatch.setattr(type(console.parts.alerts), "list", broken)
    answer = admin.get("/api/v1/alerts")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = admin.get("/alerts")
    assert (page.status_code, "secret" in page.text) == (500, False)
    assert page.headers["content-type"].startswith("text/html")
    assert "Có lỗi ngoài dự tính" in page.text
    assert "hãy báo thời điểm này" in page.text
    monkeypatch.setattr(console.app.state.pages._environment, "get_template", broken)  # nor are there any pages
    assert (admin.get("/alerts").status_code, admin.get("/alerts").headers["content-type"]) == (500, "application/problem+json")


def test_a_store_that_cannot_answer_is_unavailable_for_now(console, admin, monkeypatch):
    def slow(*_: object, **__: object) -> None:
        raise StoreError("the search took too long")

    monkeypatch.setattr(type(console.parts.events), "search", slow)
    answer = admin.get("/api/v1/events")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert NOW > 0


def test_an_empty_search_says_why(console):
    client = console.client(Role.ADMINISTRATOR)
    wrong = client.get("/api/v1/events", params={"q": "host.nam:x"}).json()
    assert (wrong["events"], wrong["unknown_fields"], wrong["nearest"]) == ([], [{"field": "host.nam", "nearest": "host.name"}], None)
    early = client.get("/api/v1/events", params={"q": "", "until": "2001-01-01T00:00:00Z"}).json()
    assert early["unknown_fields"] == []
    assert early["nearest"] > "2001"
    found = client.get("/api/v1/events").json()
    assert found["events"]
    assert "nearest" not in found
