"""The other end of the gateway's local socket: cuts records into batches and delivers them until they are acknowledged.

Batches are cut by content alone, so that what is sent again after an interruption is a whole duplicate or wholly new.
"""
from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import zstandard

from soc.errors import DiskFullError, InputRefused, StoreError, TooLargeError
from soc.event import UNASSIGNED, FrameContext, Lane, Origin
from soc.ingest.local import connect_local

__all__ = ["Delivered", "Delivery", "GatewayClient", "Shipment", "cut", "encode"]

LINES, SIZED = "application/x-ndjson", "application/vnd.soc.records"
MAX_RECORDS, MAX_BYTES = 1_000, 1 << 20
_TIMEOUT = 60.0
_RANGES = ("received", "ranges")
_SAFE = "/:\\ ()[]{}!@,;=+&~'"


@dataclass(frozen=True, slots=True)
class Shipment:
    """What is true of every batch of one imported file, or of one invented source. Times in microseconds since 1970 UTC, 0 unknown."""

    stream: str
    import_id: str
    read_at: int
    agency: str = UNASSIGNED
    format: str = "auto"
    timezone: str = ""
    year: int | None = None
    path: str = ""
    file_time: int = 0
    source: str = ""
    origin: Origin = Origin.IMPORT
    lane: Lane = Lane.BULK

    def headers(self, first: int, count: int) -> dict[str, str]:
        """The headers of the batch that holds records `first` and following. Empty ones are left out."""
        found = {
            "Soc-Stream": self.stream, "Soc-Epoch": "0", "Soc-First": str(first), "Soc-Count": str(count),
            "Soc-Read-At": str(self.read_at), "Soc-Format": self.format, "Soc-Import": self.import_id,
            "Soc-Agency": self.agency, "Soc-Origin": self.origin.value, "Soc-Lane": self.lane.value, "Soc-Source": self.source,
            "Soc-Path": quote(self.path[-500:], safe=_SAFE),
            "Soc-Timezone": self.timezone, "Soc-Year": str(self.year) if self.year else "",
            "Soc-File-Time": str(self.file_time) if self.file_time else "",
        }
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class Delivered:
    """Records of a batch that are new to the centre, and those it had already."""

    new: int
    duplicates: int


class Delivery:
    """Where batches go; the gateway's client is the real one."""

    def send(self, shipment: Shipment, first: int, records: Sequence[bytes]) -> Delivered:
        """Deliver until acknowledged. Raises InputRefused, StoreError."""
        raise NotImplementedError

    def forget(self, import_id: str) -> None:
        """Have the received ranges of an import dropped."""
        raise NotImplementedError


def cut(records: Iterable[bytes], *, most: int = MAX_RECORDS, size: int = MAX_BYTES) -> Iterator[list[bytes]]:
    """Batches of at most `most` records and `size` bytes (one record may be larger), by content alone."""
    batch: list[bytes] = []
    held = 0
    for record in records:
        if batch and (len(batch) >= most or held + len(record) > size):
            yield batch
            batch, held = [], 0
        batch.append(record)
        held += len(record)
    if batch:
        yield batch


def encode(records: Sequence[bytes]) -> tuple[str, bytes]:
    """(media type, body): lines where no record could be taken apart by its own content, else sized records."""
    lines = b"\n".join(records)
    if all(records) and b"\r" not in lines and lines.count(b"\n") == len(records) - 1:
        return LINES, lines + b"\n"
    return SIZED, b"".join(part for record in records for part in (len(record).to_bytes(4, "little"), record))


