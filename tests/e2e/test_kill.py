"""Kill -9 of any process at random points of ingest and detection: nothing lost, nothing doubled, the same alerts.

60 kills here; `make soak` sets SOC_TEST_KILLS=1000.
"""
from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

KILLS = int(os.environ.get("SOC_TEST_KILLS", "60"))
HOSTS, BATCH = 7, 50

RULE_FAILED = """
title: Failed password
id: 0f1d2c3b-0000-4000-8000-000000000001
status: test
description: An sshd login that failed.
logsource: {product: linux, service: sshd}
detection:
  selection:
    - 'Failed password'
  condition: selection
level: low
"""
RULE_ROOT = """
title: Root session
id: 0f1d2c3b-0000-4000-8000-000000000002
status: test
description: An sshd login as root that succeeded.
logsource: {product: linux, service: sshd}
detection:
  selection:
    - 'Accepted password for root'
  condition: selection
level: high
"""


def line(n: int) -> bytes:
    stamp = time.strftime("%b %d %H:%M:%S", time.gmtime(1_790_000_000 + n // 40))
    what = (b"Accepted password for root from 10.0.0.9 port 22 ssh2" if n % 11 == 0 else
            b"Failed password for root from 10.0.0.%d port 22 ssh2" % (n % 200) if n % 5 == 0 else b"Connection closed by 10.0.0.1 number %d" % n)
    return b"<38>%s host%d sshd[%d]: %s" % (stamp.encode(), n % HOSTS, 1000 + n, what)


def expected(total: int) -> dict[tuple[str, str], int]:
    """(rule, host) -> matches: all lie within a day, so each is one alert."""
    found: dict[tuple[str, str], int] = {}
    for n in range(total):
        rule = "0f1d2c3b-0000-4000-8000-000000000002" if n % 11 == 0 else "0f1d2c3b-0000-4000-8000-000000000001" if n % 5 == 0 else ""
        if rule:
            key = (rule, f"host{n % HOSTS}")
            found[key] = found.get(key, 0) + 1
    return found


class Sender(threading.Thread):
    """An agent: numbered batches, each sent until it is acknowledged."""

    def __init__(self, centre: Any, token: str) -> None:
        super().__init__(daemon=True)
        self.centre, self.token = centre, token
        self.acknowledged = 0
        self.stopping = threading.Event()
        self.slowest = 0.0
        self.faults: list[str] = []

    def run(self) -> None:
        first = 0
        while not self.stopping.is_set():
            body = b"\n".join(line(n) for n in range(first, first + BATCH)) + b"\n"
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/x-ndjson", "Soc-Stream": "agent-1",
                       "Soc-Epoch": "0", "Soc-First": str(first), "Soc-Count": str(BATCH), "Soc-Read-At": "2026-09-22T00:00:00Z"}
            began = time.monotonic()
            while True:
                try:
                    status, answer = self.centre.post("/ingest/v1/batches", body, headers, timeout=5)
                except OSError:
                    time.sleep(0.03)
                    continue
                except Exception as fault:  # a connection cut in the middle of an answer
                    time.sleep(0.03)
                    self.faults.append(repr(fault))
                    continue
                if status == 200:
                    break
                if status not in (429, 503):
                    self.faults.append(f"{status} {answer}")
                    self.stopping.set()
                    return
                time.sleep(0.05)
            self.slowest = max(self.slowest, time.monotonic() - began)
            first += BATCH
            self.acknowledged = first
            time.sleep(0.02)


@pytest.mark.timeout(1200 if KILLS <= 100 else 14_400)
def test_no_kill_loses_doubles_or_changes_anything(centre: Any, wait_for: Any, tmp_path: Path) -> None:
    chance = random.Random(int(os.environ.get("SOC_TEST_SEED", "1")))
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "failed.yml").write_text(RULE_FAILED)
    (rules / "root.yml").write_text(RULE_ROOT)
    centre.soc("rules", "import", str(rules))
    token = centre.source("agent", "--format", "syslog", "--timezone", "UTC")
    centre.start()
    wait_for(lambda: centre.post("/ingest/v1/batches", b"", {})[0] in (400, 401, 411), 30)
    sender = Sender(centre, token)
    sender.start()
    kills = {"gateway": 0, "normaliser": 0, "detector": 0, "console": 0, "supervisor": 0}
    back: dict[str, float] = {"gateway": 0.0, "detector": 0.0}
    while sum(kills.values()) < KILLS:
        time.sleep(chance.uniform(0.05, 0.9))
        role = chance.choice(["gateway", "normaliser", "detector", "detector", "normaliser", "console", "supervisor"])
        killed = time.monotonic()
        if role == "supervisor":
            centre.kill()
            centre.start()
        else:
            pid = centre.pids().get(role)
            if pid is None:
                continue
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        kills[role] += 1
        if chance.random() < 0.2:  # let it come back now and then, and see how long that takes
            before = sender.acknowledged
            wait_for(lambda: sender.acknowledged > before, 20, 0.02)
            back["gateway"] = max(back["gateway"], time.monotonic() - killed)
        assert not sender.faults or "RemoteDisconnected" in sender.faults[-1] or "IncompleteRead" in sender.faults[-1] \
            or "BadStatus" in sender.faults[-1], sender.faults[-3:]
    sender.stopping.set()
    sender.join(30)
    total = sender.acknowledged
    assert total > 0
    stopped = time.monotonic()

    def judged() -> bool:
        live = centre.status()["lanes"]["live"]
        return bool(live["judged"] >= live["received"] >= total)

    wait_for(judged, 60, 0.5)
    back["detector"] = time.monotonic() - stopped
    assert int(centre.soc("events", "count").stdout.strip()) == total
    found = centre.json("events", "search", "--limit", str(total + 10)) if total < 20_000 else []
    if found:
        assert len({event["event.id"] for event in found}) == total
    alerts = centre.json("alerts", "list", "--limit", "1000")
    assert {(a["rule_id"], a["entity"]): a["count"] for a in alerts} == expected(total)
    assert len(alerts) == len(expected(total))
    assert centre.soc("store", "verify", check=False).returncode == 0
    print(json.dumps({"records": total, "kills": kills, "slowest acknowledgement s": round(sender.slowest, 2),
                      "acknowledging again s": round(back["gateway"], 2), "judged after s": round(back["detector"], 2)}))
    assert back["gateway"] <= (8.0 if KILLS <= 100 else 30.0)  # 3 s promised; beside other tests on two cores, and again and again
    assert centre.stop() == 0


def test_a_second_server_is_refused_with_a_clear_word(centre: Any, wait_for: Any) -> None:
    centre.start("--role", "gateway")
    wait_for(lambda: centre.pids(), 20)
    second = centre.soc("serve", check=False)
    assert second.returncode == 1
    assert "another server holds the data folder" in second.stderr
    assert centre.stop() == 0
