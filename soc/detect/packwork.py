"""A rule pack being brought in, as everybody beside it sees it: a note in run/ that tells its stage, its progress and its end.

One at a time: who works holds a lock, so a note whose worker is gone reads as interrupted. The note outlives it as the last result.
"""
from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from soc.errors import DuplicateError, SocError

__all__ = ["PackWork", "read_work"]

_NOTE: Final = "rulepack.json"
_LOCK: Final = "rulepack.lock"
_EVERY: Final = 0.3
"""Seconds between two notes of progress."""
_AGAIN: Final = "start it again"


class PackWork:
    """The work on one pack, for a with statement: an error that leaves it is its end, and goes on.

    Raises DuplicateError at the start if another one is at work.
    """

    def __init__(self, run: Path, what: str) -> None:
        self._run = run
        run.mkdir(mode=0o700, exist_ok=True)
        self._lock = os.open(run / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _take(self._lock):
            os.close(self._lock)
            raise DuplicateError("another rule pack is being brought in", remedy="wait until it is done")
        before = _read(run)
        self._told = 0.0
        self._facts: dict[str, Any] = {
            "state": "working", "stage": "importing", "what": what, "done": 0, "total": 0, "started": time.time(), "message": "", "remedy": "",
            "address": "", "report": {}, "release": before.get("release") or {}}

    def __enter__(self) -> PackWork:
        self.tell()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        if fault is None:
            self.tell(state="done")
        elif isinstance(fault, SocError):
            self.tell(state="failed", message=fault.message, remedy=fault.remedy or _AGAIN)
        elif isinstance(fault, Exception):
            self.tell(state="failed", message=f"{type(fault).__name__}: {fault}"[:500], remedy=_AGAIN)
        os.close(self._lock)

    def stage(self, name: str, **facts: Any) -> None:
        """The next stage begins: `fetching` counts bytes, `importing` files."""
        self.tell(stage=name, done=0, total=0, **facts)

    def progress(self, done: int, total: int) -> None:
        """How far the stage is; `total` 0 if nobody knows."""
        self._facts |= {"done": done, "total": total}
        if time.monotonic() - self._told > _EVERY:
            self.tell()

    def tell(self, **facts: Any) -> None:
        """Note these facts, and that we are here."""
        self._facts |= facts | {"at": time.time()}
        self._told = time.monotonic()
        temporary = self._run / f".{_NOTE}.{os.getpid()}"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as file:
            json.dump(self._facts, file)
        os.replace(temporary, self._run / _NOTE)


def read_work(run: Path) -> dict[str, Any]:
    """What the last work on a pack did, or does; {} if there was none. Its `state` is working, done, failed or interrupted."""
    found = _read(run)
    if found.get("state") == "working" and not _held(run):
        found = _read(run)  # it may have ended between the two looks
        if found.get("state") == "working":
            found |= {"state": "interrupted", "message": "it was interrupted", "remedy": _AGAIN}
    return found


def _read(run: Path) -> dict[str, Any]:
    try:
        found = json.loads((run / _NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _take(lock: int) -> bool:
    """Whether the lock is ours now; a look at it, which holds it for a moment, is waited for."""
    for _ in range(10):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


def _held(run: Path) -> bool:
    try:
        lock = os.open(run / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
