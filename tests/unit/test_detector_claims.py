"""Claims: two processes never hold the same positions, and what a killed one held is free at once."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from soc.detect.claims import Claims
from soc.event import Lane
from tests.detector_under_test import Frames, Parts, Rules, Sink

HOLDER = """
import sys
from pathlib import Path
from soc.detect.claims import Claims
from soc.event import Lane
claims = Claims(Path(sys.argv[1]))
assert claims.take(Lane.LIVE, 0, 10) and claims.fills()
print("held", flush=True)
sys.stdin.readline()
claims.release()
print("released", flush=True)
sys.stdin.readline()
"""


class Holder:
    """Another detector, which holds the first cut of the live lane, and fills."""

    def __init__(self, run: Path) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", HOLDER, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "held\n"

    def release(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "released\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_F75_what_another_holds_is_not_to_be_had_until_it_lets_go_or_is_killed(tmp_path: Path) -> None:
    holder, claims = Holder(tmp_path), Claims(tmp_path)
    try:
        assert not claims.take(Lane.LIVE, 0, 10) and not claims.take(Lane.LIVE, 9, 20)
        assert claims.take(Lane.BULK, 0, 10) and claims.take(Lane.LIVE, 10, 1 << 60)
        assert not claims.fills()
        holder.release()
        assert claims.take(Lane.LIVE, 0, 10)
        assert not claims.fills(), "filling is for as long as it lives"
    finally:
        holder.kill()
    assert claims.fills() and claims.fills()


def test_F75_a_detector_goes_round_what_another_looks_at_and_takes_it_over_when_that_is_killed(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path, Frames(live=50, bulk=20)), Sink()
    holder = Holder(tmp_path / "run")
    judge = parts.detector(Rules("a"), sink, claims=Claims(tmp_path / "run"))
    try:
        for _ in range(8):
            judge.step(parts.clock)
        assert sorted(m.position.sequence for m in sink.matches if m.position.lane is Lane.LIVE) == list(range(10, 50))
        assert sink.matches[0].position.lane is Lane.LIVE and sum(m.position.lane is Lane.BULK for m in sink.matches) == 20
        assert judge.step(parts.clock) == 0
    finally:
        holder.kill()
    parts.run(judge)
    assert sorted(m.position.sequence for m in sink.matches if m.position.lane is Lane.LIVE) == list(range(50))
    alone = parts.detector(Rules("a"), sink)
    assert parts.run(alone) == 0, "one alone goes on where several stood"


def test_F75_one_detector_after_several_goes_round_what_they_have_judged_ahead(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path, Frames(live=50)), Sink()
    holder = Holder(tmp_path / "run")
    try:
        judge = parts.detector(Rules("a"), sink, claims=Claims(tmp_path / "run"))
        for _ in range(3):
            judge.step(parts.clock)
    finally:
        holder.kill()
    assert sink.of("a") == list(range(10, 40))
    parts.run(parts.detector(Rules("a"), sink))
    assert sink.of("a") == list(range(50))
