"""`soc serve --demo` on an empty folder: every planted attack is found by its rules, nothing else is, and all of it can be taken away."""
from __future__ import annotations

import os
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from alerts.store import AlertStore
from soc.database import STATE, Database, sqlite_url
from soc.demo.line import AGENCIES
from soc.demo.pack import PACK, RULES, SAW_LATE, STANDS_ASIDE
from soc.demo.plots import PLOTS
from soc.demo.record import playing, story_of
from soc.demo.story import Story
from soc.event import Scope
from soc.ingest.imports import ImportStore


def told(data: Path) -> Story | None:
    """The story that plays, once its past is judged."""
    if not (data / "state.db").exists():
        return None
    with closing(Database.open(sqlite_url(data / "state.db"), STATE)) as state:
        found = playing(ImportStore(state))
        return story_of(found) if found is not None and found.state == "done" else None


def evidence(data: Path) -> set[tuple[str, str]]:
    """(rule id, original record) of everything that alerts show."""
    with closing(Database.open(sqlite_url(data / "state.db"), STATE)) as state:
        store = AlertStore(state)
        return {
            (alert.rule_id, str(event["event.original"]))
            for alert in store.list(Scope.everything(), limit=1000).alerts for one in store.evidence(Scope.everything(), alert.id)
            for event in (one.event, *one.related)}


NO_LOGS = {"SOC_MACHINE__JOURNAL": "false", "SOC_MACHINE__FILES": ""}
PASSWORD = "ba con voi vàng 2026"


def coverage(centre: Any, rule: str) -> Any:
    """What a rule has seen and missed, as `soc rules show` tells it."""
    return centre.json("rules", "show", rule)[0]["coverage"]


def traces(data: Path) -> dict[str, list[Any]]:
    """What the state database keeps of the demonstration's rules and their holds and gaps, by table."""
    asked = ", ".join("?" * len(RULES))
    with closing(sqlite3.connect(data / "state.db", timeout=20)) as state:
        return {table: state.execute(f"SELECT * FROM {table} WHERE rule_id IN ({asked})", tuple(RULES)).fetchall()
                for table in ("rules", "rule_isolation", "ledger_gaps", "ledger_closed", "alerts")}


