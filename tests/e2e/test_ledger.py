"""The ledger at a running centre: rules that hang, throw or crash the detector, changed rules, late events, storms, outages."""
from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Centre

FAULTS = Path(__file__).parent / "faults"
OTHERS = 119
"""Rules beside the guilty one: more than are looked at together after a hang."""


def rule(folder: Path, name: str, word: str) -> str:
    """A rule file that fires on sshd messages with a word; returns its id."""
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yml").write_text(
        f"title: {name}\nid: {identity}\nstatus: test\ndescription: A test.\nlevel: high\nlogsource: {{product: linux, service: sshd}}\n"
        f"detection:\n  selection:\n    - '{word}'\n  condition: selection\n")
    return identity


def lines(texts: Sequence[str], at: str = "", host: str = "host1") -> bytes:
    stamp = at or time.strftime("%b %d %H:%M:%S", time.gmtime())
    return b"".join(f"<38>{stamp} {host} sshd[7]: {text}\n".encode() for text in texts)


def counts(centre: Centre) -> dict[str, int]:
    """Rule -> matches in all its alerts."""
    found: dict[str, int] = {}
    for alert in centre.json("alerts", "list", "--limit", "1000"):
        found[alert["rule_id"]] = found.get(alert["rule_id"], 0) + alert["count"]
    return found


