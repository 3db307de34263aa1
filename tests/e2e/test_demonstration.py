"""`soc serve --demo` on an empty folder: every planted attack is found by its rules, nothing else is, and all of it can be taken away."""
from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from alerts.store import AlertStore
from soc.database import STATE, Database, sqlite_url
from soc.demo.line import AGENCIES
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


def test_each_attack_is_found_no_twin_is_and_all_of_it_goes(centre: Any, wait_for: Any, tmp_path: Path) -> None:
    public = Path(os.environ.get("SOC_TEST_DATA", "/nowhere")) / "sigma-rules.zip"
    if public.exists():
        centre.soc("rules", "import", str(public))
    centre.environment |= {"SOC_MACHINE__JOURNAL": "false", "SOC_MACHINE__FILES": ""}
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
    centre.settled()
    assert centre.count() == 1
    assert [alert["origin"] for alert in centre.json("alerts", "list")] == ["import"]
    assert centre.json("deadletters", "list") == []
    assert [agency["id"] for agency in centre.json("agency", "list")] == ["unassigned"]
    assert centre.stop() == 0
    centre.up("--demo")  # it does not come back
    assert centre.count() == 1
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