class GatewayClient(Delivery):
    """Speaks HTTP over the gateway's local socket. Waits and tries again while the gateway is away or full."""

    def __init__(self, path: Path, *, waiting: Callable[[str, float], None] = lambda _reason, _seconds: None,
                 patience: float = 300.0, sleep: Callable[[float], None] = time.sleep,
                 clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random) -> None:
        """`waiting` hears why and how many seconds it waits; after `patience` seconds without success it gives up."""
        self._path = path
        self._waiting, self._patience, self._sleep, self._clock, self._chance = waiting, patience, sleep, clock, chance
        self._connection: _LocalConnection | None = None
        self._compressor = zstandard.ZstdCompressor(level=3)

    def answers(self) -> bool:
        """Whether a gateway listens on the socket right now."""
        probe = _LocalConnection(self._path, 2.0)
        try:
            probe.connect()
        except OSError:
            return False
        probe.close()
        return True

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, shipment: Shipment, first: int, records: Sequence[bytes]) -> Delivered:
        """Deliver one batch until it is acknowledged; a partial overlap is cut to what is missing.

        Raises InputRefused (the gateway will never take it) and StoreError (it did not within the patience).
        """
        kind, body = encode(records)
        headers = shipment.headers(first, len(records)) | {"Content-Type": kind, "Content-Encoding": "zstd"}
        status, answer, lost = self._until_answered("POST", "/ingest/v1/batches", headers, self._compressor.compress(body))
        if status == 200:  # after a lost answer a duplicate is, as a rule, our own first try
            known = len(records) if answer.get("duplicate") and not lost else 0
            return Delivered(len(records) - known, known)
        if status == 409:
            return self._missing(shipment, first, records, answer)
        if status == 413 and len(records) > 1:
            half = len(records) // 2
            parts = self.send(shipment, first, records[:half]), self.send(shipment, first + half, records[half:])
            return Delivered(sum(p.new for p in parts), sum(p.duplicates for p in parts))
        raise _refusal(status, answer)

    def replay(self, context: FrameContext, number: int, record: bytes) -> None:
        """Have the record of a dead letter read again, with all that was known of it. Raises InputRefused, StoreError."""
        said = {
            "Soc-Stream": context.stream, "Soc-Epoch": str(context.epoch), "Soc-First": str(context.first), "Soc-Count": "1",
            "Soc-Read-At": str(context.read_at), "Soc-Format": context.format, "Soc-Import": context.import_id,
            "Soc-Agency": context.agency, "Soc-Origin": context.origin.value, "Soc-Lane": "bulk", "Soc-Source": context.source,
            "Soc-Path": quote(context.path, safe=_SAFE), "Soc-Timezone": context.timezone,
            "Soc-Year": str(context.year) if context.year else "", "Soc-Retention": context.retention,
            "Soc-File-Time": str(context.file_time) if context.file_time else "", "Soc-Replay": str(number),
            "Content-Type": SIZED, "Content-Encoding": "zstd",
        }
        body = self._compressor.compress(len(record).to_bytes(4, "little") + record)
        status, answer, _ = self._until_answered("POST", "/ingest/v1/batches", {k: v for k, v in said.items() if v}, body)
        if status != 200:
            raise _refusal(status, answer)

    def forget(self, import_id: str) -> None:
        """Have the gateway drop the received ranges of an undone import. Raises InputRefused, StoreError."""
        status, answer, _ = self._until_answered("POST", f"/local/v1/imports/{quote(import_id, safe='')}/forget", {}, b"")
        if status != 200:
            raise _refusal(status, answer)

    def _missing(
        self, shipment: Shipment, first: int, records: Sequence[bytes], answer: Mapping[str, object],
    ) -> Delivered:
        """Send only what lies outside the ranges of a 409."""
        ranges = next((answer[key] for key in _RANGES if isinstance(answer.get(key), list)), None)
        if not isinstance(ranges, list):
            raise _refusal(409, answer)
        known = bytearray(len(records))
        for low, high in ranges:
            for index in range(max(int(low) - first, 0), min(int(high) - first + 1, len(records))):
                known[index] = 1
        if not any(known):
            raise InputRefused("the gateway reports an overlap that its own ranges do not show")
        new, duplicates, at = 0, sum(known), 0
        while at < len(records):
            end = at
            while end < len(records) and known[end] == known[at]:
                end += 1
            if not known[at]:
                part = self.send(shipment, first + at, records[at:end])
                new, duplicates = new + part.new, duplicates + part.duplicates
            at = end
        return Delivered(new, duplicates)

    def _until_answered(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes,
    ) -> tuple[int, dict[str, object], bool]:
        began, tries, lost = self._clock(), 0, False
        while True:
            pause = min(5.0, 0.1 * 2 ** min(tries, 6))
            try:
                status, answered, answer = self._once(method, path, headers, body)
                if status not in (408, 429, 500, 502, 503):
                    return status, answer, lost
                asked = answered.get("retry-after", "")
                pause = max(pause, min(float(asked), 60.0)) if asked.isdigit() else pause
                reason = str(answer.get("detail") or f"the gateway answers {status}")
            except (OSError, http.client.HTTPException) as fault:
                self.close()
                lost = lost or not isinstance(fault, FileNotFoundError | ConnectionRefusedError)
                reason = f"no answer from the gateway ({fault or type(fault).__name__})"
                status = 0
            if self._clock() - began > self._patience:
                kind = DiskFullError if status == 503 else StoreError
                raise kind(reason, remedy="see `soc doctor`; then run the same command again, it goes on where it stopped")
            tries += 1
            pause *= 0.75 + self._chance() / 2
            if tries > 2:
                self._waiting(reason, pause)
            self._sleep(pause)

    def _once(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes,
    ) -> tuple[int, dict[str, str], dict[str, object]]:
        if self._connection is None:
            self._connection = _LocalConnection(self._path, _TIMEOUT)
        self._connection.request(method, path, body=body, headers=dict(headers))
        response = self._connection.getresponse()
        data = response.read(1 << 20)
        if response.will_close:
            self.close()
        try:
            answer = json.loads(data) if data else {}
        except ValueError:
            answer = {}
        names = {name.lower(): value for name, value in response.getheaders()}
        return response.status, names, answer if isinstance(answer, dict) else {}


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over the gateway's socket file."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        local = connect_local(self._path)
        local.settimeout(self.timeout)
        self.sock = local


def _refusal(status: int, answer: Mapping[str, object]) -> InputRefused:
    text = str(answer.get("detail") or answer.get("title") or f"the gateway answers {status}")[:500]
    kind = TooLargeError if status == 413 else InputRefused
    return kind(text, remedy=str(answer.get("remedy") or "")[:500])