@pytest.fixture
def faulty(tmp_path: Path) -> Any:
    """A centre whose detector fails on demand: (centre, the folder of faults)."""
    faults = tmp_path / "faults"
    faults.mkdir()
    made = Centre(tmp_path, {"PYTHONPATH": os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")]), "SOC_TEST_FAULTS": str(faults)})
    try:
        yield made, faults
    finally:
        made.kill()


@pytest.mark.parametrize("how", ["hang", "throw", "crash"])
def test_F71_a_rule_that_fails_is_isolated_while_the_others_go_on_and_sees_later_what_it_missed(
        faulty: tuple[Centre, Path], wait_for: Callable[..., Any], tmp_path: Path, how: str) -> None:
    centre, faults = faulty
    bad, good = rule(tmp_path / "rules", "bad", "Failed"), rule(tmp_path / "rules", "good", "Failed")
    for n in range(OTHERS):
        rule(tmp_path / "rules", f"other{n}", f"nobody says {n}")
    centre.soc("rules", "import", str(tmp_path / "rules"))
    token = centre.source("agent", "--format", "syslog", "--timezone", "UTC")
    centre.up()
    assert centre.send(token, lines(["Failed password"] * 10))[0] == 200
    wait_for(lambda: counts(centre) == {bad: 10, good: 10}, 30)
    (faults / how).write_text(bad)
    began = time.monotonic()
    assert centre.send(token, lines(["Failed password", "Failed MARK", "Failed password"]))[0] == 200
    wait_for(lambda: counts(centre).get(good) == 13, 40)
    found = time.monotonic() - began
    wait_for(lambda: list(centre.status()["ledger"]["isolated"]) == [bad], 30)  # of those suspected with it, the others are free
    alone = time.monotonic() - began
    began = time.monotonic()
    assert centre.send(token, lines(["Failed password"] * 5))[0] == 200
    wait_for(lambda: counts(centre).get(good) == 18, 20)
    later = time.monotonic() - began
    assert counts(centre)[bad] == 10
    [row] = [r for r in centre.json("rules", "list", "--limit", "1000") if r["id"] == bad]
    assert "left out" in row["trouble"]
    view = centre.json("rules", "show", bad)[0]["coverage"]
    assert view["isolated"]["kind"] == ("throws" if how == "throw" else "hangs") and view["gaps"]
    (faults / how).unlink()
    rule(tmp_path / "more", "more", "never said")
    centre.soc("rules", "import", str(tmp_path / "more"))  # the rule set changes: what stands aside is tried at once
    wait_for(lambda: counts(centre) == {bad: 18, good: 18}, 40)
    wait_for(lambda: centre.status()["ledger"]["isolated"] == {} and centre.status()["ledger"]["waiting"] == 0, 20)
    view = centre.json("rules", "show", bad)[0]["coverage"]
    assert view["isolated"] is None and view["gaps"] == [] and view["filled"]
    assert [(one["first"], one["last"]) for one in view["seen"]] == [(0, 18)]
    late = {alert["rule_id"]: alert["late_seconds"] for alert in centre.json("alerts", "list")}
    assert late[bad] > 0 and late[good] == 0
    print(json.dumps({"fault": how, "others judged after s": round(found, 1), "alone after s": round(alone, 1), "next events after s": round(later, 1), "restarts": centre.restarts()}))
    assert found <= (5 if how == "throw" else 20), "10 s promised; beside other tests on two cores twice that"
    assert later <= 8
    assert centre.stop() == 0


@pytest.mark.parametrize("how", ["hang", "throw"])
def test_F71_of_500_rules_due_at_once_499_lose_nothing_to_the_one_that_fails(
        faulty: tuple[Centre, Path], wait_for: Callable[..., Any], tmp_path: Path, how: str) -> None:
    centre, faults = faulty
    ids = [rule(tmp_path / "rules", f"rule{n}", "Failed") for n in range(500)]  # each fires at every event
    bad, good = ids[250], {*ids} - {ids[250]}
    centre.soc("rules", "import", str(tmp_path / "rules"))
    token = centre.source("agent", "--format", "syslog", "--timezone", "UTC")
    centre.up()
    assert centre.send(token, lines(["Failed password"]))[0] == 200
    wait_for(lambda: counts(centre) == dict.fromkeys(ids, 1), 30)
    (faults / how).write_text(bad)
    began = time.monotonic()
    assert centre.send(token, lines(["Failed password", "Failed MARK", "Failed password"]))[0] == 200
    wait_for(lambda: counts(centre) == dict.fromkeys(good, 4) | {bad: 1}, 40)
    late = time.monotonic() - began
    wait_for(lambda: list(centre.status()["ledger"]["isolated"]) == [bad] and centre.status()["ledger"]["waiting"] == 1, 20)
    print(json.dumps({"fault": how, "499 others whole after s": round(late, 1), "restarts": centre.restarts()}))
    assert late <= (5 if how == "throw" else 20), "10 s promised; beside other tests on two cores twice that"
    assert centre.stop() == 0


def test_F71_of_two_detectors_the_one_that_is_free_finds_the_rule_that_hangs(
        faulty: tuple[Centre, Path], wait_for: Callable[..., Any], tmp_path: Path) -> None:
    centre, faults = faulty
    centre.environment["SOC_DETECTOR__PROCESSES"] = "2"
    ids = [rule(tmp_path / "rules", f"rule{n}", "Failed") for n in range(60)]
    bad, good = ids[30], {*ids} - {ids[30]}
    centre.soc("rules", "import", str(tmp_path / "rules"))
    token = centre.source("agent", "--format", "syslog", "--timezone", "UTC")
    centre.up()
    assert centre.send(token, lines(["Failed password"]))[0] == 200
    wait_for(lambda: counts(centre) == dict.fromkeys(ids, 1), 30)
    (faults / "hang").write_text(bad)
    began = time.monotonic()
    assert centre.send(token, lines(["Failed MARK"]))[0] == 200
    time.sleep(2)
    assert centre.send(token, lines(["Failed password"] * 5))[0] == 200  # while one hangs, the other judges what comes
    wait_for(lambda: min(counts(centre).values()) >= 6, 20)
    meanwhile = time.monotonic() - began - 2
    wait_for(lambda: counts(centre) == dict.fromkeys(good, 7) | {bad: 6}, 20)
    late = time.monotonic() - began
    wait_for(lambda: list(centre.status()["ledger"]["isolated"]) == [bad], 20)
    print(json.dumps({"next events after s": round(meanwhile, 1), "others whole after s": round(late, 1), "restarts": centre.restarts()}))
    assert late <= 20 and sum(centre.restarts().values()) == 1
    assert "Running job" not in centre.log.read_text(), "the scheduler says nothing each half second"
    assert centre.stop() == 0


def test_F74_a_rule_switched_on_edited_and_removed_by_command_is_live_within_5_seconds(
        centre: Any, wait_for: Callable[..., Any], tmp_path: Path) -> None:
    token = centre.source("agent", "--format", "syslog", "--timezone", "UTC")
    folder = tmp_path / "rules"
    one = rule(folder, "one", "alpha")
    centre.soc("rules", "import", str(folder), "--off")
    centre.up()
    assert centre.send(token, lines(["alpha"]))[0] == 200
    centre.settled()
    pids = centre.pids()
    waits = []

    def fires(word: str, total: int) -> None:
        began = time.monotonic()
        while counts(centre).get(one, 0) < total:
            assert time.monotonic() - began < 30
        waits.append(round(time.monotonic() - began, 1))

    centre.soc("rules", "enable", one)
    time.sleep(5)
    assert centre.send(token, lines(["alpha"]))[0] == 200
    fires("alpha", 1)
    rule(folder, "one", "beta")
    centre.soc("rules", "import", str(folder))
    time.sleep(5)
    assert centre.send(token, lines(["alpha", "beta"]))[0] == 200
    fires("beta", 2)
    centre.soc("rules", "disable", one)
    time.sleep(5)
    assert centre.send(token, lines(["beta"]))[0] == 200
    centre.settled()
    assert counts(centre) == {one: 2}, "what passed before or after it was on is not its own"
    view = centre.json("rules", "show", one)[0]["coverage"]
    assert [(r["first"], r["last"]) for r in view["seen"]] == [(2, 4)], "this version saw what came while it was on"
    assert centre.pids() == pids and centre.restarts() == {}
    print(json.dumps({"alert after s": waits}))
    assert max(waits) <= 8
    assert centre.stop() == 0


def test_F73_late_future_and_unordered_events_are_each_judged_once(centre: Any, tmp_path: Path) -> None:
    one = rule(tmp_path / "rules", "one", "alpha")
    centre.soc("rules", "import", str(tmp_path / "rules"))
    token = centre.source("agent", "--format", "syslog", "--timezone", "UTC")
    centre.up()
    now = time.time()
    offsets = [0, -60, -3600, -7 * 86_400, 3 * 86_400, -1, -30 * 86_400, -3600, 0]
    for n, offset in enumerate(offsets):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + offset))
        assert centre.send(token, f"<38>1 {stamp} host1 sshd 7 - - alpha {n}\n".encode())[0] == 200
    centre.settled()
    assert counts(centre) == {one: len(offsets)}
    alerts = centre.json("alerts", "list", "--limit", "100")
    assert sorted(alert["count"] for alert in alerts) == [1, 1, 1, 6], "a month ago, a week ago, in three days, and now"
    assert centre.stop() == 0


