"""F75, F77 at a running centre: several detectors at once, and a correlation of which one half comes before a restart."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Centre

RULE = """title: Failed
name: failed
id: {0}
level: low
logsource: {{product: linux, service: sshd}}
detection:
  selection: ['alpha']
  condition: selection
"""
MANY = """title: Many failed
id: {1}
level: high
correlation:
  type: event_count
  rules: [failed]
  group-by: [host.name]
  timespan: 10m
  condition: {{gte: 10}}
  generate: true
"""
FAILED, OFTEN = (str(uuid.uuid5(uuid.NAMESPACE_URL, name)) for name in ("failed", "often"))


def prepared(centre: Any, folder: Path) -> str:
    """The rules imported; the token of a source."""
    folder.mkdir()
    (folder / "failed.yml").write_text((RULE + "---\n" + MANY).format(FAILED, OFTEN))
    centre.soc("rules", "import", str(folder))
    return str(centre.source("agent", "--format", "syslog", "--timezone", "UTC"))


def lines(count: int, host: str, first: int = 0) -> bytes:
    stamp = time.strftime("%b %d %H:%M:%S", time.gmtime())
    return b"".join(f"<38>{stamp} {host} sshd[7]: alpha {first + n}\n".encode() for n in range(count))


def counts(centre: Any, rule: str) -> dict[str, int]:
    """Entity -> matches in the alerts of a rule."""
    found: dict[str, int] = {}
    for alert in centre.json("alerts", "list", "--limit", "1000", "--rule", rule):
        found[alert["entity"]] = found.get(alert["entity"], 0) + alert["count"]
    return found


def test_F77_a_count_goes_on_over_a_stop_and_over_a_kill(centre: Any, tmp_path: Path) -> None:
    token = prepared(centre, tmp_path / "rules")
    centre.up()
    for host in ("stopped", "killed", "few"):
        assert centre.send(token, lines(5, host))[0] == 200
    centre.settled()
    assert counts(centre, OFTEN) == {}
    assert centre.stop() == 0
    centre.up()
    assert centre.send(token, lines(5, "stopped", 5))[0] == 200
    assert centre.send(token, lines(3, "killed", 5))[0] == 200
    centre.settled()
    assert len(counts(centre, OFTEN)) == 1
    centre.kill()
    centre.up()
    assert centre.send(token, lines(2, "killed", 8))[0] == 200
    centre.settled()
    assert len(counts(centre, OFTEN)) == 2
    assert sum(counts(centre, FAILED).values()) == 25
    assert centre.stop() == 0


def test_F75_several_detectors_share_the_cuts_and_go_on_when_one_is_killed(wait_for: Callable[..., Any], tmp_path: Path) -> None:
    centre = Centre(tmp_path, {"SOC_DETECTOR__PROCESSES": "3", "SOC_NORMALISER__CUT_RECORDS": "100", "SOC_DETECTOR__POLL": "50ms"})
    names = ("detector", "detector-2", "detector-3")
    worked: dict[str, int] = {}

    def heard() -> None:
        for name in names:
            with suppress(OSError, ValueError):
                worked[name] = max(worked.get(name, 0), json.loads((centre.data / "run" / f"{name}.json").read_text())["events"])

    try:
        token = prepared(centre, tmp_path / "rules")
        centre.up()
        wait_for(lambda: {*names} <= {*centre.pids()})
        for turn in range(40):
            assert centre.send(token, lines(100, f"host{turn % 3}", turn * 100))[0] == 200
            if turn % 5 == 4:
                with suppress(ProcessLookupError, KeyError):
                    os.kill(centre.pids()[names[turn // 5 % 3]], signal.SIGKILL)
            heard()
        centre.settled(60)
        wait_for(lambda: heard() or len(worked) == 3, 10)
        print(json.dumps({"events judged by": worked, "restarts": centre.restarts()}))
        assert sum(counts(centre, FAILED).values()) == 4_000
        assert len(centre.json("alerts", "list", "--rule", FAILED)) == 3
        assert len(centre.json("alerts", "list", "--rule", OFTEN)) == 3
        view = centre.json("rules", "show", FAILED)[0]["coverage"]
        assert view["gaps"] == [] and [(one["first"], one["last"]) for one in view["seen"]] == [(0, 4_000)]
        assert sum(events > 0 for events in worked.values()) >= 2, "no one detector has done it all"
        assert {*centre.restarts()} <= {*names}
        os.kill(centre.pids()["detector"], signal.SIGSTOP)  # it lives, but does nothing more: it may be in the middle of a cut
        assert centre.send(token, lines(1_000, "host1", 4_000))[0] == 200
        wait_for(lambda: sum(counts(centre, FAILED).values()) >= 4_900, 20)
        os.kill(centre.pids()["detector"], signal.SIGCONT)
        centre.settled(60)
        assert sum(counts(centre, FAILED).values()) == 5_000
        assert centre.stop() == 0
    finally:
        centre.kill()


def test_F75_two_detectors_judge_every_event_once(centre: Any, wait_for: Callable[..., Any], tmp_path: Path) -> None:
    token = prepared(centre, tmp_path / "rules")
    centre.up()
    wait_for(lambda: "detector" in centre.pids())
    with open(tmp_path / "second.log", "wb") as log:
        second = subprocess.Popen([sys.executable, "-m", "soc.app", "detector", "--data", str(centre.data)],
                                  env=centre.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            for turn in range(30):
                assert centre.send(token, lines(100, f"host{turn % 3}", turn * 100))[0] == 200
                if turn == 15:
                    os.kill(centre.pids()["detector"], signal.SIGKILL)
                time.sleep(0.2)
            centre.settled(60)
            assert second.poll() is None, (tmp_path / "second.log").read_text()
        finally:
            second.terminate()
            second.wait(20)
    assert sum(counts(centre, FAILED).values()) == 3_000
    assert len(centre.json("alerts", "list", "--rule", FAILED)) == 3
    assert len(centre.json("alerts", "list", "--rule", OFTEN)) == 3
    assert centre.json("rules", "show", FAILED)[0]["coverage"]["gaps"] == []
    assert set(centre.restarts()) <= {"detector"}
    assert centre.stop() == 0
