"""This machine's own logs, followed beside a demonstration: which there are, which may not be read, and how far each was taken.

Records go through the gateway's local socket under numbers of their own, and how far each log was read is kept beside the data,
so that nothing is lost or doubled when the process is killed.
"""
from __future__ import annotations

import getpass
import glob
import grp
import hashlib
import json
import logging
import os
import shlex
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

from collectors.journald import Journal, journal_files
from collectors.tail import Place, Tail
from soc.errors import InputRefused, SocError
from soc.event import Lane, Origin
from soc.ingest.deliver import Delivery, Shipment

__all__ = ["Follower", "OwnLog", "own_logs", "run"]

SOURCE: Final = "this-machine"
_JOURNAL: Final = "journald"
_COVERED: Final = ("/var/log/auth.log", "/var/log/secure", "/var/log/syslog", "/var/log/messages")
"""What rsyslog writes of the journal: not read where the journal is."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OwnLog:
    """A log of this machine; `remedy` is the command that lets this user read it, "" if that is so already."""

    name: str
    remedy: str = ""


def own_logs(files: str, *, journal: bool) -> Sequence[OwnLog]:
    """The journal, if it is wanted and runs, and the files of these patterns (between blanks) that there are."""
    found = []
    kept = journal_files() if journal else ()
    if kept:
        found.append(OwnLog(_JOURNAL, next((_remedy(path) for path in kept if not os.access(path, os.R_OK)), "")))
    followed = any(not one.remedy for one in found)
    for pattern in shlex.split(files):
        for name in sorted(glob.glob(pattern)):
            if not (followed and name in _COVERED) and os.path.isfile(name):
                found.append(OwnLog(name, "" if os.access(name, os.R_OK) else _remedy(Path(name))))
    return found


def _remedy(path: Path) -> str:
    """By the file's group if that may read it, else for this file alone."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "USER"
    try:
        facts = path.stat()
        group = grp.getgrgid(facts.st_gid).gr_name
    except (OSError, KeyError):
        return shlex.join(["sudo", "setfacl", "-m", f"u:{user}:r", str(path)])
    if facts.st_mode & stat.S_IRGRP and facts.st_gid:
        return f"sudo usermod -aG {group} {user}"
    return shlex.join(["sudo", "setfacl", "-m", f"u:{user}:r", str(path)])


class Follower:
    """Sends what the logs say. `kept` is the file of how far each was taken; `now` is µs UTC."""

    def __init__(self, logs: Sequence[OwnLog], delivery: Delivery, kept: Path, now: Callable[[], int]) -> None:
        self._delivery, self._kept, self._now = delivery, kept, now
        self._state: dict[str, Any] = _read(kept) or {"epoch": now() // 1_000_000, "logs": {}}
        self._open: dict[str, Tail | Journal] = {}
        self._unsent: dict[str, list[bytes]] = {}
        self._again: dict[str, float] = {}
        self._names = [one.name for one in logs if not one.remedy]

    def step(self) -> int:
        """Send what has come; how many records. Raises StoreError, and InputRefused once the other logs were sent.

        The same records come again with the next step.
        """
        came = 0
        refused: InputRefused | None = None
        for name in self._names:
            if name not in self._unsent and not self._read(name):
                continue
            records = self._unsent[name]
            known = self._state["logs"].setdefault(name, {"n": 0})
            try:
                self._delivery.send(self._shipment(name), known["n"], records)
            except InputRefused as fault:
                refused = fault
                continue
            del self._unsent[name]
            known |= {"n": known["n"] + len(records), "place": self._place(name)}
            _write(self._kept, self._state)
            came += len(records)
        if refused is not None:
            raise refused
        return came

    def close(self) -> None:
        """Let go of every log."""
        for each in self._open.values():
            each.close()
        self._open.clear()

    def _read(self, name: str) -> bool:
        if self._again.get(name, 0.0) > time.monotonic():
            return False
        try:
            reader = self._open.get(name)
            if reader is None:
                reader = self._open[name] = self._begin(name)
            records = reader.read()
        except OSError as fault:  # a log that cannot be read any more: the others go on, and it is tried again
            _log.warning("a log of this machine cannot be read", extra={"log": name, "fault": str(fault)})
            self._again[name] = time.monotonic() + 10.0
            if (broken := self._open.pop(name, None)) is not None:
                broken.close()
            return False
        if records:
            self._unsent[name] = records
        return bool(records)

    def _begin(self, name: str) -> Tail | Journal:
        place = self._state["logs"].get(name, {}).get("place")
        if name == _JOURNAL:
            return Journal(place or "")
        made = Tail(Path(name), Place(*place) if place else None)
        if not place:  # from here on, whatever happens to this process
            self._state["logs"][name] = {"n": 0, "place": list(astuple(made.place))}
            _write(self._kept, self._state)
        return made

    def _place(self, name: str) -> Any:
        reader = self._open[name]
        return reader.cursor if isinstance(reader, Journal) else list(astuple(reader.place))

    def _shipment(self, name: str) -> Shipment:
        stream = f"machine/{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}/{self._state['epoch']}"
        return Shipment(stream, "", self._now(), path=name, source=SOURCE, origin=Origin.LIVE, lane=Lane.LIVE)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "epoch" in found and "logs" in found else None


def _write(path: Path, state: dict[str, Any]) -> None:
    new = path.with_name(f".{path.name}.new")
    with open(new, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(json.dumps(state))
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def run(follower: Follower, wait: Callable[[float], bool]) -> None:
    """Follow until `wait` says to stop."""
    try:
        while not wait(0.5):
            try:
                follower.step()
            except (SocError, OSError) as fault:  # a full disk, a gateway that restarts: the logs wait where they are
                _log.warning("this machine's logs wait", extra={"fault": str(fault)})
                wait(5.0)
    finally:
        follower.close()
