"""What people see and wait for while an import goes."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from soc.commands.import_ import wait_until_judged
from soc.commands.import_progress import Bar, Lines
from soc.ingest.imports import READ, REFUSED, ImportFile


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("kind", ["bar", "lines"])
def test_refusals_are_said_at_once_as_text(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    report: Bar | Lines = Bar(1000, clock) if kind == "bar" else Lines(clock, every=5)
    with report:
        report.file("a.log", 500)
        clock.sleep(10)
        report.sent(1000, 0, 0.5)
        report.ended(ImportFile("i", "[bold]b.evtx", REFUSED, "no \x1b[31m event log"))
        report.ended(ImportFile("i", "a.log", READ, bad=0))
        report.waiting("the lane is full", 3.0)
        report.judging(10, 1)
    said = capsys.readouterr().err
    assert "refused [bold]b.evtx: no \\x1b[31m event log" in said
    assert "1,000 records, 100/s" in said or kind == "bar"


def test_waiting_ends_when_all_imports_are_judged() -> None:
    answers: Iterator[tuple[int, int, bool]] = iter([(0, 0, False), (1, 0, True), (5, 1, False), (1, 0, True), (8, 2, True), (1, 0, True)])
    clock = Clock()
    done = wait_until_judged(lambda _id, _n: next(answers), {"a": 10, "b": 1}, Lines(clock), clock=clock, sleep=clock.sleep)
    assert done == (9, 2, True)


def test_waiting_gives_up_when_nothing_moves_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    done = wait_until_judged(lambda _id, _n: (3, 0, False), {"a": 10}, Lines(clock), clock=clock, sleep=clock.sleep)
    assert done == (3, 0, False)
    assert 600 < clock.now - 100 < 610
    assert "soc doctor" in capsys.readouterr().err


def test_waiting_may_be_interrupted() -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    assert wait_until_judged(lambda _id, _n: (3, 1, False), {"a": 10}, Lines(Clock()), clock=Clock(), sleep=interrupt) == (3, 1, False)
