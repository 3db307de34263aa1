"""A replayed day judged under random kill -9 of the detector, while a rule fails and its gap is filled: the same alerts, to the event.

25 kills here; SOC_TEST_DETECTOR_KILLS says how many.
"""
from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard

from soc.event import FrameContext, Lane
from soc.folder import DataFolder
from soc.normalise.loop import Normaliser, NormaliserLimits, ReadFrame
from soc.normalise.records import Parsers
from soc.store.disk import RealDisk
from soc.store.manifest import Manifest
from tests.e2e.conftest import Centre
from tests.e2e.test_ledger import FAULTS, rule

KILLS = int(os.environ.get("SOC_TEST_DETECTOR_KILLS", "25"))
CUT = 4
RECORDS = KILLS * 80 * CUT


class Replay:
    """Events of a file as frames of `CUT` records."""

    def __init__(self, path: Path) -> None:
        with zstandard.open(path, "rb") as packed:
            self.lines = io.BufferedReader(packed).readlines()[:RECORDS]  # type: ignore[arg-type]

    def read(self, lane: Lane, cursor: int, max_records: int, max_bytes: int) -> Sequence[ReadFrame]:
        if lane is not Lane.LIVE or cursor >= RECORDS:
            return []
        now = int(time.time() * 1e6)
        some = [self.lines[(cursor + n) % len(self.lines)].rstrip() for n in range(CUT)]
        return [ReadFrame(cursor, FrameContext("windows", "replay", cursor, CUT, now, now, format="windows"), some)]


class Outcome:
    """What detection left in a state database: alerts and the matches behind them, without the times of judging."""

    def __init__(self, data: Path) -> None:
        with closing(sqlite3.connect(data / "state.db", timeout=20)) as state:
            self.alerts = state.execute(
                "SELECT rule_id, rule_version, agency, entity, origin, first_seen, first_event, last_seen, last_event, count, key FROM alerts"
                " ORDER BY rule_id, key, first_event").fetchall()
            self.matches = state.execute("SELECT rule_id, event_id FROM alert_matches ORDER BY rule_id, event_id").fetchall()


def ledger(data: Path) -> tuple[int, int, int]:
    """(positions judged, gaps, rules that stand aside)."""
    with closing(sqlite3.connect(data / "state.db", timeout=20)) as state:
        [judged] = state.execute("SELECT COALESCE(SUM(sequence), 0) FROM cursors").fetchone()
        [gaps] = state.execute("SELECT COUNT(*) FROM ledger_gaps").fetchone()
        [aside] = state.execute("SELECT COUNT(*) FROM rule_isolation WHERE kind <> 'well'").fetchone()
    return int(judged), int(gaps), int(aside)


def detector(centre: Centre, data: Path, log: Path) -> subprocess.Popen[bytes]:
    with open(log, "ab") as out:
        return subprocess.Popen([sys.executable, "-m", "soc.app", "detector", "--data", str(data)], env=centre.environment,
                                stdout=out, stderr=out, stdin=subprocess.DEVNULL)


@pytest.mark.timeout(1200)
def test_random_kills_of_the_detector_leave_the_same_alerts(test_data: Path, wait_for: Callable[..., Any], tmp_path: Path) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    centre = Centre(tmp_path, {
        "PYTHONPATH": os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")]), "SOC_TEST_FAULTS": str(faults), "SOC_TEST_MARK": ""})
    centre.soc("rules", "import", str(test_data / "sigma-rules.zip"))
    try:
        _normalise(centre.data, test_data / "windows-events.jsonl.zst")
        whole = tmp_path / "whole"
        shutil.copytree(centre.data, whole)
        expected = _undisturbed(centre, whole, wait_for, tmp_path)
        guilty = Counter(rule_id for rule_id, _ in expected.matches).most_common(1)[0][0]
        (faults / "throw").write_text(guilty)
        chance = random.Random(int(os.environ.get("SOC_TEST_SEED", "1")))
        working = 0
        for kill in range(KILLS):
            if kill == KILLS // 2:
                (faults / "throw").unlink()
            running = detector(centre, centre.data, tmp_path / "killed.log")
            before = ledger(centre.data)
            time.sleep(chance.uniform(0.4, 1.4))
            running.send_signal(signal.SIGKILL)
            running.wait()
            working += ledger(centre.data) != before
        judged, gaps, _ = ledger(centre.data)
        running = detector(centre, centre.data, tmp_path / "killed.log")
        wait_for(lambda: ledger(centre.data)[0] == RECORDS, 200, 0.5)
        rule(tmp_path / "more", "more", "never said")
        centre.soc("rules", "import", str(tmp_path / "more"))  # what stands aside is tried at once
        wait_for(lambda: ledger(centre.data) == (RECORDS, 0, 0), 200, 0.5)
        running.terminate()
        assert running.wait(20) == 0
        found = Outcome(centre.data)
        print(json.dumps({"records": RECORDS, "kills": KILLS, "of them at work": working, "judged by the last kill": judged, "gaps then": gaps,
                          "alerts": len(found.alerts), "matches": len(found.matches), "of the rule that failed":
                          sum(1 for rule_id, _ in found.matches if rule_id == guilty)}))
        assert expected.alerts and found.matches == expected.matches
        assert found.alerts == expected.alerts
        assert working >= KILLS // 3, "most kills must meet work"
    finally:
        centre.kill()


def _undisturbed(centre: Centre, data: Path, wait_for: Callable[..., Any], tmp_path: Path) -> Outcome:
    running = detector(centre, data, tmp_path / "whole.log")
    try:
        began = time.monotonic()
        wait_for(lambda: running.poll() is not None or ledger(data)[0] == RECORDS, 60 + RECORDS / 200, 0.2)
        assert running.poll() is None, (tmp_path / "whole.log").read_text()
        print(json.dumps({"undisturbed s": round(time.monotonic() - began, 1)}))
    finally:
        running.terminate()
        running.wait(20)
    return Outcome(data)


def _normalise(data: Path, events: Path) -> None:
    """A day's events as many small cuts: what the detector finds when it was slow, or down."""
    (data / "run").mkdir(exist_ok=True)
    manifest = Manifest.open(data)
    normaliser = Normaliser(data=data, disk=RealDisk(), manifest=manifest, source=Replay(events), parser=Parsers(),
                            centre=DataFolder.open(data).centre, limits=NormaliserLimits(live_records=CUT))
    while normaliser.step(lambda: int(time.time() * 1e6)):
        pass
    manifest.close()
