"""The supervisor: starts each role as a process of its own, restarts what dies, ends all when it ends.

A role is `python -m soc.app ROLE`. Children die with their supervisor (PR_SET_PDEATHSIG) and hold a lock per role,
so that two writers of one file never live at once.
"""
from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import ParamSpec, Protocol, TypeVar

from soc.addresses import NOTE
from soc.errors import LockedError

__all__ = ["Child", "Overseer", "Relief", "Supervisor", "apart", "die_with_parent", "give_back_memory", "hold_role", "write_note"]

_FORK = get_context("fork")
_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")
_MEMORY = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
"""What keeps the roles small: one allocator that gives memory back (the normaliser under load: 580 MB instead of 960)."""

_FIRST_PAUSE, _LONGEST_PAUSE, _STEADY = 0.1, 5.0, 10.0
_HEAD_START = 0.7
"""Seconds the first role has to itself: importing is what starting costs, and cores are few."""


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent goes (Linux); ends at once if it is gone already."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass
    if parent and os.getppid() != parent:
        sys.exit(0)


def give_back_memory() -> None:
    """Have the C library return what is free to the system (glibc; elsewhere nothing happens)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass


class Relief:
    """Gives memory back when work comes to rest, and every few seconds of it: freed memory lies in pieces that few things fit in."""

    def __init__(self, every: float = 5.0) -> None:
        self._every, self._worked, self._last = every, False, time.monotonic()

    def after(self, worked: bool) -> None:
        """Called after each turn, with whether it did anything."""
        if (worked and time.monotonic() - self._last > self._every) or (self._worked and not worked):
            give_back_memory()
            self._last = time.monotonic()
        self._worked = worked


def apart(work: Callable[_Given, _Found], *given: _Given.args, **named: _Given.kwargs) -> _Found:
    """What `work` returns, in a process of its own: what it imports is not held by this one (40 MB of the supervisor's 60).

    Raises what it raises. What it returns or raises must pickle; call it before there are threads.
    """
    ours, theirs = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_report, args=(theirs, lambda: work(*given, **named)))
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C goes to both: ours says so, the child only ends
    try:
        child.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    theirs.close()
    try:
        well, found = ours.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"a process that was to run {getattr(work, '__name__', work)} died ({child.exitcode})") from None
    child.join()
    if not well:
        raise found
    answer: _Found = found
    return answer


def _report(to: Connection, work: Callable[[], object]) -> None:
    ends = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the caller waits for us, and stops then
    signal.signal(signal.SIGINT, signal.SIG_DFL if ends else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        to.send((True, work()))
    except Exception as fault:  # noqa: BLE001  the caller raises it
        to.send((False, fault))


def hold_role(run: Path, role: str, patience: float = 15.0) -> int:
    """The lock of a role, held until the process ends; waits for a dying predecessor. Raises LockedError."""
    fd = os.open(run / f"{role}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(fd)
                raise LockedError(f"another {role} runs on this data folder", remedy="stop it first") from None
            time.sleep(0.05)


def write_note(path: Path, content: Mapping[str, object]) -> None:
    """Replace a small JSON file, readable by its owner only, in one step (what health reads; it need not survive a power cut)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(content))
    os.replace(temporary, path)


@dataclass(slots=True)
class Child:
    """One role's process and how often it had to be started again."""

    role: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    pause: float = _FIRST_PAUSE
    due: float = 0.0
    last_exit: int | None = None
    log: list[str] = field(default_factory=list)


class Overseer(Protocol):
    """Knows when a role's process that lives works no more (`soc.detect.watch.Guard`)."""

    def overrun(self, pid: int) -> str: ...

    def ended(self, code: int) -> bool: ...


