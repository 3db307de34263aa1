"""Windows event log files (.evtx) as records: each event as one JSON document. First step of an import.

The only home of the `evtx` library. The format: MS-EVEN6 and "EVTX format" of libevtx; a file is a header of 4 KiB and
chunks of 64 KiB, each with its own checksums, so that damage costs a chunk or a record and never the file.
"""
from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from evtx import PyEvtxParser

from collectors.lines import RECORD_CAP, Tally, cut_record
from soc.errors import InputRefused

__all__ = ["MAGIC", "read_evtx"]

MAGIC = b"ElfFile\0"
_CHUNK_MAGIC = b"ElfChnk\0"
_HEADER = 4096
_CHUNK = 65536
_MAX_FAULTS = 10_000


def read_evtx(file: BinaryIO, tally: Tally, cap: int = RECORD_CAP) -> Iterator[bytes]:
    """The events of `file` in their order, as JSON in UTF-8.

    Damaged chunks and records are counted and named in `tally` and the rest goes on; what still reads of a chunk whose
    checksum is wrong is taken (the last chunk of a log that was copied while open looks so).
    Raises InputRefused for anything that is no event log.
    """
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise InputRefused("not a Windows event log: it does not begin as one")
    if file.seek(0, io.SEEK_END) < _HEADER:
        raise InputRefused("not a readable Windows event log: it ends within its header")
    _check_chunks(file, tally)
    try:
        records: Any = PyEvtxParser(_Padded(file), number_of_threads=1).records_json()
    except (OSError, RuntimeError, ValueError) as fault:
        raise InputRefused(f"not a readable Windows event log: {_first_line(fault)}") from fault
    faults = 0
    while faults < _MAX_FAULTS:
        try:
            record = next(records)
        except StopIteration:
            return
        except (OSError, RuntimeError, ValueError) as fault:
            faults += 1
            tally.lost(_first_line(fault))
            continue
        except BaseException as fault:
            if type(fault).__name__ != "PanicException":  # the library's own failure is no Exception
                raise
            tally.lost(f"the reader failed: {_first_line(fault)}; the rest was not read")
            return
        data = record["data"].encode("utf-8", "replace")
        yield data if len(data) <= cap else cut_record(data, len(data), tally, cap)
    tally.name(f"more than {_MAX_FAULTS} faults; the rest was not read")


def _check_chunks(file: BinaryIO, tally: Tally) -> None:
    """Name every chunk that is cut off, has no header or fails its checksums (they are counted as bad when unreadable)."""
    file.seek(_HEADER)
    number = 0
    while chunk := file.read(_CHUNK):
        if chunk.startswith(_CHUNK_MAGIC):
            if len(chunk) < _CHUNK:
                tally.name(f"chunk {number} is cut off after {len(chunk)} bytes; what reads of it was taken")
            elif not _sums_right(chunk):
                tally.name(f"chunk {number} fails its checksum; what reads of it was taken")
        elif chunk.strip(b"\0"):
            tally.lost(f"chunk {number} has no sound header and was skipped")
        number += 1


def _sums_right(chunk: bytes) -> bool:
    free = int.from_bytes(chunk[48:52], "little")
    if not 512 <= free <= _CHUNK:
        return False
    records = zlib.crc32(memoryview(chunk)[512:free])
    head = zlib.crc32(memoryview(chunk)[128:512], zlib.crc32(memoryview(chunk)[:120]))
    return records == int.from_bytes(chunk[52:56], "little") and head == int.from_bytes(chunk[124:128], "little")


def _first_line(fault: BaseException) -> str:
    return str(fault).strip().partition("\n")[0][:200]


class _Padded(io.RawIOBase):
    """A file as whole chunks: a last one that is cut off ends in zeros, for the library gives up a short one silently."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = file.seek(0, io.SEEK_END)
        self._size = _HEADER + -(-max(0, self._end - _HEADER) // _CHUNK) * _CHUNK
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        wanted = min(len(view), max(0, self._size - self._at))
        got = b""
        if wanted and self._at < self._end:
            self._file.seek(self._at)
            got = self._file.read(min(wanted, self._end - self._at))
        view[: len(got)] = got
        view[len(got):wanted] = bytes(wanted - len(got))
        self._at += wanted
        return wanted
