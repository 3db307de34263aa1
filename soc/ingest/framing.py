"""Syslog messages out of a TCP byte stream: RFC 6587 octet counting and line ends, told apart message by message.

Pure: bytes in, records out, the same records however the stream is cut into pieces. What cannot be framed as it says is
kept as it stands up to the next place where a message can begin: a lying count costs order, not content.
"""
from __future__ import annotations

import re

__all__ = ["Framer", "marked"]

_COUNTED = re.compile(rb"([1-9][0-9]{0,9}) <")
_PERHAPS_COUNTED = re.compile(rb"[1-9][0-9]{0,9} ?")
_LINE_END = re.compile(rb"\n")
_LINE_END_OR_COUNT = re.compile(rb"\n|(?<![0-9])(?=[1-9][0-9]{0,6} <[0-9]{1,3}>)")
_LOOKAHEAD = 14  # bytes that decide whether a counted message begins: one before it, 7 digits, space, "<", 3 digits, ">"
_PLAUSIBLE = 16 << 20


def marked(head: bytes, limit: int) -> bytes:
    """What is kept of a record longer than `limit` bytes."""
    return head + b" [cut at %d bytes]" % limit


class Framer:
    """Cuts one connection's stream into records of at most `limit` bytes (longer ones keep their head and a marker).

    A number counts if `<` follows it. One beyond 16 MiB is a lie that makes the stream `broken`, with the reason. Once
    a connection has counted, text that does not also ends where a counted message begins.
    """

    def __init__(self, limit: int) -> None:
        self.broken = ""
        self.cut_records = 0
        self.cut_bytes = 0
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 1
        self._line_end = _LINE_END
        self._to_drop = 0
        self._do = self._begin

    def feed(self, data: bytes) -> list[bytes]:
        """The records that are complete now; none any more once the stream is broken."""
        records: list[bytes] = []
        self._buffer += data
        while self._buffer and not self.broken and self._do(records):
            pass
        return records

    def finish(self) -> list[bytes]:
        """The stream has ended: what was begun is kept, as the sender may never send it again."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        if self.broken or self._do in (self._drop, self._drop_line):
            self.cut_bytes += len(rest)
            return []
        counted = _COUNTED.match(rest)
        if self._do == self._begin and counted:
            self.cut_records += 1
            rest = rest[counted.end() - 1 :]
        elif len(rest) > self._limit:
            self.cut_records += 1
            self.cut_bytes += len(rest) - self._limit
            rest = marked(rest[: self._limit], self._limit)
        rest = rest.removesuffix(b"\r")
        return [rest] if rest else []

    # Each step takes something off the buffer and returns True, or returns False: more bytes are needed.

    def _begin(self, records: list[bytes]) -> bool:
        buffer = self._buffer
        if buffer[0] == 0x0A:
            del buffer[:1]
            return True
        counted = _COUNTED.match(buffer)
        if counted:
            return self._counted(counted.end() - 1, int(counted[1]), records)
        if _PERHAPS_COUNTED.fullmatch(buffer):
            return False
        self._scanned = 1
        self._do = self._line
        return True

    def _counted(self, begins: int, count: int, records: list[bytes]) -> bool:
        if count > _PLAUSIBLE:
            self.broken = "octet_count"
            return False
        size = min(count, self._limit)
        if len(self._buffer) < begins + size:
            return False
        self._line_end = _LINE_END_OR_COUNT
        record = bytes(self._buffer[begins : begins + size])
        del self._buffer[: begins + size]
        if count > size:
            self.cut_records += 1
            self._to_drop = count - size
            self._do = self._drop
            record = marked(record, self._limit)
        records.append(record.removesuffix(b"\n").removesuffix(b"\r"))
        return True

    def _drop(self, records: list[bytes]) -> bool:
        size = min(self._to_drop, len(self._buffer))
        del self._buffer[:size]
        self.cut_bytes += size
        self._to_drop -= size
        if not self._to_drop:
            self._do = self._begin
        return True

    def _line(self, records: list[bytes]) -> bool:
        buffer = self._buffer
        found = self._line_end.search(buffer, self._scanned)
        if found is None and len(buffer) < self._limit + _LOOKAHEAD:
            self._scanned = max(1, len(buffer) - _LOOKAHEAD)
            return False
        if found is None or found.start() > self._limit:
            records.append(marked(bytes(buffer[: self._limit]), self._limit))
            self.cut_records += 1
            self.cut_bytes -= 1
            del buffer[: self._limit - 1]  # the last byte kept stays, as what stands before the next
            self._do = self._drop_line
            return True
        record = bytes(buffer[: found.start()]).removesuffix(b"\r")
        del buffer[: found.start()]
        if record:
            records.append(record)
        self._do = self._begin
        return True

    def _drop_line(self, records: list[bytes]) -> bool:
        buffer = self._buffer
        found = self._line_end.search(buffer, 1)
        size = found.start() if found else max(0, len(buffer) - _LOOKAHEAD)
        del buffer[:size]
        self.cut_bytes += size
        if found:
            self._do = self._begin
        return found is not None
