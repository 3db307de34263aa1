"""A replayed day judged under random kill -9 of the detector, while a rule fails and its gap is filled: the same alerts, to the event.

25 kills here, of two detectors that share the cuts a third of that; SOC_TEST_DETECTOR_KILLS says how many.
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


class Replay:
    """Events of a file as frames of `CUT` records."""

    def __init__(self, path: Path, records: int) -> None:
        self.records = records
        with zstandard.open(path, "rb") as packed:
            self.lines = io.BufferedReader(packed).readlines()[:records]  # type: ignore[arg-type]

    def read(self, lane: Lane, cursor: int, max_records: int, max_bytes: int) -> Sequence[ReadFrame]:
        if lane is not Lane.LIVE or cursor >= self.records:
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


def detector(centre: Centre, data: Path, log: Path, name: str = "detector", of: int = 1) -> subprocess.Popen[bytes]:
    with open(log, "ab") as out:
        return subprocess.Popen([sys.executable, "-m", "soc.app", name, "--data", str(data)], env=centre.environment | {"SOC_DETECTOR__PROCESSES": str(of)},
                                stdout=out, stderr=out, stdin=subprocess.DEVNULL)


class Pair:
    """As many detectors as are asked for, of which some are killed and all are started again."""

    def __init__(self, centre: Centre, log: Path, of: int) -> None:
        self.centre, self.log, self.of = centre, log, of
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name in ("detector", "detector-2")[: self.of]:
            if name not in self.running:
                self.running[name] = detector(self.centre, self.centre.data, self.log, name, self.of)

    def kill(self, chance: random.Random) -> None:
        """kill -9 of one, or of all."""
        for name in chance.choice([[name] for name in self.running] + [[*self.running]]):
            gone = self.running.pop(name)
            assert gone.poll() is None, self.log.read_text()
            gone.send_signal(signal.SIGKILL)
            gone.wait()

    def stop(self) -> None:
        for one in self.running.values():
            one.terminate()
        assert [one.wait(20) for one in self.running.values()] == [0] * self.of


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("detectors", [1, 2])
def test_random_kills_of_the_detector_leave_the_same_alerts(test_data: Path, wait_for: Callable[..., Any], tmp_path: Path, detectors: int) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    centre = Centre(tmp_path, {
        "PYTHONPATH": os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")]), "SOC_TEST_FAULTS": str(faults), "SOC_TEST_MARK": ""})
    centre.soc("rules", "import", str(test_data / "sigma-rules.zip"))
    kills = KILLS // (3 if detectors > 1 else 1)
    records = kills * 40 * CUT
    pair = Pair(centre, tmp_path / "killed.log", detectors)
    try:
        _normalise(centre.data, Replay(test_data / "windows-events.jsonl.zst", records))
        whole = tmp_path / "whole"
        shutil.copytree(centre.data, whole)
        expected = _undisturbed(centre, whole, records, wait_for, tmp_path)
        guilty = Counter(rule_id for rule_id, _ in expected.matches).most_common(1)[0][0]
        (faults / "throw").write_text(guilty)
        chance = random.Random(int(os.environ.get("SOC_TEST_SEED", "1")))
        working = 0
        for kill in range(kills):
            if kill == kills // 2:
                (faults / "throw").unlink()
            pair.start()
            before = ledger(centre.data)
            if chance.random() < 0.25:  # while it starts, perhaps
                time.sleep(chance.uniform(0.1, 1.5))
            else:
                until = time.monotonic() + 10
                while ledger(centre.data) == before and time.monotonic() < until:
                    time.sleep(0.02)
                time.sleep(chance.uniform(0.0, 0.6))
            pair.kill(chance)
            working += ledger(centre.data) != before
        judged, gaps, _ = ledger(centre.data)
        pair.start()
        wait_for(lambda: ledger(centre.data)[0] == records, 300, 0.5)
        rule(tmp_path / "more", "more", "never said")
        centre.soc("rules", "import", str(tmp_path / "more"))  # what stands aside is tried at once
        wait_for(lambda: ledger(centre.data) == (records, 0, 0), 200, 0.5)
        pair.stop()
        found = Outcome(centre.data)
        print(json.dumps({"records": records, "detectors": detectors, "kills": kills, "of them at work": working, "judged by the last kill": judged,
                          "gaps then": gaps, "alerts": len(found.alerts), "matches": len(found.matches), "of the rule that failed":
                          sum(1 for rule_id, _ in found.matches if rule_id == guilty)}))
        assert expected.alerts and found.matches == expected.matches
        assert found.alerts == expected.alerts
        assert working >= kills // 2, "most kills must meet work"
    finally:
        for one in pair.running.values():
            one.kill()
            one.wait()
        centre.kill()


def _undisturbed(centre: Centre, data: Path, records: int, wait_for: Callable[..., Any], tmp_path: Path) -> Outcome:
    running = detector(centre, data, tmp_path / "whole.log")
    try:
        began = time.monotonic()
        wait_for(lambda: running.poll() is not None or ledger(data)[0] == records, 60 + records / 50, 0.2)
        assert running.poll() is None, (tmp_path / "whole.log").read_text()
        print(json.dumps({"undisturbed s": round(time.monotonic() - began, 1)}))
    finally:
        running.terminate()
        running.wait(20)
    return Outcome(data)


def _normalise(data: Path, source: Replay) -> None:
    """A day's events as many small cuts: what the detector finds when it was slow, or down."""
    (data / "run").mkdir(exist_ok=True)
    manifest = Manifest.open(data)
    normaliser = Normaliser(data=data, disk=RealDisk(), manifest=manifest, source=source, parser=Parsers(),
                            centre=DataFolder.open(data).centre, limits=NormaliserLimits(live_records=CUT))
    while normaliser.step(lambda: int(time.time() * 1e6)):
        pass
    manifest.close()
