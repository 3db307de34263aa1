"""The words every part of the path shares: records, positions, frames' context, scope, event ids.

Standard library only: agents and collectors import this module and nothing else of `soc`.
An *event* is a flat ``dict``: dotted field name -> value (see `Event`).
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

__all__ = [
    "EPOCH", "Event", "FrameContext", "Lane", "Origin", "Position", "Scope", "UNASSIGNED", "Value",
    "event_id", "from_micros", "parse_event_id", "stream_hash", "to_micros",
]

Value = str | int | float | bool | list[str]
"""What an event's field may hold. Lossless fields hold `str` or `list[str]`; only the ECS fields of
`soc.ecs.TYPES` hold `int` / `float` / `bool`, and dates are `int` microseconds since 1970 UTC."""

Event = dict[str, Value]
"""One normalised happening: flat dotted names -> values. Absent means absent; there is no None."""

UNASSIGNED = "unassigned"
"""The agency of records nobody has claimed: an agency of its own that only administrators see."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Lane(StrEnum):
    """The two lanes of the whole path: what happens now, and what may wait."""

    LIVE = "live"
    BULK = "bulk"


class Origin(StrEnum):
    """Why a record is here at all; it partitions the store and keys alerts."""

    LIVE = "live"
    IMPORT = "import"
    DEMONSTRATION = "demonstration"
    DRILL = "drill"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a record lies: `sequence` is its ordinal in its lane's journal, from 0."""

    lane: Lane
    sequence: int


@dataclass(frozen=True, slots=True)
class FrameContext:
    """What is known of every record of one journal frame before any of it is parsed.

    `format` is the parser asked for ("auto" lets each record choose); `timezone` is the IANA zone
    that zone-less times are read in; `year` is the year given for year-less times (else inferred
    from `file_time`, else `read_at`); `read_at`, `ingested` and `file_time` (an imported file's own
    time, 0 unknown) are microseconds since 1970 UTC. `replay` is the number of the dead letter that this
    frame reads again, 0 for what came from outside.
    """

    source: str
    stream: str
    first: int
    count: int
    read_at: int
    ingested: int
    agency: str = UNASSIGNED
    origin: Origin = Origin.LIVE
    import_id: str = ""
    format: str = "auto"
    timezone: str = "Asia/Ho_Chi_Minh"
    year: int | None = None
    path: str = ""
    file_time: int = 0
    peer: str = ""
    agent: str = ""
    epoch: int = 0
    retention: str = "default"
    replay: int = 0


@dataclass(frozen=True, slots=True)
class Scope:
    """The agencies and hosts a caller may see. Required by every store method.

    `agencies` None means every agency (administrators); an empty set means none.
    `hosts` None means every host of those agencies.
    """

    agencies: frozenset[str] | None = field(default_factory=frozenset)
    hosts: frozenset[str] | None = None

    @classmethod
    def everything(cls) -> Scope:
        """The scope of the system itself and of province-wide administrators."""
        return cls(agencies=None)

    @classmethod
    def of(cls, agencies: Iterable[str], hosts: Iterable[str] | None = None) -> Scope:
        """The scope of exactly these agencies (and, if given, only these hosts)."""
        return cls(frozenset(agencies), None if hosts is None else frozenset(hosts))

    def allows(self, agency: str, host: str | None = None) -> bool:
        """Whether something of `agency` (and `host`) may be shown within this scope."""
        if self.agencies is not None and agency not in self.agencies:
            return False
        return self.hosts is None or (host is not None and host in self.hosts)


def to_micros(moment: datetime) -> int:
    """An aware datetime as microseconds since 1970 UTC. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone cannot be placed; make it aware first")
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """Microseconds since 1970 UTC as an aware datetime."""
    return EPOCH + timedelta(microseconds=micros)


def stream_hash(centre: str, agent: str, epoch: int, stream: str) -> str:
    """The 64-bit hash, in hex, that stands for a record's origin inside its event id."""
    text = "\x1f".join((centre, agent, str(epoch), stream))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def event_id(read_at: int, stream_digest: str, n: int, sub: int = 0) -> str:
    """The id of an event: read time (ms, hex), stream hash, ordinal, and sub-index if not 0.

    The same for a resend and for a better parser, and it names its place: see docs/adr/0002.
    """
    base = f"{read_at // 1000:012x}-{stream_digest}-{n:x}"
    return f"{base}.{sub}" if sub else base


def parse_event_id(text: str) -> tuple[int, str, int, int]:
    """(read time in ms, stream hash, n, sub) of an event id. Raises ValueError if it is not one."""
    head, _, sub = text.partition(".")
    parts = head.split("-")
    if len(parts) != 3 or len(parts[1]) != 16:
        raise ValueError(f"not an event id: {text[:80]!r}")
    return int(parts[0], 16), parts[1], int(parts[2], 16), int(sub or 0)
