"""What a detector is looking at just now, for whoever watches it: a small shared file that survives a kill -9.

The detector writes when an evaluation began, how long it may take and which rules take part (`Watch`); the supervisor reads
it and kills a detector that overruns (`Guard`). The next one finds the verdict and knows whom to suspect. Standard library only.
"""
from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

__all__ = ["FILL", "LIVE", "TRIAL", "Evaluation", "Guard", "Watch", "cpu_of", "read_watch", "take_verdict"]

LIVE, TRIAL, FILL = "live", "trial", "fill"
"""What an evaluation is: of a new cut by all rules, of one rule that was set aside, of a gap."""

_SIZE: Final = 1 << 16
_HEAD: Final = struct.Struct("<dddIII")  # began (s, CLOCK_MONOTONIC), limit (s), CPU used (s), process, length of the JSON, its byte sum
_STARVED: Final = 3
"""An evaluation that was given little CPU may take this many times its limit."""
_DEATHS: Final = {**dict.fromkeys((-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE), 1), -signal.SIGKILL: 3}
"""How often a detector may end so over the same evaluation before that is what it dies of: killed it may be by anyone, or for memory."""


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
    cpu: float = 0.0
    pid: int = 0

    def overrun(self, now: float, cpu: float) -> bool:
        """Whether it takes longer than it may: of the CPU, or, when it gets none, several times as long by the clock.

        `now` is time.monotonic(), which all processes of a machine share; `cpu` the seconds its process has used.
        """
        took = now - self.began
        return self.began > 0.0 and took >= self.limit and (cpu - self.cpu >= 0.8 * self.limit or took >= _STARVED * self.limit)


class Watch:
    """The detector's side. Writing costs a few microseconds; nothing is synced."""

    def __init__(self, run: Path, name: str) -> None:
        descriptor = os.open(_note(run, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _SIZE)
            self._map = mmap.mmap(descriptor, _SIZE)
            self._map[:8] = b"\0" * 8
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
        self._map[8 : _HEAD.size] = _HEAD.pack(0.0, limit, time.process_time(), os.getpid(), len(body), sum(body) & 0xFFFFFFFF)[8:]
        self._map[:8] = struct.pack("<d", time.monotonic())
        try:
            yield
        finally:
            self._map[:8] = b"\0" * 8


class Guard:
    """The supervisor's side: watches the detector `name` of a data folder's `run`."""

    def __init__(self, run: Path, name: str) -> None:
        self._run, self._name = run, name
        self._last: Evaluation | None = None
        self._deaths = 0

    def overrun(self, pid: int) -> str:
        """Why that process is to be killed now ("": it is not). The verdict is left for the next one."""
        found = read_watch(self._run, self._name)
        if found is None or found.pid != pid or not found.overrun(time.monotonic(), cpu_of(pid)):
            return ""
        self._leave(found)
        return f"it has looked at {found.lane}/{found.first}-{found.last} for more than {found.limit:g} s"

    def ended(self, code: int) -> bool:
        """The process died of itself: whether it was over what it evaluated. The verdict is left for the next one."""
        found = read_watch(self._run, self._name) if code in _DEATHS else None
        same = found is not None and self._last is not None and _matter(found) == _matter(self._last)
        self._deaths = self._deaths + 1 if same else 1
        self._last = found
        if found is None or self._deaths < _DEATHS[code]:
            return False
        self._leave(found)
        self._last = None
        return True

    def _leave(self, found: Evaluation) -> None:
        path = _verdict(self._run, self._name)
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(json.dumps(asdict(found)))
        os.replace(temporary, path)


def take_verdict(run: Path, *names: str) -> Evaluation | None:
    """What a detector of these names was killed over, once, whoever asks first; None if none was."""
    return next(filter(None, (_taken(_verdict(run, name)) for name in names)), None)


def _taken(path: Path) -> Evaluation | None:
    mine = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        os.rename(path, mine)  # of several detectors one gets it
        found = json.loads(mine.read_text())
        mine.unlink()
        return Evaluation(**found | {"rules": None if found["rules"] is None else tuple(found["rules"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_watch(run: Path, name: str) -> Evaluation | None:
    """What was or is being evaluated, None if nothing (or the note is unreadable or half written)."""
    try:
        with open(_note(run, name), "rb", buffering=0) as file:
            began, limit, cpu, pid, length, check = _HEAD.unpack(file.read(_HEAD.size))
            if began <= 0.0:
                return None
            body = file.read(length)
        if len(body) != length or sum(body) & 0xFFFFFFFF != check:
            return None
        kind, lane, first, last, rules = json.loads(body)
        named = None if rules is None else tuple(map(str, rules))
        return Evaluation(str(kind), str(lane), int(first), int(last), named, began, limit, cpu, pid)
    except (OSError, ValueError, TypeError, struct.error):
        return None


def _matter(one: Evaluation) -> Evaluation:
    return replace(one, began=0.0, limit=0.0, cpu=0.0, pid=0)


def cpu_of(pid: int) -> float:
    """Seconds of CPU a process has used, all its threads (Linux; elsewhere as good as any)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return float("inf")


def _note(run: Path, name: str) -> Path:
    return run / f"{name}.watch"


def _verdict(run: Path, name: str) -> Path:
    return run / f"{name}.verdict"
