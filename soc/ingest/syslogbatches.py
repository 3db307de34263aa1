"""Syslog messages on their way into the journal: what the receivers of TCP, TLS and UDP share behind their sockets.

Makes batches of one source's messages and hands them to the intake, waiting while it is full or failing.
"""
from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zstandard

from soc.errors import SocError
from soc.event import FrameContext
from soc.ingest.accounting import Accounting
from soc.ingest.batch import Batch, Compression, Encoding, Intake
from soc.ingest.lanes import LaneGate
from soc.ingest.relaysplit import Splitter
from soc.ingest.sender import Sender

__all__ = ["SyslogBatches", "SyslogLimits"]

_WORTH_PACKING = 4096
_LONGEST_WAIT = 5.0


@dataclass(frozen=True, slots=True)
class SyslogLimits:
    """Bytes of a message; records, bytes and seconds of a batch; connections; seconds of silence and of the end's flush.

    `waiting` bounds the bytes of datagrams that wait for the intake, of one source; all sources together may hold eight
    times that. `buffer` is the kernel's receive buffer for datagrams that is asked for, in bytes.
    """

    message: int = 1 << 20
    records: int = 1000
    bytes: int = 256 * 1024
    linger: float = 0.2
    connections: int = 256
    idle: float = 3600.0
    flush: float = 5.0
    waiting: int = 8 << 20
    buffer: int = 8 << 20


class SyslogBatches:
    """Keeps messages. All messages of a source share one stream, numbered here, per start of the gateway."""

    def __init__(self, intake: Intake, *, limits: SyslogLimits, clock: Callable[[], float], accounting: Accounting,
                 gate: LaneGate | None = None) -> None:
        self.limits, self.accounting = limits, accounting
        self._intake, self._clock, self._gate = intake, clock, gate or LaneGate()
        self._start_id = uuid.uuid4().hex
        self._numbers: dict[str, int] = {}
        self._splitters: dict[str, tuple[tuple[object, ...], Splitter]] = {}
        self._give_up = float("inf")
        self._packer = zstandard.ZstdCompressor(level=1)

    def stop(self) -> None:
        """From now on wait for the intake for at most `limits.flush` seconds."""
        self._give_up = min(self._give_up, asyncio.get_running_loop().time() + self.limits.flush)

    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._give_up != float("inf")

    async def keep(self, source: Sender, peer: str, records: Sequence[bytes]) -> None:
        """Give messages to the intake, a relay's by agency, waiting as long as it must; what cannot be kept at the end is counted as lost."""
        if not source.relay:
            await self._keep(source, peer, records, source.agency)
            return
        rules, splitter = self._splitters.get(source.id, ((), None))
        if splitter is None or rules != (source.relay, source.agency):
            splitter = Splitter(source.relay, source.agency)
            self._splitters[source.id] = (source.relay, source.agency), splitter
        for agency, part in splitter.split(records, peer).items():
            await self._keep(source, peer, part, agency)

    async def _keep(self, source: Sender, peer: str, records: Sequence[bytes], agency: str) -> None:
        batch, pause = self._batch(source, peer, records, agency), 0.05
        loop = asyncio.get_running_loop()
        while True:
            try:
                if self._intake.congestion(source.lane) < 1.0:
                    async with self._gate.turn(source.lane):
                        receipt = await self._intake.accept(batch, source.lane)
                    break
                self.accounting.refused("syslog_waits")
            except SocError:  # a full or failing disk: said by its own health; the records stay here and are tried again
                self.accounting.refused("syslog_waits")
            if loop.time() + pause > self._give_up:
                self.accounting.lost("syslog_at_stop", len(records), source.id)
                return
            await asyncio.sleep(pause)
            pause = min(_LONGEST_WAIT, pause * 2)
        self.accounting.accepted(source.id, source.lane, len(records), sum(map(len, records)), duplicate=receipt.duplicate)

    def _batch(self, source: Sender, peer: str, records: Sequence[bytes], agency: str) -> Batch:
        payload = b"".join([part for record in records for part in (len(record).to_bytes(4, "little"), record)])
        compression = Compression.NONE
        if len(payload) >= _WORTH_PACKING:
            payload, compression = self._packer.compress(payload), Compression.ZSTD
        first = self._numbers.get(source.id, 0)
        self._numbers[source.id] = first + len(records)
        now = int(self._clock() * 1e6)
        context = FrameContext(
            source=source.id, stream=f"syslog:{source.id}:{self._start_id}", first=first, count=len(records), read_at=now,
            ingested=now, agency=agency, format=source.format, timezone=source.timezone, year=source.year,
            peer=peer, retention=source.retention)
        return Batch(context, Encoding.SIZED, compression, payload)
