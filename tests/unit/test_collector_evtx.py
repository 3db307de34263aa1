"""Event logs, made here byte by byte, and what damage does to them."""
from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from collectors.evtx import read_evtx
from collectors.lines import Tally
from soc.errors import InputRefused

CHUNK, FIRST = 65536, 4096


def element(at: int, name: str, content: bytes) -> bytes:
    """One BinXML element that lies at `at` of its chunk, its name spelt out in place."""
    spelt = struct.pack("<IHH", 0, 0, len(name)) + name.encode("utf-16-le") + b"\0\0"
    body = struct.pack("<I", at + 9) + spelt + b"\x02" + content + b"\x04"
    return b"\x01" + struct.pack("<I", len(body)) + body


def text(value: str) -> bytes:
    return b"\x05\x01" + struct.pack("<H", len(value)) + value.encode("utf-16-le")


def record(number: int, at: int, computer: str) -> bytes:
    start = at + 24 + 4
    inner_at = start + 9 + 8 + len("Event") * 2 + 2 + 1
    xml = b"\x0f\x01\x01\x00" + element(start, "Event", element(inner_at, "Computer", text(computer))) + b"\x00"
    size = 24 + len(xml) + 4
    padding = -size % 8
    size += padding
    head = struct.pack("<4sIQQ", b"\x2a\x2a\0\0", size, number, 133_000_000_000_000_000)
    return head + xml + b"\0" * padding + struct.pack("<I", size)


def chunk(numbers: Iterable[int]) -> bytes:
    body, numbers = b"", list(numbers)
    for number in numbers:
        body += record(number, 512 + len(body), f"HOST-{number}")
    head = struct.pack("<8sQQQQIIII", b"ElfChnk\0", numbers[0], numbers[-1], numbers[0], numbers[-1], 128, 512, 512 + len(body),
                       zlib.crc32(body))
    head = head.ljust(120, b"\0")
    tables = bytes(384)
    head += struct.pack("<II", 0, zlib.crc32(tables, zlib.crc32(head)))
    return (head + tables + body).ljust(CHUNK, b"\0")


def event_log(*chunks: bytes) -> bytes:
    head = struct.pack("<8sQQQIHHHH", b"ElfFile\0", 0, len(chunks) - 1, 1000, 128, 1, 3, 4096, len(chunks)).ljust(120, b"\0")
    return (head + struct.pack("<II", 0, zlib.crc32(head))).ljust(FIRST, b"\0") + b"".join(chunks)


def read(content: bytes) -> tuple[list[str], Tally]:
    tally = Tally()
    found = [json.loads(each)["Event"]["Computer"] for each in read_evtx(io.BytesIO(content), tally)]
    return found, tally


def test_every_event_is_one_json_document_in_order() -> None:
    found, tally = read(event_log(chunk(range(1, 4)), chunk(range(4, 6))))
    assert found == ["HOST-1", "HOST-2", "HOST-3", "HOST-4", "HOST-5"]
    assert tally == Tally()


def test_chunk_without_header_is_skipped_counted_and_named() -> None:
    broken = bytearray(chunk(range(4, 6)))
    broken[0:4] = b"XXXX"
    found, tally = read(event_log(chunk(range(1, 4)), bytes(broken), chunk(range(6, 8))))
    assert found == ["HOST-1", "HOST-2", "HOST-3", "HOST-6", "HOST-7"]
    assert tally.bad >= 1
    assert any("chunk 1" in fault for fault in tally.faults)


def test_chunk_with_wrong_checksum_is_named_and_what_reads_is_taken() -> None:
    broken = bytearray(chunk(range(4, 6)))
    place = broken.index("HOST-4".encode("utf-16-le"))
    broken[place] = ord("M")
    found, tally = read(event_log(chunk(range(1, 4)), bytes(broken)))
    assert found[:3] == ["HOST-1", "HOST-2", "HOST-3"]
    assert any("chunk 1 fails its checksum" in fault for fault in tally.faults)


def test_bad_record_is_counted_and_the_rest_goes_on() -> None:
    broken = bytearray(chunk(range(4, 7)))
    place = 512 + len(record(4, 512, "HOST-4"))
    broken[place:place + 4] = b"\xff\xff\xff\xff"
    found, tally = read(event_log(bytes(broken), chunk(range(7, 9))))
    assert "HOST-4" in found
    assert found[-2:] == ["HOST-7", "HOST-8"]
    assert tally.bad >= 1


def test_log_that_breaks_off_within_a_chunk_gives_what_is_there() -> None:
    found, tally = read(event_log(chunk(range(1, 4)), chunk(range(4, 6)))[:FIRST + CHUNK + 512 + 200])
    assert found[:4] == ["HOST-1", "HOST-2", "HOST-3", "HOST-4"][:len(found)]
    assert found[:3] == ["HOST-1", "HOST-2", "HOST-3"]
    assert any("chunk 1 is cut off" in fault for fault in tally.faults)


@pytest.mark.parametrize("content", [b"", b"hello world", b"ElfFile\0", b"\0" * 5000, b"PK\x03\x04" + b"x" * 5000])
def test_what_is_no_event_log_is_refused_with_a_reason(content: bytes) -> None:
    with pytest.raises(InputRefused, match="event log"):
        read(content)


def test_event_over_the_cap_is_cut_and_counted() -> None:
    tally = Tally()
    first, _ = list(read_evtx(io.BytesIO(event_log(chunk(range(1, 3)))), tally, 30))
    assert len(first) <= 30
    assert first.endswith(b"bytes in all]")
    assert tally.cut == 2


@pytest.mark.parametrize(("archive", "files", "records"), [
    ("sigma-regression.zip", 202, 238), ("evtx-attack-samples.zip", 128, 4171),
])
def test_real_event_logs_are_read_whole(test_data: Path, archive: str, files: int, records: int) -> None:
    with zipfile.ZipFile(test_data / archive) as found:
        names = [name for name in found.namelist() if name.endswith(".evtx")]
        tally = Tally()
        count = sum(sum(1 for _ in read_evtx(io.BytesIO(found.read(name)), tally)) for name in names)
    assert (len(names), count, tally.bad, tally.cut) == (files, records, 0, 0)
