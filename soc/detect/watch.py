"""What a detector is looking at just now, for whoever watches it: a small shared file that survives a kill -9.

The detector writes when an evaluation began, how long it may take and which rules take part; the supervisor reads it and
kills a detector that overruns. The next one finds the note and knows whom to suspect. Standard library only.
"""
from __future__ import annotations

import json
import mmap
import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["FILL", "LIVE", "TRIAL", "Evaluation", "Watch", "read_watch", "verdict_path", "watch_path"]

LIVE, TRIAL, FILL = "live", "trial", "fill"
"""What an evaluation is: of a new cut by all rules, of one rule that was set aside, of a gap."""

_SIZE: Final = 1 << 16
_HEAD: Final = struct.Struct("<ddII")  # began, limit (s, CLOCK_MONOTONIC), length of the JSON, its byte sum


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation: positions [first, last) of a lane; `rules` None means every rule that is on and not set aside."""

    kind: str
    lane: str
    first: int
    last: int
    rules: tuple[str, ...] | None
    began: float = 0.0
    limit: float = 0.0

    def overrun(self, now: float) -> bool:
        """Whether it takes longer than it may; `now` is time.monotonic(), which all processes of a machine share."""
        return 0.0 < self.began <= now - self.limit


def watch_path(run: Path, name: str) -> Path:
    """Where the detector `name` keeps its note."""
    return run / f"{name}.watch"


def verdict_path(run: Path, name: str) -> Path:
    """Where the supervisor leaves why it killed the detector `name`, or how that one died."""
    return run / f"{name}.verdict"


class Watch:
    """The detector's side. Writing costs a few microseconds; nothing is synced."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _SIZE)
            self._map = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)

    @contextmanager
    def evaluating(self, kind: str, lane: str, first: int, last: int, rules: Sequence[str] | None, limit: float) -> Iterator[None]:
        """Say what is evaluated while it is, and that it may take `limit` seconds."""
        body = json.dumps([kind, lane, first, last, None if rules is None else list(rules)]).encode()
        if len(body) > _SIZE - _HEAD.size:  # too many to name: then it is all of them
            body = json.dumps([kind, lane, first, last, None]).encode()
        self._map[:8] = b"\0" * 8
        self._map[_HEAD.size : _HEAD.size + len(body)] = body
        self._map[8 : _HEAD.size] = _HEAD.pack(0.0, limit, len(body), sum(body) & 0xFFFFFFFF)[8:]
        self._map[:8] = struct.pack("<d", time.monotonic())
        try:
            yield
        finally:
            self._map[:8] = b"\0" * 8


def read_watch(path: Path) -> Evaluation | None:
    """What was or is being evaluated, None if nothing (or the note is unreadable or half written)."""
    try:
        raw = path.read_bytes()
        began, limit, length, check = _HEAD.unpack_from(raw)
        body = raw[_HEAD.size : _HEAD.size + length]
        if began <= 0.0 or len(body) != length or sum(body) & 0xFFFFFFFF != check:
            return None
        kind, lane, first, last, rules = json.loads(body)
        return Evaluation(str(kind), str(lane), int(first), int(last), None if rules is None else tuple(map(str, rules)), began, limit)
    except (OSError, ValueError, TypeError, struct.error):
        return None
