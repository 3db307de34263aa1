"""The watch: what a detector looks at is seen from outside, a hang is told from a slow machine, a verdict is taken once."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from soc.detect.isolation import HANGS, SUSPECT, Isolation
from soc.detect.ledger import Ledger
from soc.detect.watch import FILL, LIVE, TRIAL, Evaluation, Guard, Watch, read_watch, take_verdict
from tests.detector_under_test import SECOND, Parts, Rules, Sink

HANGING = """
import sys, time
from pathlib import Path
from soc.detect.watch import Watch
with Watch(Path(sys.argv[1]), "detector").evaluating("live", "live", 3, 9, None, float(sys.argv[2])):
    while sys.argv[3] == "spin": pass
    time.sleep(60)
"""


@pytest.mark.parametrize("rules", [None, ("a", "b"), tuple(f"rule-{n:032}" for n in range(1000))])
def test_an_evaluation_is_seen_while_it_lasts(tmp_path: Path, rules: tuple[str, ...] | None) -> None:
    watch = Watch(tmp_path, "detector")
    assert read_watch(tmp_path, "detector") is None
    with watch.evaluating(LIVE, "bulk", 3, 9, rules, 2.5):
        found = read_watch(tmp_path, "detector")
        assert found is not None and (found.kind, found.lane, found.first, found.last, found.limit) == (LIVE, "bulk", 3, 9, 2.5)
        assert found.pid == os.getpid() and found.began <= time.monotonic()
        assert found.rules == rules or (found.rules is None and len(rules or ()) == 1000), "too many to name are all"
    assert read_watch(tmp_path, "detector") is None


def test_a_slow_machine_is_no_hang_until_it_takes_much_too_long() -> None:
    one = Evaluation(LIVE, "live", 0, 1, None, began=100.0, limit=3.0, cpu=7.0)
    assert not one.overrun(102.9, 99.0)
    assert one.overrun(103.0, 9.5), "it had the CPU"
    assert not one.overrun(103.0, 7.1), "it had none"
    assert one.overrun(109.0, 7.1)


@pytest.mark.parametrize("how", ["spin", "sleep"])
def test_F71_a_hang_is_noticed_and_only_that_of_the_process_asked_about(tmp_path: Path, how: str) -> None:
    guard = Guard(tmp_path, "detector")
    process = subprocess.Popen([sys.executable, "-c", HANGING, str(tmp_path), "0.5", how])
    try:
        began = time.monotonic()
        while not (why := guard.overrun(process.pid)):
            assert time.monotonic() - began < 20
            time.sleep(0.05)
        assert "live/3-9" in why
        assert guard.overrun(process.pid + 1) == "", "a note of a process before is none of this one's"
    finally:
        process.kill()
        process.wait()
    verdict = take_verdict(tmp_path, "detector")
    assert verdict is not None and (verdict.kind, verdict.first, verdict.last, verdict.rules) == (LIVE, 3, 9, None)
    assert take_verdict(tmp_path, "detector") is None


def test_a_crash_over_an_evaluation_is_a_verdict_and_a_kill_only_the_third_time(tmp_path: Path) -> None:
    guard, watch = Guard(tmp_path, "detector"), Watch(tmp_path, "detector")
    assert not guard.ended(-signal.SIGSEGV), "nothing was evaluated"
    with watch.evaluating(LIVE, "live", 0, 5, None, 3.0):
        assert [guard.ended(code) for code in (-signal.SIGKILL, -signal.SIGKILL, -signal.SIGTERM, 0, -signal.SIGKILL, -signal.SIGKILL)] == [False] * 6
        assert take_verdict(tmp_path, "detector") is None
        assert guard.ended(-signal.SIGKILL)
        assert take_verdict(tmp_path, "detector") is not None
        assert guard.ended(-signal.SIGSEGV)
    found = take_verdict(tmp_path, "detector")
    assert found is not None and (found.first, found.last) == (0, 5)


def test_F71_a_rule_that_hung_alone_stands_aside_and_the_others_go_on(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    verdict = Evaluation(LIVE, "live", 0, 10, ("slow",), limit=3.0)
    judge = parts.detector(Rules("a", "slow"), sink, verdict=verdict)
    for _ in range(5):
        judge.step(parts.clock)
    assert sink.of("a") == list(range(50)) and sink.of("slow") == []
    assert Isolation(parts.state).all()["slow"].kind == HANGS
    parts.now += 31 * SECOND
    parts.run(judge)
    assert sink.of("slow") == list(range(100)) == sink.of("a")


def test_F71_suspects_are_let_go_as_soon_as_the_others_have_judged_what_they_were_suspected_at(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    judge = parts.detector(Rules("a", "b", "c"), sink, verdict=Evaluation(LIVE, "live", 0, 10, ("b", "c"), limit=1.5))
    judge.step(parts.clock)
    assert {one.kind for one in Isolation(parts.state).all().values()} == {SUSPECT}
    for _ in range(3):
        judge.step(parts.clock)
    assert judge.isolated == {} or Isolation(parts.state).all() == {}
    parts.run(judge)
    assert all(sink.of(rule) == list(range(100)) for rule in "abc")


def test_F71_after_a_hang_of_all_rules_the_cut_is_looked_at_in_groups_that_are_named_where_none_is_found_guilty(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    (tmp_path / "w").mkdir()
    named: list[tuple[str, ...] | None] = []

    class Noting(Watch):
        def evaluating(self, kind, lane, first, last, rules, limit):  # type: ignore[no-untyped-def]
            named.append(None if rules is None else tuple(rules))
            return super().evaluating(kind, lane, first, last, rules, limit)

    names = [f"r{n:03}" for n in range(120)]
    judge = parts.detector(Rules(*names), sink, verdict=Evaluation(LIVE, "live", 0, 10, None), watch=Noting(tmp_path / "w", "d"))
    parts.run(judge)
    assert [len(one or ()) for one in named[:3]] == [50, 50, 20] and set(named[3:]) == {None}
    assert all(sink.of(name) == list(range(100)) for name in names)


@pytest.mark.parametrize("kind", [TRIAL, FILL])
def test_F71_a_hang_in_a_trial_or_a_gap_makes_it_wait_longer(tmp_path: Path, kind: str) -> None:
    from tests.detector_under_test import Faults

    parts, sink = Parts(tmp_path), Sink()
    parts.run(parts.detector(Rules("a", "bad"), sink, Faults(bad=None)))
    judge = parts.detector(Rules("a", "bad"), sink, verdict=Evaluation(kind, "live", 0, 100, ("bad",), limit=1.0))
    parts.run(judge)
    if kind == TRIAL:
        [one] = Isolation(parts.state).all().values()
        assert one.kind == HANGS and one.attempts == 2 and one.due == parts.now + 60 * SECOND
    else:
        [gap] = Ledger(parts.state).gaps("bad")
        assert gap.attempts == 1 and "did not finish" in gap.error and gap.due > parts.now
