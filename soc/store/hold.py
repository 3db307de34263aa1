"""The hold: while somebody copies the store, nothing in it may be replaced, unlinked or released.

A file lock, so that it ends with its holder however that dies. Compactor, sweeper and journal release take it for a
moment each; a backup keeps it.
"""
from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["hold"]


@contextmanager
def hold(data: Path, *, wait: bool) -> Iterator[bool]:
    """Whether the hold was taken; with `wait` it always is, once whoever has it lets go."""
    fd = os.open(data / "run" / "hold", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)
