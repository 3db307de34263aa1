"""The syslog receiver over UDP (RFC 5426): one datagram is one message. Best effort, and what is lost is counted.

Nobody tells a UDP sender to wait: the kernel drops what is not read in time (`udp_kernel`), and here is dropped what a
source sends faster than the intake takes (`udp_queue`), so that one source's flood costs no other source a message.
"""
from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from soc.errors import StoreError
from soc.ingest.framing import marked
from soc.ingest.sender import Sender, Senders
from soc.ingest.syslogbatches import SyslogBatches

__all__ = ["DatagramServer", "kernel_drops"]

_LARGEST = 65_535
_AT_ONCE = 128  # datagrams read before others of the loop have their turn
_AT_STOP = 100_000  # datagrams that are still read from the kernel at the end
_RECHECK = 2.0  # seconds an answer about an address serves: a new or a disabled source is seen in seconds
_ADDRESSES = 10_000  # addresses that are remembered: senders' addresses can be forged without end
_HELD = 1 << 20  # bytes kept of an address until it is known whose it is
_TABLES = (Path("/proc/net/udp"), Path("/proc/net/udp6"))


@dataclass(slots=True)
class _Address:
    """What is known of an address: its source (None: nobody's) and until when that serves; what waits for the answer."""

    source: Sender | None = None
    until: float = 0.0
    asking: bool = False
    held: list[bytes] = field(default_factory=list)
    size: int = 0
    overflow: int = 0


@dataclass(slots=True)
class _Box:
    """Datagrams of one source that are not handed on yet, and the task that does it."""

    waiting: list[tuple[str, bytes, Sender]] = field(default_factory=list)
    size: int = 0
    task: asyncio.Task[None] | None = None


