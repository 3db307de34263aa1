"""Tries out what may never end, or take the process with it: in a copy of this process, which is killed when it overruns.

Copying costs some milliseconds where starting anew costs a second, so a detector finds the guilty among thousands of rules
while new events wait little. The copy has no database and writes nothing; it dies with its parent. Linux.
"""
from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from typing import Final

from soc.detect.watch import LIVE, Evaluation, cpu_of

__all__ = ["unfinished"]

_NOTE: Final = struct.Struct("<qdd")  # which attempt, begun when (s, CLOCK_MONOTONIC), CPU used until then (s)
_LOOK: Final = 0.01
_MOST: Final = 8
"""Attempts that fail until the rest goes untried: each costs its limit, and what is left out here is caught by the watch."""


def unfinished(count: int, attempt: Callable[[int], None], limit: float) -> list[int]:
    """Which of `attempt(0)` … `attempt(count - 1)` crash or take more than `limit` seconds; errors they raise count as an end.

    None if no copy can be made. A machine short of CPU gives each of them three times as long.
    """
    found: list[int] = []
    at = 0
    with mmap.mmap(-1, _NOTE.size) as note:
        while at < count and len(found) < _MOST:
            try:
                failed = _copied(note, at, count, attempt, limit)
            except OSError:  # no memory or no process to be had
                break
            if failed is None:
                break
            found.append(failed)
            at = failed + 1
    return found


def _copied(note: mmap.mmap, first: int, count: int, attempt: Callable[[int], None], limit: float) -> int | None:
    """The first attempt from `first` on that a copy of this process did not survive."""
    note[:] = _NOTE.pack(first, time.monotonic(), 0.0)
    parent = os.getpid()
    process = os.fork()
    if process == 0:
        try:
            _attempts(note, parent, range(first, count), attempt)
        finally:
            os._exit(0)
    try:
        while True:
            done, status = os.waitpid(process, os.WNOHANG)
            number, began, cpu = _NOTE.unpack(note[:])
            if done:
                process = 0
                return number if os.WIFSIGNALED(status) else None
            one = Evaluation(LIVE, "", 0, 0, None, began=began, limit=limit, cpu=cpu)
            if one.overrun(time.monotonic(), cpu_of(process)):
                return int(number)
            time.sleep(_LOOK)
    finally:
        if process:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _attempts(note: mmap.mmap, parent: int, numbers: range, attempt: Callable[[int], None]) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in numbers:
        if os.getppid() != parent:
            return
        note[:] = _NOTE.pack(number, time.monotonic(), time.process_time())
        try:
            attempt(number)
        except Exception:  # noqa: BLE001  what raises has ended: whoever looks next meets the error
            continue