class Supervisor:
    """Keeps roles running until `stop`. A role with a guard is killed, and started again, when that says why.

    `listens`: where the centre is reached (`soc.addresses`), noted beside who runs.
    """

    def __init__(self, run: Path, roles: Sequence[str], arguments: Sequence[str], *, say: Callable[[str], None],
                 environment: Mapping[str, str] | None = None, guards: Mapping[str, Overseer] | None = None,
                 listens: Mapping[str, object] | None = None) -> None:
        self._run, self._arguments, self._say = run, list(arguments), say
        self._environment = {**_MEMORY, **(os.environ if environment is None else environment)}
        self.children = {role: Child(role) for role in roles}
        self._guards = guards or {}
        self._listens = listens or {}
        self._stopping = False
        self._noted = True
        """Whether supervisor.json says what is so."""

    def start(self) -> None:
        """Start the first role (the gateway: senders wait for it); the others follow in a moment, or when it is ready."""
        now = time.monotonic()
        for number, child in enumerate(self.children.values()):
            child.due = now + (_HEAD_START if number else 0.0)
        self.tend()

    def _spawn(self, child: Child) -> None:
        try:
            child.process = subprocess.Popen(
                [sys.executable, "-m", "soc.app", child.role, "--parent", str(os.getpid()), *self._arguments],
                stdin=subprocess.DEVNULL, env=self._environment, close_fds=True, process_group=0)
            child.started = time.monotonic()
        except OSError as fault:  # no memory, no descriptors, no more processes: the others run on, this one is tried again
            child.due = time.monotonic() + child.pause
            self._tell(f"{child.role} cannot be started ({fault}); it is tried again in {child.pause:.1f} s")
            child.pause = min(child.pause * 2, _LONGEST_PAUSE)

    def tend(self) -> None:
        """Look once at every child; start again what died, with growing pauses while it keeps dying."""
        now = time.monotonic()
        changed = not self._noted
        for child in self.children.values():
            if child.process is None:
                if now >= child.due:
                    self._spawn(child)
                    changed = True
                continue
            code = child.process.poll()
            guard = self._guards.get(child.role)
            if code is None and guard is not None and (why := guard.overrun(child.process.pid)):
                self._tell(f"{child.role} is killed: {why}")
                child.process.kill()
                code, child.pause = child.process.wait(), _FIRST_PAUSE
            elif code is None:
                if now - child.started > _STEADY:
                    child.pause = _FIRST_PAUSE
                continue
            elif guard is not None and not self._stopping and guard.ended(code):
                child.pause = _FIRST_PAUSE  # the next one will not do the same again
            child.process, child.last_exit = None, code
            child.restarts += 1
            child.due = now + child.pause
            changed = True
            if not self._stopping:
                self._tell(f"{child.role} ended ({_exit_words(code)}); it starts again in {child.pause:.1f} s")
            child.pause = min(child.pause * 2, _LONGEST_PAUSE)
        if changed:
            self._note()

    def run(self, tick: Callable[[], None] | None = None) -> None:
        """Tend the children until SIGINT or SIGTERM, then stop them."""
        def ask(_number: int, _frame: FrameType | None) -> None:
            self._stopping = True

        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not self._stopping:
                self.tend()
                if tick is not None:
                    tick()
                time.sleep(0.1)
        finally:
            self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def stop(self, patience: float = 20.0) -> None:
        """Ask every child to end (gateway first, so that what it took is judged), then insist."""
        self._stopping = True
        for child in self.children.values():
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + patience
        for child in self.children.values():
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._tell(f"{child.role} does not end; it is killed (nothing acknowledged is lost)")
                child.process.kill()
                child.process.wait()
            child.process = None
        with suppress(OSError):  # a read-only disk: the note names a process that is gone, which every reader checks
            (self._run / NOTE).unlink(missing_ok=True)

    def _note(self) -> None:
        try:
            write_note(self._run / NOTE, {
                "pid": os.getpid(), "at": time.time(), "listens": self._listens,
                "roles": {c.role: {"pid": c.process.pid if c.process else None, "restarts": c.restarts, "last_exit": c.last_exit}
                          for c in self.children.values()}})
            self._noted = True
        except OSError:  # a full disk must not end the centre: written at the next look
            self._noted = False

    def _tell(self, message: str) -> None:
        with suppress(OSError):  # our own output may lie on a full disk, too
            self._say(message)


def _exit_words(code: int) -> str:
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit {code}"
