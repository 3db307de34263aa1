"""When the detector looks: periodic jobs that wake a loop, and nothing else. What is judged is decided by positions (`ledger`).

APScheduler keeps the periods; its jobs only raise a flag, so a run that is missed, late or joined with another loses nothing:
the next one finds the same positions waiting. Should the scheduler stand still (its clock is the wall's, and can be set back),
`wait` returns all the same.
"""
from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.background import BackgroundScheduler

__all__ = ["Schedule"]

_PATIENCE: Final = 4
"""Periods of the shortest job without any waking, until everything counts as due."""


class Schedule:
    """Jobs by name, each due every so many seconds (at once at first). For one loop; use it as a context."""

    def __init__(self, every: Mapping[str, float]) -> None:
        self._names = frozenset(every)
        self._patience = _PATIENCE * min(every.values())
        self._due: set[str] = set()
        self._lock, self._rung = threading.Lock(), threading.Event()
        # All of them, and not the defaults: with those, 40 of 160 due runs took place.
        self._scheduler: Any = BackgroundScheduler(
            timezone=UTC, daemon=True, executors={"default": DebugExecutor()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None})
        for name, seconds in every.items():
            self._scheduler.add_job(self.wake, "interval", [name], seconds=seconds, id=name, next_run_time=datetime.now(UTC))

    def __enter__(self) -> Self:
        self._scheduler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._scheduler.shutdown(wait=False)

    def wake(self, name: str) -> None:
        """Let a job be due now. Any thread may."""
        with self._lock:
            self._due.add(name)
        self._rung.set()

    def due(self) -> frozenset[str]:
        """The jobs that came due since this (or `wait`) was last asked."""
        with self._lock:
            found, self._due = frozenset(self._due), set()
            self._rung.clear()
        return found

    def wait(self) -> frozenset[str]:
        """Sleep until a job is due; which ones are. All of them if none rang for several periods (monotonic time)."""
        return self.due() if self._rung.wait(self._patience) else self._names
