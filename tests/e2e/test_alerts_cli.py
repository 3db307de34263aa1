"""`soc alerts` as people run it."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alerts.pipeline import AlertPipeline
from soc.database import STATE, Database, sqlite_url
from soc.detect.match import Atom, Match
from soc.event import Lane, Origin, Position

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = 1_700_000_000_000_000


@pytest.fixture
def soc(tmp_path):
    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "soc.cli", "--data", str(tmp_path / "data"), *words], capture_output=True, text=True,
            cwd=tmp_path, timeout=60, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
        assert done.returncode == code, done.stderr
        return done
    return run


@pytest.fixture
def raised(soc, tmp_path):
    assert json.loads(soc("alerts", "list", "--json").stdout) == []
    database = Database.open(sqlite_url(tmp_path / "data" / "state.db"), STATE)
    matches = [
        Match(rule_id=f"r{n % 2}", rule_version="v", title="<b>Title</b> [red]", level=("high", "low")[n % 2], tags=(),
              event_id=f"{n:012x}-00000000000000aa-{n:x}", event_time=BASE + n, event={"host.name": f"pc{n}"},
              position=Position(Lane.BULK, n), agency="north", origin=Origin.IMPORT, import_id="i1", entity=f"pc{n}",
              entity_kind="host", atoms=(Atom("Image", "endswith", "\\cmd.exe"),))
        for n in range(4)
    ]
    with database.write() as connection:
        AlertPipeline().deliver(connection, matches, BASE)
    database.close()


def test_alerts_are_listed_with_filters_and_limit(soc, raised):
    alerts = json.loads(soc("alerts", "list", "--json").stdout)
    assert [a["entity"] for a in alerts] == ["pc3", "pc2", "pc1", "pc0"]
    assert set(alerts[0]) >= {"id", "rule_id", "agency", "entity", "first_seen", "last_seen", "count", "title", "level", "state",
                              "origin", "import_id"}
    assert alerts[3]["first_seen"] == "2023-11-14T22:13:20Z"
    assert len(json.loads(soc("alerts", "list", "--json", "--limit", "1").stdout)) == 1
    for words, count in ((("--rule", "r1"), 2), (("--level", "high"), 2), (("--import", "i1"), 4), (("--origin", "live"), 0),
                         (("--entity", "pc0"), 1), (("--agency", "south"), 0), (("--state", "new"), 4),
                         (("--state", "closed"), 0)):
        assert len(json.loads(soc("alerts", "list", "--json", *words).stdout)) == count, words
    assert "<b>Title</b> [red]" in soc("alerts", "list").stdout


def test_an_alert_is_shown_and_closed_once(soc, raised):
    name = json.loads(soc("alerts", "list", "--json").stdout)[0]["id"]
    soc("alerts", "close", name, "--disposition", "false_positive", "--reason", "known tool")
    again = soc("alerts", "close", name, "--disposition", "benign", "--reason", "x", code=1)
    assert "cannot become closed" in again.stderr
    (alert,) = json.loads(soc("alerts", "show", name, "--json").stdout)
    assert (alert["state"], alert["disposition"], alert["reason"]) == ("closed", "false_positive", "known tool")
    assert [entry["action"] for entry in alert["history"]] == ["transition"]
    assert alert["evidence"][0]["event"] == {"host.name": "pc3"}
    assert "\\cmd.exe" in soc("alerts", "show", name).stdout


def test_a_closed_alert_is_reopened_as_the_error_says(soc, raised):
    name = json.loads(soc("alerts", "list", "--json").stdout)[0]["id"]
    assert "cannot become reopened" in soc("alerts", "reopen", name, code=1).stderr
    soc("alerts", "close", name, "--disposition", "false_positive", "--reason", "known tool")
    assert "soc alerts reopen" in soc("alerts", "close", name, "--disposition", "benign", "--reason", "x", code=1).stderr
    assert f"Reopened {name}." in soc("alerts", "reopen", name, "--reason", "it came back").stderr
    (alert,) = json.loads(soc("alerts", "show", name, "--json").stdout)
    assert (alert["state"], alert["disposition"], alert["reason"]) == ("reopened", "", "")
    assert [entry["action"] for entry in alert["history"]] == ["transition", "transition", "comment"]
    assert "no alert" in soc("alerts", "reopen", "nonsense", code=1).stderr


def test_what_is_wrong_is_said(soc, raised):
    assert "no alert" in soc("alerts", "show", "nonsense", code=1).stderr
    soc("alerts", "list", "--state", "asleep", code=2)
    soc("alerts", "close", "x", "--disposition", "odd", "--reason", "x", code=2)
