"""The probe: what hangs or crashes is found in a copy of the process, and the process itself goes on."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from soc.detect.isolation import HANGS, Isolation
from soc.detect.ledger import Ledger
from soc.detect.probe import unfinished
from soc.detect.watch import LIVE, Evaluation
from tests.detector_under_test import SECOND, Engine, Faults, Parts, Rules, Sink


def spin() -> None:
    while True:
        pass


def until(so: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not so():
        assert time.monotonic() - began < 20
        time.sleep(0.05)


def children() -> set[str]:
    """The processes that this one has started."""
    return {*Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def throw() -> None:
    raise ZeroDivisionError


FATES: dict[str, Callable[[], None]] = {"well": lambda: None, "throws": throw, "spins": spin, "sleeps": lambda: time.sleep(60), "crashes": os.abort}


@pytest.mark.parametrize(("fates", "found"), [
    ("", []), ("well", []), ("throws well", []), ("well spins well", [1]), ("crashes", [0]), ("well sleeps throws crashes spins well", [1, 3, 4]),
    ("crashes " * 20, list(range(8)))])
def test_F71_what_hangs_or_crashes_is_found_and_what_throws_is_not(fates: str, found: list[int]) -> None:
    names, before = fates.split(), children()
    assert unfinished(len(names), lambda number: FATES[names[number]](), 0.2) == found
    assert children() <= before, "no copy is left, dead or alive"


def test_a_copy_dies_with_the_process_that_made_it(tmp_path: Path) -> None:
    program = ("import os, sys, time\nfrom pathlib import Path\nfrom soc.detect.probe import unfinished\n"
               "def attempt(number):\n    Path(sys.argv[1]).write_text(str(os.getpid()))\n    time.sleep(600)\nunfinished(1, attempt, 300.0)\n")
    maker = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "pid")])
    try:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    finally:
        maker.send_signal(signal.SIGKILL)
        maker.wait()
    until(lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists())


class Hanging(Faults):
    """Rules that hang at every event."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = {*names}

    def engine(self, rules: Any, previous: Any = None) -> Engine:
        made = Engine(rules, self)
        matching = made.match

        def match(batch: Any) -> list[Any]:
            if self.names & {rule.rule_id for rule in made.rules}:
                spin()
            return matching(batch)

        made.match = match  # type: ignore[method-assign]
        return made


@pytest.mark.parametrize("count", [2, 30, 500])
def test_F71_after_a_hang_the_guilty_rule_alone_stands_aside_in_one_process(tmp_path: Path, count: int) -> None:
    parts, sink = Parts(tmp_path), Sink()
    names = [f"r{n:03}" for n in range(count)]
    bad, faults = names[count // 3], Hanging(names[count // 3])
    judge = parts.detector(Rules(*names), sink, faults, verdict=Evaluation(LIVE, "live", 0, 10, None))
    began = time.monotonic()
    judge.step(parts.clock)
    took = time.monotonic() - began
    suspects = Isolation(parts.state).all()
    assert bad in suspects and len(suspects) <= -(-count // 32)
    assert all(sink.of(name) == list(range(10)) for name in names if name not in suspects), "the others have judged it"
    assert took < 5, "a second for the group that hangs"
    parts.run(judge)
    assert [(one.rule_id, one.kind) for one in Isolation(parts.state).all().values()] == [(bad, HANGS)]
    assert all(sink.of(name) == list(range(100)) for name in names if name != bad) and sink.of(bad) == []
    for trial in (2, 3):
        parts.now += 3600 * SECOND
        parts.run(judge)
        assert Isolation(parts.state).all()[bad].attempts == trial, "tried again, and again in a copy"
    faults.names.clear()
    parts.now += 3600 * SECOND
    parts.run(judge)
    assert sink.of(bad) == list(range(100)) and Ledger(parts.state).gaps() == [] and judge.isolated == {}


def test_F71_two_rules_that_hang_are_both_found(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    names = [f"r{n:03}" for n in range(100)]
    judge = parts.detector(Rules(*names), sink, Hanging("r005", "r093"), verdict=Evaluation(LIVE, "live", 0, 10, None))
    parts.run(judge)
    assert {one.rule_id for one in Isolation(parts.state).all().values()} == {"r005", "r093"}
    assert all(sink.of(name) == list(range(100)) for name in {*names} - {"r005", "r093"})
