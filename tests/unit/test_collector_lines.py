"""Lines and JSON documents as records."""
from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from collectors.lines import Tally, ends_whole, every_line, read_json, read_lines

MEGABYTE = 1 << 20


def lines(content: bytes, cap: int = MEGABYTE) -> tuple[list[bytes], Tally]:
    tally = Tally()
    return list(read_lines(io.BytesIO(content), tally, cap)), tally


def documents(content: bytes) -> tuple[list[bytes], Tally]:
    tally = Tally()
    return list(read_json(io.BytesIO(content), tally)), tally


@pytest.mark.parametrize(("content", "expected"), [
    (b"", []),
    (b"one\ntwo\n", [b"one", b"two"]),
    (b"one\r\ntwo\r\n", [b"one", b"two"]),
    (b"one\n\n\r\ntwo", [b"one", b"two"]),
    (b"last without newline", [b"last without newline"]),
    (b"\xef\xbb\xbfone\ntwo", [b"one", b"two"]),
    (b"a\0b\n\0\0\0\n", [b"a\0b", b"\0\0\0"]),
    (b"bad \xff utf-8\n", [b"bad \xff utf-8"]),
    ("\ufeffĐăng nhập\r\nhai\r\n".encode("utf-16-le"), ["Đăng nhập".encode(), b"hai"]),
    ("\ufeffĐăng nhập\nhai".encode("utf-16-be"), ["Đăng nhập".encode(), b"hai"]),
    ("\ufeffmột\n".encode("utf-32-le"), ["một".encode()]),
])
def test_lines_are_records(content: bytes, expected: list[bytes]) -> None:
    assert lines(content)[0] == expected


def test_line_over_the_cap_is_cut_marked_and_counted() -> None:
    found, tally = lines(b"before\n" + b"x" * (5 * MEGABYTE) + b"\nafter\n")
    assert found[0] == b"before"
    assert found[2] == b"after"
    assert len(found[1]) <= MEGABYTE
    assert found[1].endswith(b"[cut: %d bytes in all]" % (5 * MEGABYTE))
    assert (tally.cut, tally.bad) == (1, 0)


def test_last_line_over_the_cap_without_newline_is_kept_too() -> None:
    found, tally = lines(b"x" * (3 * MEGABYTE + 7))
    assert len(found) == 1
    assert found[0].endswith(b"[cut: %d bytes in all]" % (3 * MEGABYTE + 7))
    assert tally.cut == 1


def test_cut_falls_between_characters() -> None:
    found, _ = lines(("ế" * 1000 + "\n").encode(), cap=100)
    assert found[0].decode().startswith("ếế")


def test_line_exactly_at_the_cap_is_whole() -> None:
    found, tally = lines(b"y" * 64 + b"\n" + b"z" * 65 + b"\n", cap=64)
    assert found[0] == b"y" * 64
    assert tally.cut == 1


def test_blank_lines_are_counted_when_all_are_asked_for() -> None:
    lists = list(every_line(io.BytesIO(b"\xef\xbb\xbfone\n\n\r\ntwo\r\nthree"), Tally()))
    assert [line for lines in lists for line in lines] == [b"one", b"", b"", b"two", b"three"]


class _Dribbling(io.BytesIO):
    """Gives three bytes at most, as a slow pipe does."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(3, size if size and size > 0 else 3))


def test_short_reads_change_no_line() -> None:
    content, tally = b"one\n\r\n" + b"x" * 200 + b"\ntwo\r\n" + b"y" * 300, Tally()
    found = [line for lines in every_line(_Dribbling(content), tally, 100) for line in lines]
    assert [line.partition(b" ")[0].strip(b"xy") for line in found] == [b"one", b"", b"", b"two", b""]
    assert [len(line) for line in found] == [3, 0, 100, 3, 100]
    assert tally.cut == 2


@pytest.mark.parametrize("content", [b"one\r\ntwo\r\n", b"12345\r\n\r\n1\r\n", b"12\r\n", b"1\r2\n"])
def test_line_end_that_two_reads_divide_is_one(content: bytes) -> None:
    found = [line for lines in every_line(_Dribbling(content), Tally()) for line in lines]
    assert found == content.removesuffix(b"\r\n").removesuffix(b"\n").replace(b"\r\n", b"\n").split(b"\n")


@pytest.mark.parametrize(("content", "size", "whole"), [
    (b"one\ntwo\n", 4, True), (b"one\ntwo\n", 3, True), (b"one\r\ntwo", 3, True), (b"one\r\ntwo", 4, True),
    (b"one two\n", 3, False), (b"one\ntwo", 6, False),
    ("\ufeffone\ntwo\n".encode("utf-16-le"), 10, True), ("\ufeffone\ntwo\n".encode("utf-16-le"), 6, False),
])
def test_whether_an_earlier_end_was_the_end_of_a_line(content: bytes, size: int, whole: bool) -> None:
    assert ends_whole(io.BytesIO(content), size) is whole


def test_json_lines_stay_lines() -> None:
    content = b'{"a":1}\n{"a":2}\nnot json\n'
    assert documents(content)[0] == [b'{"a":1}', b'{"a":2}', b"not json"]


def test_pretty_printed_documents_are_records_as_they_stand() -> None:
    first, second = '{\n  "a": 1.50,\n  "b": "xin chào"\n}', '{\n "c": [1, 2]\n}'
    found, tally = documents(f"{first}\n{second}\n".encode())
    assert found == [first.encode(), second.encode()]
    assert tally == Tally()


def test_elements_of_an_array_are_records() -> None:
    found, tally = documents(b'[\n {"a": 1},\n {"a": 12345678901234567890}\n]\n')
    assert found == [b'{"a": 1}', b'{"a": 12345678901234567890}']
    assert tally.bad == 0


def test_large_array_is_read_in_pieces() -> None:
    rows = [{"n": n, "text": "x" * 200} for n in range(15_000)]
    found, tally = documents(json.dumps(rows, indent=1).encode())
    assert [json.loads(each)["n"] for each in found] == list(range(15_000))
    assert tally == Tally()


def test_text_in_brackets_is_lines() -> None:
    content = b"[2024-01-01 00:00:00] started\n[2024-01-01 00:00:01] stopped\n"
    assert documents(content)[0] == content.splitlines()


@pytest.mark.parametrize("rest", [b'{"b": ', b'{"b": tru}', b"[" * 200_000, b'{"b":' * 100_000])
def test_broken_document_is_counted_and_what_came_before_is_taken(rest: bytes) -> None:
    found, tally = documents(b'[{"a": 1},\n' + rest)
    assert found[0] == b'{"a": 1}'
    assert tally.bad <= 1
    assert tally.bad == 1 or rest.startswith(b"[")


def test_utf16_json_becomes_utf8() -> None:
    found, _ = documents('\ufeff[{"tên": "Đặng"}]'.encode("utf-16-le"))
    assert json.loads(found[0]) == {"tên": "Đặng"}


def test_real_windows_events_are_as_many_as_their_lines(test_data: Path) -> None:
    import zstandard

    tally = Tally()
    with open(test_data / "windows-events.jsonl.zst", "rb") as packed:
        content = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read()
    assert sum(1 for _ in read_lines(io.BytesIO(content), tally)) == 102_003
    assert tally == Tally()
