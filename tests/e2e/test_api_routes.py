"""Every route of the console with every role, without any, and with another agency's objects (F62); nothing is left out."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from soc.access.roles import ROLES as MAY
from soc.access.roles import Permission, Role
from soc.console import api, pages
from soc.console.app import create_console, declared
from soc.console.guard import CSP
from tests.console_under_test import ROLES, RULE, ConsoleUnderTest, build, quick_hashes

PUBLIC = {
    ("POST", "/api/v1/session"), ("POST", "/api/v1/setup"), ("GET", "/healthz"), ("GET", "/login"), ("POST", "/login"),
    ("GET", "/setup"), ("POST", "/setup"), ("GET", "/language/{language}"), ("GET", "/assets/{name}"),
}
"""What anybody may ask. A new public route has to be written here."""

WITHOUT_SCOPE = {"rule_id", "language", "name"}
"""Path parameters that name nothing of an agency."""

BODIES: dict[str, Any] = {
    "/api/v1/alerts/{alert_id}/transition": {"to": "in_progress"},
    "/api/v1/alerts/{alert_id}/close": {"disposition": "benign", "reason": "known"},
    "/api/v1/alerts/{alert_id}/assign": {"assignee": "analyst"},
    "/api/v1/alerts/{alert_id}/escalate": {"escalated": True},
    "/api/v1/alerts/{alert_id}/comments": {"text": "seen"},
    "/api/v1/deadletters/replay": {"ids": [1]},
    "/api/v1/users/me/password": {"old": "x", "new": "y"},
    "/api/v1/session": {"name": "x", "password": "y"},
    "/api/v1/sources": {"id": "another", "shipper": "curl"},
    "/api/v1/sources/{source_id}/relay": {"rules": []}, "/api/v1/sources/{source_id}/relay/preview": {"rules": []},
    "/api/v1/setup": {"token": "x", "name": "y", "password": "z"},
    "/api/v1/rules/{rule_id}/hold": {"reason": "too loud during the move"},
}
FORMS: dict[str, Any] = {
    "/alerts/{alert_id}": {"do": "comment", "text": "seen"}, "/rules/{rule_id}": {"do": "disable"}, "/deadletters/{number}": {},
    "/rulepacks/fetch": {},
    "/try": {}, "/imports/{import_id}/undo": {}, "/imports/uploads/{upload_id}/cancel": {}, "/sources/new": {"name": "one-more", "shipper": "curl"}, "/sources/{source_id}": {"on": "true"}, "/sources/{source_id}/relay": {}, "/logout": {}, "/login": {"name": "x", "password": "y"}, "/setup": {"token": "x"},
}
RAW = {"/api/v1/rulepacks": b"PK\x05\x06" + bytes(18), "/api/v1/imports": b"one line\n"}
"""Bodies that are neither."""
QUERIES = {"POST /api/v1/imports": "?name=auth.log", "/api/v1/events/top": "?field=host.name", "/api/v1/sources/{source_id}/lines": "?shipper=curl"}

ROUTES = sorted(
    ((method, route) for router in (*api.routers(), *pages.routers()) for route in router.routes
     if isinstance(route, APIRoute) for method in route.methods),
    key=lambda pair: (pair[1].path, pair[0]))
PRIVATE = [pair for pair in ROUTES if declared(pair[1]) is not None]
BY_TOKEN = [pair for pair in PRIVATE if pair[1].path not in ("/api/v1/users/me/password", "/logout")]
"""Without what only a session can do; that is tested with the sessions."""
OF_AGENCIES = [pair for pair in PRIVATE if set(pair[1].param_convertors) - WITHOUT_SCOPE]


def named(pair: object) -> str:
    return pair.path if isinstance(pair, APIRoute) else str(pair)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleUnderTest]:
    with pytest.MonkeyPatch.context() as patch:
        quick_hashes(patch)
        made = build(tmp_path_factory.mktemp("console"))
        yield made
        made.close()


def ask(console: ConsoleUnderTest, method: str, route: APIRoute, role: Role | None, agency: str = "north") -> Any:
    known = console.ids[agency] | {"rule_id": RULE, "language": "en", "name": "style.css"}
    given: dict[str, Any] = {}
    if method != "GET" and route.path in BODIES:
        given["json"] = BODIES[route.path] | ({"ids": [int(known["number"])]} if "replay" in route.path else {})
    elif method != "GET" and route.path in FORMS:
        given["data"] = FORMS[route.path]
    elif method != "GET" and route.path in RAW:
        given["content"] = RAW[route.path]
    return console.client(role).request(method, route.path.format(**known) + QUERIES.get(f"{method} {route.path}", QUERIES.get(route.path, "")), **given)


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=named)
def test_public_routes_are_listed_and_all_others_ask_who(console, method, route):
    answer = ask(console, method, route, None)
    if declared(route) is None:
        assert (method, route.path) in PUBLIC
    elif method == "GET" and not route.path.startswith("/api/"):
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login")
    else:
        assert answer.status_code == 401


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "route"), BY_TOKEN, ids=named)
def test_a_role_may_what_its_permissions_say(console, method, route, role):
    permission = declared(route)
    answer = ask(console, method, route, role)
    if permission in MAY[role]:
        assert answer.status_code < 400 or answer.status_code == 409, answer.text
    else:
        assert answer.status_code == 403, answer.text


@pytest.mark.parametrize(("method", "route"), OF_AGENCIES, ids=named)
def test_an_object_of_another_agency_is_not_there(console, method, route):
    answer = ask(console, method, route, Role.VIEWER, "south")
    assert answer.status_code == (404 if declared(route) in MAY[Role.VIEWER] else 403)


def test_replaying_another_agencys_dead_letter_is_refused_as_a_whole(console):
    own, other = int(console.ids["north"]["number"]), 999_999
    before = list(console.replayed)
    answer = console.client(Role.ADMINISTRATOR).post("/api/v1/deadletters/replay", json={"ids": [own, other]})
    assert (answer.status_code, console.replayed) == (404, before)


@pytest.mark.parametrize("path", ["/api/v1/alerts", "/api/v1/sources", "/api/v1/events", "/api/v1/agencies"])
def test_lists_hold_only_the_callers_scope(console, path):
    (noun,) = [value for value in console.client(Role.VIEWER).get(path).json().values() if isinstance(value, list) and value]
    names = {"id", "agency", "organization.id"}
    assert {one.get("agency") or one.get("organization.id") or one["id"] for one in noun if names & set(one)} == {"north"}


def test_a_route_that_declares_nothing_does_not_start(console, monkeypatch):
    router = APIRouter()
    router.add_api_route("/api/v1/forgotten", lambda: 1)
    monkeypatch.setattr(api, "routers", lambda: [router])
    with pytest.raises(TypeError, match="forgotten"):
        create_console(console.parts)


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/login"), ("GET", "/"), ("GET", "/nowhere"), ("GET", "/api/v1/nowhere"), ("GET", "/healthz"), ("PUT", "/login"),
    ("GET", "/assets/style.css"), ("GET", "/api/v1/alerts"), ("POST", "/api/v1/session"), ("GET", "/assets/..%2fapp.py"),
])
def test_every_answer_carries_the_safety_headers(console, method, path):
    answer = console.client().request(method, path)
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "script-src 'self';" in CSP
    assert "unsafe" not in CSP


def test_permissions_all_have_a_route_or_are_the_command_lines_own():
    asked = {declared(route) for _, route in ROUTES}
    assert set(Permission) - asked == {
        Permission.AGENCIES_WRITE, Permission.USERS_WRITE, Permission.AUDIT_READ, Permission.STORE_WRITE}
