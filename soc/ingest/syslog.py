"""The syslog receiver over TCP and TLS: framed, batched, and kept like any other batch; the socket waits while the intake does.

Exact from receipt: what was read is in the journal, or counted as lost with its reason. The sender's buffer is the sender's.
"""
from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from soc.errors import StoreError
from soc.ingest.framing import Framer
from soc.ingest.sender import Sender, SenderCache, Senders
from soc.ingest.syslogbatches import SyslogBatches

__all__ = ["SyslogServer"]

_READ = 64 * 1024
_RECHECK = 2.0  # seconds after which a connection's source is looked up again: a disabled source is cut off in seconds


@dataclass(slots=True, eq=False)
class _Connection:
    """One sender's connection and what was read of it but not handed on."""

    task: asyncio.Task[None]
    source: Sender
    peer: str
    framer: Framer
    checked: float
    records: list[bytes] = field(default_factory=list)
    size: int = 0
    due: float = 0.0
    reading: bool = False
    cut: tuple[int, int] = (0, 0)


class SyslogServer:
    """Accepts connections on listening sockets, plain or TLS.

    `default()` is the source of addresses that no source claims; without one they are refused and counted.
    """

    def __init__(self, batches: SyslogBatches, sources: Senders, *, default: Callable[[], Sender | None] = lambda: None) -> None:
        self._batches, self._limits, self._accounting = batches, batches.limits, batches.accounting
        self._senders, self._default = SenderCache(sources), default
        self._connections: set[_Connection] = set()
        self._servers: list[asyncio.Server] = []

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Begin to accept on a bound socket; several may be given, one after the other."""
        self._servers.append(await asyncio.start_server(self._connected, sock=listener, ssl=tls, limit=_READ // 2))

    async def stop(self) -> None:
        """Accept no more, hand on what was read (for at most `limits.flush` seconds), close every connection."""
        self._batches.stop()
        for server in self._servers:
            server.close()
        waited = [connection.task for connection in self._connections]
        for connection in self._connections:
            if connection.reading:
                connection.task.cancel()
        await asyncio.gather(*waited, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accounting.connected("syslog", 1)
        connection: _Connection | None = None
        try:
            connection = await self._admit(writer)
            if connection is not None:
                await self._receive(reader, connection)
        except (ConnectionError, TimeoutError, ssl.SSLError):
            self._accounting.refused("syslog_reset", peer=str((writer.get_extra_info("peername") or ("",))[0]))
        finally:
            if connection is not None:
                self._connections.discard(connection)
            self._accounting.connected("syslog", -1)
            writer.close()

    async def _admit(self, writer: asyncio.StreamWriter) -> _Connection | None:
        peer = str((writer.get_extra_info("peername") or ("",))[0])
        task = asyncio.current_task()
        if task is None or self._batches.stopping() or len(self._connections) >= self._limits.connections:
            self._accounting.refused("syslog_connections", peer=peer)
            return None
        try:
            source = await self._senders.by_address(peer) or await asyncio.to_thread(self._default)
        except StoreError:
            self._accounting.refused("sources")
            return None
        if source is None or not source.enabled:
            self._accounting.refused("syslog_unknown", peer=peer)
            return None
        connection = _Connection(task, source, peer, Framer(self._limits.message), self._now())
        self._connections.add(connection)
        return connection

    async def _receive(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        """Read, frame and hand on until the sender or this server ends, or the source is cut off."""
        framer = connection.framer
        try:
            while not framer.broken:
                data = await self._read(reader, connection)
                if data is None:
                    await self._hand_on(connection)
                    if not await self._still_welcome(connection):
                        return
                    continue
                if not data:
                    break
                self._took(connection, framer.feed(data))
                while len(connection.records) >= self._limits.records or connection.size >= self._limits.bytes:
                    await self._hand_on(connection)
                if not await self._still_welcome(connection):
                    return
            if framer.broken:
                self._accounting.refused("syslog_" + framer.broken, connection.source.id, peer=connection.peer)
        finally:
            self._took(connection, framer.finish())
            while connection.records:
                await self._hand_on(connection)

    async def _read(self, reader: asyncio.StreamReader, connection: _Connection) -> bytes | None:
        """The next bytes; b"" at the end; None when what was read is due. Raises TimeoutError after long silence."""
        if self._batches.stopping():  # what the operating system handed over already, without waiting for more
            return await _at_once(reader)
        wait = max(0.0, connection.due - self._now()) if connection.records else self._limits.idle
        connection.reading = True
        try:
            async with asyncio.timeout(wait):
                return await reader.read(_READ)
        except TimeoutError:
            if connection.records:
                return None
            self._accounting.refused("syslog_idle", connection.source.id)
            return b""
        except asyncio.CancelledError:
            if not self._batches.stopping():
                raise
            connection.task.uncancel()
            return await _at_once(reader)
        finally:
            connection.reading = False

    def _took(self, connection: _Connection, records: list[bytes]) -> None:
        framer = connection.framer
        cut = (framer.cut_records, framer.cut_bytes)
        if cut != connection.cut:
            self._accounting.cut("syslog", cut[0] - connection.cut[0], cut[1] - connection.cut[1])
            connection.cut = cut
        if records:
            if not connection.records:
                connection.due = self._now() + self._limits.linger
            connection.records += records
            connection.size += sum(map(len, records))

    async def _still_welcome(self, connection: _Connection) -> bool:
        """Whether the connection's source still takes from it; looked up every few seconds."""
        if self._now() - connection.checked < _RECHECK or self._batches.stopping():
            return True
        try:
            source = await self._senders.by_address(connection.peer) or await asyncio.to_thread(self._default)
        except StoreError:
            return True  # the source is known by its address, which has not changed
        connection.checked = self._now()
        if source is None or not source.enabled:
            self._accounting.refused("syslog_unknown", connection.source.id, peer=connection.peer)
            return False
        if source != connection.source:
            while connection.records:
                await self._hand_on(connection)
            connection.source = source
        return True

    async def _hand_on(self, connection: _Connection) -> None:
        """Give one batch to the intake, waiting as long as it must: meanwhile the socket is not read."""
        records = connection.records[: self._limits.records]
        connection.records = connection.records[self._limits.records :]
        connection.size = sum(map(len, connection.records))
        if records:
            await self._batches.keep(connection.source, connection.peer, records)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _at_once(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(0.01):
            return await reader.read(_READ)
    except TimeoutError:
        return b""
