"""Who of several detectors looks at what: a lease on positions that ends with the process that holds it, however it ends.

A claim is a lock on a range of bytes of `run/LANE.claims`, byte = position. The kernel lets go of it when the holder dies, so
nothing is renewed, nothing expires, and no clock is asked. It only saves work: that nothing is judged twice is the ledger's.
All detectors of a data folder run on its machine. Locks are per process: two `Claims` of one process do not exclude each other.
"""
from __future__ import annotations

import fcntl
import os
from pathlib import Path

from soc.event import Lane

__all__ = ["Claims"]


class Claims:
    """The claims of one detector: on one stretch at a time, and on filling gaps."""

    def __init__(self, run: Path) -> None:
        self._files = {lane: _opened(run / f"{lane.value}.claims") for lane in Lane}
        self._filling = _opened(run / "gaps.claims")
        self._fills = False

    def take(self, lane: Lane, first: int, last: int) -> bool:
        """Claim [first, last), if no other detector holds any of it."""
        return _locked(self._files[lane], first, last)

    def release(self) -> None:
        """Let go of what was claimed of the lanes."""
        for file in self._files.values():
            fcntl.lockf(file, fcntl.LOCK_UN)

    def fills(self) -> bool:
        """Whether this detector is the one that fills gaps: the first to ask, until it ends."""
        self._fills = self._fills or _locked(self._filling, 0, 1)
        return self._fills


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(file: int, first: int, last: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, last - first, first)
    except (BlockingIOError, PermissionError):
        return False
    return True
