"""Rules that somebody holds: by command, by API and on the page; health says so, and what passed meanwhile is judged when they are resumed."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from soc.access.roles import Role
from tests.console_under_test import NOW, RULE, ConsoleUnderTest, build, quick_hashes
from tests.e2e.conftest import Centre
from tests.e2e.test_ledger import counts, lines, rule


def test_what_passes_while_a_rule_is_held_is_judged_when_it_is_resumed(centre: Centre, wait_for: Callable[..., Any], tmp_path: Path) -> None:
    held, other = rule(tmp_path / "rules", "held", "Failed"), rule(tmp_path / "rules", "other", "Failed")
    centre.soc("rules", "import", str(tmp_path / "rules"))
    token = centre.source("agent", "--format", "syslog", "--timezone", "UTC")
    centre.up()
    assert centre.send(token, lines(["Failed password"]))[0] == 200
    wait_for(lambda: counts(centre) == {held: 1, other: 1}, 30)
    centre.soc("rules", "hold", held, "--reason", "too loud  during\nthe move")
    centre.soc("rules", "hold", held, "--reason", "again")  # the first reason stays
    assert centre.send(token, lines(["Failed password"] * 3))[0] == 200
    wait_for(lambda: counts(centre) == {held: 1, other: 4}, 30)
    [row] = [one for one in centre.json("rules", "list") if one["id"] == held]
    assert re.fullmatch(r"held by \S+: too loud during the move", row["trouble"])
    view = centre.json("rules", "show", held)[0]["coverage"]
    assert (view["isolated"]["kind"], view["isolated"]["due"]) == ("held", None)
    assert [(gap["lane"], gap["first"], gap["last"], gap["reason"]) for gap in view["gaps"]] == [("live", 1, 4, row["trouble"])]
    assert "until it is resumed" in centre.soc("rules", "show", held).stdout
    status = centre.status()
    assert status["status"] == "warning"
    assert "1 rule(s) are held by somebody and judge nothing" in status["reasons"]
    assert not [reason for reason in status["reasons"] if "failed" in reason]
    assert next(one for one in centre.json_or_fault("doctor") if one["check"] == "rules")["found"] == "0 failed, 1 held by somebody: they judge nothing"
    assert centre.stop() == 0
    centre.up()  # a hold outlives restarts
    assert centre.send(token, lines(["Failed password"]))[0] == 200
    wait_for(lambda: counts(centre) == {held: 1, other: 5}, 30)
    centre.soc("rules", "resume", held)
    wait_for(lambda: counts(centre) == {held: 5, other: 5}, 30)
    view = centre.json("rules", "show", held)[0]["coverage"]
    assert (view["isolated"], view["gaps"], view["seen"]) == (None, [], [{"lane": "live", "first": 0, "last": 5}])
    assert [(one["first"], one["last"]) for one in view["filled"]] == [(1, 5)]
    assert centre.status()["reasons"] == []
    assert centre.restarts() == {}


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleUnderTest]:
    with pytest.MonkeyPatch.context() as patch:
        quick_hashes(patch)
        made = build(tmp_path_factory.mktemp("console"))
        yield made
        made.close()


def test_by_api_with_a_reason_and_on_the_page(console: ConsoleUnderTest) -> None:
    admin = console.client(Role.ADMINISTRATOR)
    place = f"/api/v1/rules/{RULE}"
    assert admin.post(f"{place}/hold", json={"reason": "too loud"}).json() == {"changed": True}
    assert admin.post(f"{place}/hold", json={"reason": "again"}).json() == {"changed": False}
    found = admin.get(place).json()
    assert (found["coverage"]["isolated"]["reason"], found["demonstration"]) == ("held by administrator: too loud", False)
    [row] = [one for one in admin.get("/api/v1/rules").json()["rules"] if one["rule_id"] == RULE]
    assert row["trouble"] == "held by administrator: too loud"
    page = admin.get(f"/rules/{RULE}", headers={"cookie": "soc_language=vi"}).text
    assert "administrator giữ lại: too loud" in page and "Cho chạy tiếp" in page and 'value="hold"' not in page
    assert admin.post(f"{place}/resume").json() == {"changed": True}
    assert admin.post(f"{place}/resume").json() == {"changed": False}
    page = admin.get(f"/rules/{RULE}").text
    assert 'value="hold"' in page and 'value="resume"' not in page
    assert admin.post(f"/rules/{RULE}", data={"do": "hold", "reason": "again"}, follow_redirects=False).status_code == 303
    assert "administrator giữ lại: again" in admin.get(f"/rules/{RULE}").text
    admin.post(f"/rules/{RULE}", data={"do": "resume"})
    assert admin.get(place).json()["coverage"]["isolated"] is None
    said = [entry.action for entry in console.parts.audit.list(limit=20) if entry.action.startswith("rules.")]
    assert sorted(said) == ["rules.hold", "rules.hold", "rules.resume", "rules.resume"]


@pytest.mark.parametrize("reason", ["", " \n", "x" * 201])
def test_a_hold_needs_a_reason(console: ConsoleUnderTest, reason: str) -> None:
    answer = console.client(Role.ADMINISTRATOR).post(f"/api/v1/rules/{RULE}/hold", json={"reason": reason})
    assert (answer.status_code, answer.json()["detail"]) == (422, "a rule is held for a reason of 1 to 200 characters")


def test_only_rules_that_judge_are_held(console: ConsoleUnderTest) -> None:
    admin = console.client(Role.ADMINISTRATOR)
    console.parts.rules.disable([RULE], NOW)
    answer = admin.post(f"/api/v1/rules/{RULE}/hold", json={"reason": "too loud"})
    console.parts.rules.enable([RULE], NOW)
    assert (answer.status_code, answer.json()["detail"]) == (422, f"rule {RULE} is off: it judges nothing, and misses nothing")
    for verb in ("hold", "resume"):
        assert admin.post(f"/api/v1/rules/nothing/{verb}", json={"reason": "x"}).status_code == 404
