"""What processes say about themselves: one line per message on stderr, for people or for a collector."""
from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

__all__ = ["start_logging"]

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_OURS = ("soc", "alerts", "collectors", "__main__")
"""The loggers of our own packages, and of `python -m soc.app`."""


def start_logging(level: str, form: str, role: str) -> None:
    """Send this process's log to stderr, from `level` up, as "text" or "json". `extra=` fields of a message stand beside it.

    Libraries (a scheduler that tells of each run, twice a second) are heard from warnings up only, unless `level` is debug.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(role, as_json=form == "json"))
    least = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=least if least <= logging.DEBUG else max(least, logging.WARNING), handlers=[handler], force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(least)


class _Lines(logging.Formatter):
    """Time, role, level, message and fields; control characters of hostile text never reach the terminal."""

    def __init__(self, role: str, *, as_json: bool) -> None:
        super().__init__()
        self._role, self._json = role, as_json

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        extra = {key: value for key, value in record.__dict__.items() if key not in _OWN}
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._json:
            fields: dict[str, object] = {
                "@timestamp": at, "log.level": record.levelname.lower(), "service.name": f"soc-{self._role}",
                "message": record.getMessage(), **extra}
            if trace:
                fields["error.stack_trace"] = trace
            return json.dumps(fields, ensure_ascii=True, default=str)
        said = " ".join([record.getMessage(), *(f"{key}={value}" for key, value in extra.items())])
        inert = "".join(char if char.isprintable() else repr(char)[1:-1] for char in said)
        return f"{at} {self._role} {record.levelname.lower()}: {inert}" + (f"\n{trace}" if trace else "")