class DatagramServer:
    """Reads one bound, non-blocking UDP socket. `default()` is the source of addresses that no source claims."""

    def __init__(self, batches: SyslogBatches, sources: Senders, *, default: Callable[[], Sender | None] = lambda: None) -> None:
        self._batches, self._limits, self._accounting = batches, batches.limits, batches.accounting
        self._sources, self._default = sources, default
        self._addresses: dict[str, _Address] = {}
        self._boxes: dict[str, _Box] = {}
        self._size = 0
        self._wanted: dict[str, _Address] = {}
        self._finder: asyncio.Task[None] | None = None
        self._buffer = memoryview(bytearray(_LARGEST))
        self._socket: socket.socket | None = None
        self._dropped: int | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    def start(self, bound: socket.socket) -> None:
        """Begin to read."""
        self._socket = bound
        _enlarge(bound, self._limits.buffer)
        self._dropped = kernel_drops(bound)
        loop = asyncio.get_running_loop()
        loop.add_reader(bound.fileno(), self._readable, bound)
        self._watcher = loop.create_task(self._watch(bound), name="udp-drops")

    async def stop(self) -> None:
        """Take what the kernel holds, hand it on (for at most `limits.flush` seconds), close."""
        self._batches.stop()
        self._ending.set()
        bound, self._socket = self._socket, None
        if bound is None:
            return
        asyncio.get_running_loop().remove_reader(bound.fileno())
        if self._watcher is not None:
            self._watcher.cancel()
        self._read(bound, _AT_STOP)
        self._count_drops(bound)
        bound.close()
        if self._finder is not None:
            await self._finder
        await asyncio.gather(*[box.task for box in self._boxes.values() if box.task], return_exceptions=True)

    def _readable(self, bound: socket.socket) -> None:
        self._read(bound, _AT_ONCE)

    def _read(self, bound: socket.socket, most: int) -> None:
        for _ in range(most):
            try:
                size, sender = bound.recvfrom_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an ICMP answer to something else on this socket: nothing was received
                continue
            self._take(bytes(self._buffer[:size]), str(sender[0]))

    def _take(self, data: bytes, peer: str) -> None:
        record = data.rstrip(b"\r\n")
        if not record:
            self._accounting.refused("syslog_empty", peer=peer)
            return
        if len(record) > self._limits.message:
            self._accounting.cut("syslog", 1, len(record) - self._limits.message)
            record = marked(record[: self._limits.message], self._limits.message)
        known = self._addresses.get(peer)
        if known is None or known.until < self._now():
            known = self._ask(peer, known)
            if known is None:
                self._accounting.refused("syslog_unknown", peer=peer)
                return
        if known.until == 0.0:  # not heard of before: the first answer is on its way
            self._hold(known, record)
            return
        self._put(known.source, peer, record)

    def _hold(self, known: _Address, record: bytes) -> None:
        if known.size + len(record) > _HELD or self._size + len(record) > 8 * self._limits.waiting:
            known.overflow += 1
            return
        known.held.append(record)
        known.size += len(record)
        self._size += len(record)

    def _put(self, source: Sender | None, peer: str, record: bytes) -> None:
        if source is None:
            self._accounting.refused("syslog_unknown", peer=peer)
            return
        box = self._boxes.get(source.id)
        if box is None:
            box = self._boxes[source.id] = _Box()
        if box.size + len(record) > self._limits.waiting or self._size + len(record) > 8 * self._limits.waiting:
            self._accounting.lost("udp_queue", 1, source.id)
            return
        box.waiting.append((peer, record, source))
        box.size += len(record)
        self._size += len(record)
        if box.task is None:
            box.task = asyncio.get_running_loop().create_task(self._empty(source.id, box), name="udp-batches")

    def _ask(self, peer: str, known: _Address | None) -> _Address | None:
        """Have it found out whose an address is, in the background; None if too many are being asked about already."""
        if known is None:
            if len(self._addresses) >= _ADDRESSES:
                self._forget_addresses()
            if len(self._addresses) >= _ADDRESSES:
                return None
            known = self._addresses[peer] = _Address()
        if not known.asking:
            known.asking = True
            self._wanted[peer] = known
            if self._finder is None:
                self._finder = asyncio.get_running_loop().create_task(self._find(), name="udp-addresses")
        return known

    def _forget_addresses(self) -> None:
        """Nobody's go first: the senders that are known keep their place."""
        kept = {address: one for address, one in self._addresses.items() if one.asking or one.source is not None}
        if len(kept) >= _ADDRESSES:
            kept = {address: one for address, one in kept.items() if one.asking}
        self._addresses = kept

    async def _find(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, {}
            try:
                found = await asyncio.to_thread(self._sources_of, list(wanted))
            except StoreError:
                found = None
            for peer, known in wanted.items():
                self._answer(peer, known, found)
        self._finder = None

    def _sources_of(self, peers: list[str]) -> dict[str, Sender | None]:
        default = self._default()
        found = {peer: self._sources.by_address(peer) or default for peer in peers}
        return {peer: source if source is not None and source.enabled else None for peer, source in found.items()}

    def _answer(self, peer: str, known: _Address, found: dict[str, Sender | None] | None) -> None:
        """Hand on what was held of an address. If the sources cannot be read, what was known of it goes on."""
        if found is not None:
            known.source = found[peer]
        elif known.until == 0.0:
            self._accounting.refused("sources", peer=peer)
        known.until, known.asking = self._now() + _RECHECK, False
        held, known.held = known.held, []
        self._size -= known.size
        if known.overflow:
            self._accounting.lost("udp_queue", known.overflow, known.source.id if known.source else "")
        known.size = known.overflow = 0
        for record in held:
            self._put(known.source, peer, record)

    async def _empty(self, name: str, box: _Box) -> None:
        """Hand on one source's datagrams, batch by batch, until none wait."""
        try:
            await asyncio.wait_for(self._ending.wait(), self._limits.linger)
        except TimeoutError:
            pass
        while box.waiting:
            taken = box.waiting[: self._limits.records]
            del box.waiting[: len(taken)]
            groups: dict[tuple[str, str], tuple[Sender, list[bytes]]] = {}
            for peer, record, source in taken:
                groups.setdefault((peer, source.agency), (source, []))[1].append(record)
            await asyncio.gather(*[self._batches.keep(source, peer, records) for (peer, _), (source, records) in groups.items()])
            size = sum(len(record) for _, record, _ in taken)
            box.size -= size
            self._size -= size
        box.task = None
        self._boxes.pop(name, None)

    async def _watch(self, bound: socket.socket) -> None:
        """Count what the kernel dropped, every second."""
        while True:
            await asyncio.sleep(1.0)
            self._count_drops(bound)

    def _count_drops(self, bound: socket.socket) -> None:
        now = kernel_drops(bound)
        if now is None or self._dropped is None:
            return
        if now > self._dropped:
            self._accounting.lost("udp_kernel", now - self._dropped)
        self._dropped = now

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def kernel_drops(bound: socket.socket) -> int | None:
    """Datagrams that the kernel dropped of a socket because its buffer was full; None where /proc does not say.

    From the last column of /proc/net/udp, found by the socket's inode (proc_net_udp(5)).
    """
    inode = str(os.fstat(bound.fileno()).st_ino)
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            cells = line.split()
            if len(cells) >= 13 and cells[9] == inode:
                return int(cells[12])
    return None


def _enlarge(bound: socket.socket, size: int) -> None:
    """Ask for a larger receive buffer; the kernel grants at most net.core.rmem_max unless we may force it."""
    try:
        bound.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), size)
    except OSError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