def count(data: Path, table: str, where: str = "1") -> int:
    """How many such rows the state database holds by now; none before it is made."""
    if not (data / "state.db").exists():
        return 0
    with closing(sqlite3.connect(f"file:{data / 'state.db'}?mode=ro", uri=True, timeout=20)) as state:
        try:
            return int(state.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@contextmanager
def logged_in(centre: Any) -> Iterator[httpx.Client]:
    """A browser of the administrator, in English."""
    centre.soc("user", "add", "an", "--role", "administrator", "--password-stdin", text=PASSWORD + "\n")
    with httpx.Client(base_url=f"http://127.0.0.1:{centre.console}", timeout=30, trust_env=False, cookies={"soc_language": "en"}) as browser:
        browser.post("/api/v1/session", json={"name": "an", "password": PASSWORD}).raise_for_status()
        yield browser


def test_each_attack_is_found_no_twin_is_and_all_of_it_goes(centre: Any, wait_for: Any, tmp_path: Path) -> None:
    public = Path(os.environ.get("SOC_TEST_DATA", "/nowhere")) / "sigma-rules.zip"
    if public.exists():
        centre.soc("rules", "import", str(public))
    centre.environment |= NO_LOGS
    centre.up("--demo")
    story = wait_for(lambda: told(centre.data), 180, 0.5)
    shown = evidence(centre.data)
    attacks = {line.raw.decode(): line.attack for line in story.lines if line.attack}
    for plot in PLOTS:
        if not plot.public or public.exists():
            found = {rule for rule, raw in shown if attacks.get(raw) == plot.id}
            assert set(plot.rules) <= found, plot.id
    assert [(rule, raw) for rule, raw in shown if raw not in attacks] == []
    status = {row["attack"]: row["found"] for row in centre.json("demo", "status")}
    assert {plot.id: status[plot.id] == "yes" for plot in PLOTS} == {plot.id: not plot.public or public.exists() for plot in PLOTS}

    alerts = centre.json("alerts", "list", "--limit", "500")
    assert {alert["origin"] for alert in alerts} == {"demonstration"}
    assert {"new", "closed"} == {alert["state"] for alert in alerts}
    broken = sum(line.broken for line in story.lines)
    assert len(centre.json("deadletters", "list")) == broken > 0

    # once somebody can log in, an attack is played live
    centre.soc("user", "add", "an", "--role", "administrator", "--password-stdin", text="ba con voi vàng 2026\n")
    known = {alert["id"] for alert in alerts}
    wait_for(lambda: [one for one in centre.json("alerts", "list", "--rule", PLOTS[0].rules[0]) if one["id"] not in known], 110, 2)
    assert centre.restarts() == {}

    # what is real stays
    real = tmp_path / "real.log"
    real.write_text("Nov 26 18:00:01 may-that sshd[77]: Accepted password for root from 203.0.113.99 port 5022 ssh2\n")
    centre.soc("import", str(real))
    removed = centre.json("demo", "remove", "--yes")[0]
    assert removed["events"] >= len(story.lines) - broken
    assert removed["agencies"] == sorted(AGENCIES)
    assert removed["rules"] == len(RULES)
    centre.settled()
    assert centre.count() == 1
    assert [alert["origin"] for alert in centre.json("alerts", "list")] == ["import"]
    assert centre.json("deadletters", "list") == []
    assert [agency["id"] for agency in centre.json("agency", "list")] == ["unassigned"]
    assert centre.stop() == 0
    centre.up("--demo")  # it does not come back
    assert centre.count() == 1
    assert not any(traces(centre.data).values())
    assert centre.stop() == 0


def test_a_folder_that_has_something_gets_no_demonstration(centre: Any, wait_for: Any, tmp_path: Path) -> None:
    real = tmp_path / "real.log"
    real.write_text("Nov 26 18:00:01 may-that sshd[77]: Accepted publickey for an from 10.1.1.1 port 5022 ssh2\n")
    centre.soc("import", str(real))
    centre.environment |= {"SOC_MACHINE__JOURNAL": "false", "SOC_MACHINE__FILES": ""}
    centre.up("--demo")
    wait_for(lambda: "demonstration" in centre.pids() and (centre.data / "run" / "demonstration.json").exists(), 30)
    assert centre.soc("demo", "status", check=False).returncode == 1
    assert centre.count() == 1
    assert [agency["id"] for agency in centre.json("agency", "list")] == ["unassigned"]


def test_this_machines_own_logs_are_followed_exactly_and_stay(centre: Any, wait_for: Any, tmp_path: Path) -> None:
    folder = tmp_path / "logs of mine"
    folder.mkdir()
    log, other = folder / "auth.log", folder / "khác.log"
    log.write_text("Nov 26 17:59:01 may-that sshd[70]: Accepted publickey for an from 10.1.1.1 port 5000 ssh2\n")
    other.touch()
    centre.environment |= {"SOC_MACHINE__JOURNAL": "false", "SOC_MACHINE__FILES": f"'{folder}/*.log'"}
    centre.up("--demo")
    wait_for(lambda: told(centre.data), 120, 0.5)
    wait_for(lambda: str(log) in (centre.data / "own-logs.json").read_text(), 30)
    assert f"Follows   {log}, {other}" in wait_for(lambda: "Follows" in centre.log.read_text() and centre.log.read_text(), 30)

    def write(first: int, last: int) -> None:
        with log.open("a") as file:
            file.writelines(f"Nov 26 18:00:01 may-that sshd[{n}]: Accepted password for root from 203.0.113.99 port {n} ssh2\n" for n in range(first, last))

    write(1000, 1700)
    wait_for(lambda: centre.count("soc.origin:live") >= 500, 60, 0.5)
    os.kill(centre.pids()["demonstration"], 9)
    write(1700, 1800)
    log.rename(folder / "auth.log.1")
    write(1800, 2000)
    wait_for(lambda: centre.count("soc.origin:live") >= 1000, 60, 0.5)
    centre.soc("demo", "remove", "--yes")
    centre.settled()
    assert centre.count() == centre.count("soc.origin:live") == 1000
    assert "Root logs in with a password from outside" in {alert["title"] for alert in centre.json("alerts", "list")}
    assert centre.stop() == 0


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as stack:
        yield stack


def test_a_gap_and_a_rule_that_stands_aside_are_real_and_leave_the_strip_as_it_is(centre: Any, wait_for: Any, opened: ExitStack) -> None:
    centre.environment |= NO_LOGS
    centre.up("--demo")
    story = wait_for(lambda: told(centre.data), 180, 0.5)
    fetched, ran = (next(line.raw.decode() for line in story.lines if line.attack and word in line.raw) for word in (b"GET /.env", b"bin/whoami"))

    # the one was held while the past was played; it has seen all of it, late, and raised its alert
    wait_for(lambda: coverage(centre, SAW_LATE)["filled"] and not coverage(centre, SAW_LATE)["gaps"], 60, 0.5)
    late = coverage(centre, SAW_LATE)
    assert late["isolated"] is None
    [passed] = [one for one in late["filled"] if one["lane"] == "bulk"]
    assert (passed["first"], passed["last"]) == (0, centre.status()["lanes"]["bulk"]["judged"])
    assert (passed["outcome"], passed["reason"]) == ("filled", f"held by demonstration: {RULES[SAW_LATE]}")
    [alert] = wait_for(lambda: centre.json("alerts", "list", "--rule", SAW_LATE), 30)
    assert (alert["origin"], alert["late_seconds"] > 0) == ("demonstration", True)
    assert (SAW_LATE, ran) in evidence(centre.data)

    # the other is held still: nothing of the past has it seen, and it says so everywhere
    aside = coverage(centre, STANDS_ASIDE)
    assert aside["isolated"]["kind"] == "held"
    assert [(gap["first"], gap["last"], gap["attempts"]) for gap in aside["gaps"] if gap["lane"] == "bulk"] == [(0, passed["last"], 0)]
    assert [one for one in aside["seen"] if one["lane"] == "bulk"] == []
    assert centre.json("alerts", "list", "--rule", STANDS_ASIDE) == []
    browser = opened.enter_context(logged_in(centre))
    page = browser.get(f"/rules/{STANDS_ASIDE}").text
    for words in ("never colours the strip", f"Bulk lane 0–{passed['last']}", RULES[STANDS_ASIDE], 'value="resume"'):
        assert words in page
    rules = {one["rule_id"]: one for one in browser.get("/api/v1/rules", params={"pack": PACK}).json()["rules"]}
    assert {rule: (one["demonstration"], bool(one["trouble"])) for rule, one in rules.items()} == {
        SAW_LATE: (True, False), STANDS_ASIDE: (True, True)}

    # but what tells of trouble leaves it out
    report = wait_for(lambda: (now := browser.get("/api/v1/health").json())["status"] == "ok" and now, 30)
    assert (report["reasons"], report["ledger"]["isolated"], report["ledger"]["gaps"], report["ledger"]["waiting"]) == ([], {}, [], 0)
    assert list(report["ledger"]["demonstration"]["isolated"]) == [STANDS_ASIDE]
    assert {gap["rule_id"] for gap in report["ledger"]["demonstration"]["gaps"]} == {STANDS_ASIDE}
    assert 'data-status="ok"' in browser.get("/strip").text
    assert "Of the demonstration" in browser.get("/health").text
    found = next(one for one in centre.json_or_fault("doctor") if one["check"] == "rules")
    assert (found["state"], found["found"]) == ("ok", "none stands aside; of the demonstration 1, as it is meant to be")

    # a real one that is held is told of, whatever the demonstration does
    real = next(rule for plot in PLOTS if plot.id == "miner" for rule in plot.rules)
    centre.soc("rules", "hold", real, "--reason", "a test")
    assert wait_for(lambda: browser.get("/api/v1/health").json()["reasons"], 30)[0] == "1 rule(s) are held by somebody and judge nothing"
    assert 'data-status="warning"' in browser.get("/strip").text
    browser.cookies.set("soc_language", "vi")
    assert "bản trình diễn giữ lại: luật được giữ lại để bạn thấy" in browser.get("/rules", params={"text": "Demonstration:"}).text
    browser.cookies.set("soc_language", "en")

    # resumed, it sees what it has missed
    centre.soc("rules", "resume", STANDS_ASIDE)
    wait_for(lambda: (STANDS_ASIDE, fetched) in evidence(centre.data), 30, 0.5)
    wait_for(lambda: (now := coverage(centre, STANDS_ASIDE))["isolated"] is None and not now["gaps"], 30, 0.5)
    centre.soc("rules", "hold", STANDS_ASIDE, "--reason", "again")
    assert centre.json("demo", "remove", "--yes")[0]["rules"] == len(RULES)
    centre.settled()
    assert not any(traces(centre.data).values())
    assert centre.json("demo", "remove", "--yes")[0]["rules"] == 0
    assert coverage(centre, real)["isolated"]["kind"] == "held", "what others hold is nothing of the demonstration"
    assert centre.json("rules", "list", "--pack", "soc")
    assert centre.restarts() == {}


def test_killed_at_any_step_it_ends_the_same(centre: Any, wait_for: Any) -> None:
    centre.environment |= NO_LOGS

    centre.start("--demo")
    for table, where in (("imports", "1"), ("rules", "pack = 'soc'"), ("rules", f"pack = '{PACK}'"), ("rule_isolation", "1"),
                         ("import_files", "1"), ("ledger_gaps", "1"), ("alerts", "1"), ("ledger_closed", "1")):
        wait_for(lambda table=table, where=where: count(centre.data, table, where), 120, 0.02)
        centre.kill()
        centre.start("--demo")
    wait_for(lambda: told(centre.data), 180, 0.5)
    wait_for(lambda: coverage(centre, SAW_LATE)["filled"] and not coverage(centre, SAW_LATE)["gaps"], 60, 0.5)
    assert coverage(centre, SAW_LATE)["isolated"] is None
    assert coverage(centre, STANDS_ASIDE)["isolated"]["kind"] == "held"
    assert [(gap["first"], gap["last"]) for gap in coverage(centre, STANDS_ASIDE)["gaps"] if gap["lane"] == "bulk"] == [
        (0, centre.status()["lanes"]["bulk"]["judged"])]
    assert len(centre.json("alerts", "list", "--rule", SAW_LATE)) == 1
    assert centre.json("demo", "remove", "--yes")[0]["rules"] == len(RULES)


def test_a_removal_in_the_first_seconds_leaves_no_rule_behind(centre: Any, wait_for: Any) -> None:
    centre.environment |= NO_LOGS
    centre.start("--demo")
    wait_for(lambda: count(centre.data, "rules", "pack = 'soc'"), 60, 0.02)
    centre.soc("demo", "remove", "--yes")  # while the pack comes in
    assert centre.stop() == 0
    centre.up("--demo")
    wait_for(lambda: (centre.data / "run" / "demonstration.json").exists() and not any(traces(centre.data).values()), 30)
    assert centre.settled() == 0
    assert centre.stop() == 0
    assert not any(traces(centre.data).values())
    assert centre.json("alerts", "list") == []
    assert centre.soc("demo", "status", check=False).returncode == 1


def test_attacks_that_only_public_rules_find_are_found_once_these_come(centre: Any, wait_for: Any, tmp_path: Path, opened: ExitStack) -> None:
    public = Path(os.environ.get("SOC_TEST_DATA", "/nowhere")) / "sigma-rules.zip"
    if not public.exists():
        pytest.skip("needs the public rules: SOC_TEST_DATA/sigma-rules.zip")
    wanted = [rule for plot in PLOTS if plot.public for rule in plot.rules]
    few = tmp_path / "few.zip"
    with zipfile.ZipFile(public) as all_, zipfile.ZipFile(few, "w") as some:
        for name in all_.namelist():
            if name.endswith(".yml") and any(rule.encode() in (data := all_.read(name)) for rule in wanted):
                some.writestr(name, data)
    centre.environment |= NO_LOGS
    centre.up("--demo")
    wait_for(lambda: told(centre.data), 180, 0.5)
    status = {row["attack"]: row["found"] for row in centre.json("demo", "status")}
    assert status == {plot.id: "no: needs the public rules" if plot.public else "yes" for plot in PLOTS}
    browser = opened.enter_context(logged_in(centre))
    assert f"Of the {len(PLOTS)} attacks planted in the demonstration, {len(wanted)} are not seen without the public rules" in browser.get("/rulepacks").text
    centre.soc("rules", "import", str(few))
    assert "not seen without" not in (page := browser.get("/rulepacks").text)
    assert "played anew" in page
    centre.kill()  # what is to be played anew is not forgotten with the process
    centre.up("--demo")
    status = wait_for(lambda: (now := {row["attack"]: row["found"] for row in centre.json("demo", "status")}) and "no" not in
                      {word[:2] for word in now.values()} and now, 150, 2)
    assert status == {plot.id: "yes, played anew" if plot.public else "yes" for plot in PLOTS}
    planted = browser.get("/api/v1/demonstration").json()["planted"]
    assert {one["id"]: (one["anew"], bool(one["alerts"])) for one in planted} == {plot.id: (plot.public, True) for plot in PLOTS}
    assert "played anew" not in browser.get("/rulepacks").text
