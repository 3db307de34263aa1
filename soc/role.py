"""What every role's process has, whatever it does: `soc.app` gives it its work."""
from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path

from soc.config import Config
from soc.folder import DataFolder
from soc.supervisor import hold_role, write_note

__all__ = ["Role"]

_log = logging.getLogger(__name__)
_BEAT = 1.0


class Role:
    """What every role's process has: its folder and configuration, a stop flag, and a heartbeat file."""

    def __init__(self, name: str, data: Path, config: Config) -> None:
        self.name, self.data, self.config = name, data, config
        self.folder = DataFolder.open(data, create=False)
        self.stopping = threading.Event()
        self.started = time.time()
        self._beaten = 0.0
        self._lock = hold_role(data / "run", name)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())

    def beat(self, **facts: object) -> None:
        """Say, at most once a second, that this role lives and how it does."""
        now = time.time()
        if now - self._beaten >= _BEAT:
            self._beaten = now
            try:
                write_note(self.data / "run" / f"{self.name}.json", {"pid": os.getpid(), "at": now, "started": self.started, **facts})
            except OSError as fault:  # a full disk: health says that this role is not heard of, and it works on
                _log.warning("heartbeat not written", extra={"fault": str(fault)})
