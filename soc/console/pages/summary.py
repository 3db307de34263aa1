"""One event in a line, for lists: what a person would read out of it."""
from __future__ import annotations

from typing import Final

from soc.event import Event

__all__ = ["READ", "summary"]

_TOLD: Final = (
    ("process.command_line", "process.executable"), ("process.parent.executable",), ("user.name",), ("source.ip",), ("destination.ip",),
    ("destination.port",), ("file.path",), ("registry.path",), ("dns.question.name",), ("service.name",), ("powershell.file.script_block_text",))
"""Fields of a Windows event that its line tells; of those in one group the first that is there."""
READ: Final = ("event.dataset", "host.name", "message", "event.original", "event.code", "event.action", "winlog.channel",
               *(name for group in _TOLD for name in group))
"""The fields that a summary is made of."""


def summary(event: Event) -> str:
    """The line. A Windows event is its code and what it is about, since its original is XML or JSON; others are as they were written."""
    plain = event.get("message") or event.get("event.original", "")
    if event.get("event.dataset") != "windows" or not event.get("event.code"):
        return _text(plain)
    found = [next(((name, event[name]) for name in group if event.get(name)), None) for group in _TOLD]
    told = [f"{name}: {_text(value)}" for name, value in filter(None, found)]
    head = f"{_text(event['event.code'])} {_text(event.get('event.action') or event.get('winlog.channel') or '')}".rstrip()
    return f"{head} · " + " · ".join(told) if told else f"{head} · {_text(plain)}"


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