def test_F72_what_arrived_while_the_detector_was_down_is_judged_whole(centre: Any, wait_for: Callable[..., Any], tmp_path: Path) -> None:
    one = rule(tmp_path / "rules", "one", "alpha")
    centre.soc("rules", "import", str(tmp_path / "rules"))
    token = centre.source("agent", "--format", "syslog", "--timezone", "UTC")
    centre.up("--role", "gateway", "--role", "normaliser")
    for _ in range(20):
        assert centre.send(token, lines(["alpha", "nothing"] * 500))[0] == 200
    wait_for(lambda: centre.status()["lanes"]["live"]["normalised"] == 20_000, 60, 0.5)
    assert centre.status()["lanes"]["live"]["judged"] == 0
    assert centre.stop() == 0
    centre.up()
    centre.settled(60)
    assert counts(centre) == {one: 10_000}
    assert centre.json("rules", "show", one)[0]["coverage"]["gaps"] == []
    assert centre.stop() == 0


def test_F76_a_storm_of_one_rule_is_one_alert_with_an_exact_count(centre: Any, wait_for: Callable[..., Any], tmp_path: Path) -> None:
    one = rule(tmp_path / "rules", "one", "alpha")
    centre.soc("rules", "import", str(tmp_path / "rules"))
    token = centre.source("agent", "--format", "syslog", "--timezone", "UTC")
    centre.up()
    began, slowest = time.monotonic(), 0.0
    for _ in range(20):
        assert centre.send(token, lines(["alpha"] * 5_000))[0] == 200
        asked = time.monotonic()
        assert isinstance(centre.json("alerts", "list"), list)
        slowest = max(slowest, time.monotonic() - asked)
    centre.settled(120)
    took = time.monotonic() - began
    [alert] = centre.json("alerts", "list")
    assert (alert["rule_id"], alert["count"]) == (one, 100_000)
    shown = centre.json("alerts", "show", alert["id"])
    assert 0 < len(json.dumps(shown)) < 2_000_000, "the evidence is a sample, not the storm"
    print(json.dumps({"matches": 100_000, "judged within s": round(took, 1), "slowest list s": round(slowest, 2)}))
    assert took <= 60 and slowest <= 5
    assert centre.stop() == 0
