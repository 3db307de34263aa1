"""What a parser is, and what parsing one journal frame gives.

A parser is one module in `soc.normalise.parsers`, found by the folder; its name is its kind.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from soc.event import Event, FrameContext

__all__ = ["DeadRecord", "ParsedEvent", "ParsedFrame", "Parser"]


class Parser(Protocol):
    """Understands one dataset's raw records."""

    FAMILY: str
    """The dataset family whose segments its events go to: windows, linux, audit, web, network or generic."""
    PRIORITY: int
    """Order of asking under format "auto": lower first; a parser that accepts anything is last."""

    def accepts(self, raw: bytes) -> bool:
        """Whether this record looks like ours: cheap, never raises."""

    def parse(self, raw: bytes, context: FrameContext) -> Event:
        """The event of one record (own fields lossless, ECS copies beside them, `@timestamp` in µs).

        Raises ParseError; anything else it raises is a bug that the caller keeps as a dead letter.
        """


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """Event number `sub` of the record at `index` of its frame."""

    index: int
    sub: int
    family: str
    event: Event


@dataclass(frozen=True, slots=True)
class DeadRecord:
    """A record that could not be parsed: its place in the frame, a constant reason, and the detail."""

    index: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ParsedFrame:
    """Every record of the frame is in `events` or in `dead`, never both, never neither."""

    events: list[ParsedEvent]
    dead: list[DeadRecord]
