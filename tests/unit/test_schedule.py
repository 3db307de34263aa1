"""The scheduler only wakes: late and missed runs are joined, none is lost, and a scheduler that stands still stops nobody."""
from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from soc.detect import schedule as module
from soc.detect.schedule import Schedule
from tests.detector_under_test import Parts, Rules, Sink


def test_every_job_is_due_at_once_and_then_in_its_period() -> None:
    seen: list[str] = []
    with Schedule({"often": 0.05, "seldom": 0.5}) as schedule:
        until = time.monotonic() + 1.3
        while time.monotonic() < until:
            seen += schedule.wait()
    assert 15 <= seen.count("often") <= 30 and 3 <= seen.count("seldom") <= 4, seen


def test_runs_missed_while_the_loop_was_busy_are_joined_and_not_dropped() -> None:
    with Schedule({"a": 0.05, "b": 0.3}) as schedule:
        time.sleep(0.1)
        schedule.due()
        time.sleep(0.7)  # a long evaluation
        assert schedule.due() == {"a", "b"}
        assert schedule.due() == frozenset()


def test_a_loop_wakes_although_the_scheduler_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(module.datetime):
        @classmethod
        def now(cls, tz: object = None) -> Ahead:  # type: ignore[override]
            return super().now(tz) + timedelta(hours=1)  # type: ignore[arg-type, return-value]

    monkeypatch.setattr(module, "datetime", Ahead)  # as a clock that was put back by an hour after the jobs were made
    with Schedule({"judge": 0.05, "gaps": 1.0}) as schedule:
        began = time.monotonic()
        assert schedule.wait() == {"judge", "gaps"}
        assert 0.15 < time.monotonic() - began < 1.0


def test_what_is_judged_does_not_depend_on_when_it_wakes(tmp_path: Path) -> None:
    parts, sink = Parts(tmp_path), Sink()
    judge = parts.detector(Rules("a"), sink)
    with Schedule({"judge": 0.05, "gaps": 0.1}) as schedule:
        due = schedule.wait()
        while len(sink.of("a")) < 100:
            if judge.step(parts.clock, fill="gaps" in due):
                time.sleep(0.12)  # every run overruns its period more than twice
                due |= schedule.due()
            else:
                due = schedule.wait()
    assert sink.of("a") == list(range(100))
