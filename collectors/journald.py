"""Follows systemd's journal through `journalctl`, as rsyslog would write it: priority, time, host, program, message.

The journal's other fields stay in the journal. Its cursor names the place of an entry.
"""
from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

__all__ = ["Journal", "entry", "journal_files"]

_PLACES: Final = (Path("/var/log/journal"), Path("/run/log/journal"))
_CHUNK: Final = 1 << 16
_LONGEST: Final = 1 << 20


def journal_files() -> Sequence[Path]:
    """The system journal's present files, or the folders that hide them; none where journald does not run or there is no journalctl."""
    if shutil.which("journalctl") is None:
        return []
    found: list[Path] = []
    for place in _PLACES:
        for folder in place.iterdir() if os.access(place, os.R_OK | os.X_OK) else [place] if place.exists() else []:
            if not os.access(folder, os.R_OK | os.X_OK):
                found.append(folder)
            elif (folder / "system.journal").exists():
                found.append(folder / "system.journal")
    return sorted(found)


def entry(line: bytes) -> tuple[str, bytes] | None:
    """(cursor, record) of an entry as `journalctl -o json` prints it; None for what is none or says nothing."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    cursor, message = found.get("__CURSOR"), _text(found.get("MESSAGE"))
    if not isinstance(cursor, str) or not message:
        return None
    at = _text(found.get("_SOURCE_REALTIME_TIMESTAMP")) or _text(found.get("__REALTIME_TIMESTAMP"))
    try:
        time = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(at))).isoformat(timespec="microseconds")
        priority = int(_text(found.get("SYSLOG_FACILITY")) or 1) * 8 + int(_text(found.get("PRIORITY")) or 6)
    except (ValueError, OverflowError):
        return None
    program = (_text(found.get("SYSLOG_IDENTIFIER")) or _text(found.get("_COMM")) or "unknown").replace(" ", "_")
    pid = _text(found.get("_PID")) or _text(found.get("SYSLOG_PID"))
    host = _text(found.get("_HOSTNAME")) or "localhost"
    return cursor, f"<{priority}>{time} {host} {program}{f'[{pid}]' if pid else ''}: {message}".encode("utf-8", "backslashreplace")[:_LONGEST]


class Journal:
    """The journal from behind `cursor` on; from now on without one. Raises OSError if journalctl cannot be started."""

    def __init__(self, cursor: str = "") -> None:
        since = [f"--after-cursor={cursor}"] if cursor else ["-n", "0"]
        self.cursor = cursor
        self._held = b""
        self._process = subprocess.Popen(["journalctl", "-o", "json", "-f", "-a", "--no-pager", "-q", *since], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=True)

    def read(self) -> list[bytes]:
        """The entries that came; `cursor` is behind them. Raises OSError when journalctl has ended."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        if not select.select([pipe], [], [], 0)[0]:
            return []
        came = os.read(pipe, _CHUNK)
        if not came:
            raise OSError(f"journalctl ended with {self._process.wait()}")
        *lines, self._held = (self._held + came).split(b"\n")
        found = [one for one in map(entry, lines) if one is not None]
        if found:
            self.cursor = found[-1][0]
        return [record for _, record in found]

    def close(self) -> None:
        """End journalctl."""
        self._process.kill()
        self._process.wait()


def _text(value: Any) -> str:
    """A field's text; journald gives what is no text as a list of bytes, and a field given twice as a list."""
    if isinstance(value, list):
        if value and all(isinstance(each, int) and 0 <= each < 256 for each in value):
            return bytes(value).decode("utf-8", "backslashreplace")
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""
