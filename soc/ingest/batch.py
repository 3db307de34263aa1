"""A batch on its way into the journal, and the receipt for it."""
from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from soc.event import FrameContext, Lane

__all__ = ["ASSIGN", "Batch", "Compression", "Encoding", "Intake", "Receipt"]

ASSIGN = -1
"""`FrameContext.first` of a batch whose sender does not number: the intake gives the next numbers."""


class Encoding(IntEnum):
    """How records lie in a payload."""

    LINES = 1
    """One record a line (LF or CRLF); empty lines are not records."""
    SIZED = 2
    """Each record behind its length as unsigned 32-bit little-endian: for records that hold newlines."""


class Compression(IntEnum):
    """How a payload is compressed in the frame (exactly as received)."""

    NONE = 0
    ZSTD = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one stream. `context.count` must be the true number of records in `payload`."""

    context: FrameContext
    encoding: Encoding
    compression: Compression
    payload: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """Given only once the batch is on disk. `duplicate`: every record of it was received before.

    `first` is the stream ordinal of its first record; `sequence` its position in the lane (None for a duplicate).
    """

    lane: Lane
    first: int
    count: int
    sequence: int | None
    duplicate: bool


class Intake(Protocol):
    """Where acknowledged means on disk."""

    async def accept(self, batch: Batch, lane: Lane) -> Receipt:
        """Durably keep the batch. Raises OverlapError, InputRefused (its import was undone), DiskFullError; StoreError when fsync fails."""

    def congestion(self, lane: Lane = Lane.LIVE) -> float:
        """0.0 idle … 1.0 full, of a lane: bytes waiting for fsync or for the normaliser, against their cap (429 at 1.0)."""

    def received(self, stream: str, epoch: int = 0) -> list[tuple[int, int]]:
        """The (first, last) ranges received of a stream in an epoch."""

    async def forget_import(self, import_id: str) -> None:
        """Drop the received ranges of an import that was undone (durably)."""
