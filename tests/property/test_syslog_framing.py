"""Framing gives the same records however a stream is cut, and frames honest streams exactly."""
from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.ingest.framing import Framer, marked

LIMIT = 40
PIECES = st.sampled_from([
    b"\n", b"\r\n", b"\0", b"<13>", b"<34>1 - host", b"text", b"7 <13>ab", b"9 <13>abcde", b"10 <13>abcdef", b"12 ", b"0 <13>x",
    b"-5 <13>x", b"1000000000 <13>x", b"99999999999 <1>", b"45 <13>", b"x" * 30, b"y" * 60, b"1", b" ", b"<",
    b"60 <13>" + b"z" * 56,
])
STREAMS = st.one_of(
    st.lists(PIECES, max_size=20).map(b"".join),
    st.lists(st.sampled_from([b"1", b"2", b" ", b"<", b">", b"\n", b"a", b"3 <1>"]), max_size=120).map(b"".join),
)


def frame(stream: bytes, cuts: list[int], limit: int = LIMIT) -> tuple[list[bytes], str, int, int]:
    framer = Framer(limit)
    records: list[bytes] = []
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for begin, end in pairwise(bounds):
        records += framer.feed(stream[begin:end])
    records += framer.finish()
    return records, framer.broken, framer.cut_records, framer.cut_bytes


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=600, deadline=None)
def test_any_chunking_gives_the_same_records(stream: bytes, cuts: list[int]) -> None:
    whole = frame(stream, [])
    assert frame(stream, cuts) == whole
    assert frame(stream, list(range(len(stream)))) == whole


@given(stream=STREAMS)
@settings(max_examples=300, deadline=None)
def test_no_record_is_longer_than_the_limit_and_its_marker(stream: bytes) -> None:
    records, _, cut_records, _ = frame(stream, [])
    longest = LIMIT + len(marked(b"", LIMIT))
    assert all(0 < len(record) <= longest for record in records)
    assert sum(record.endswith(marked(b"", LIMIT)) for record in records) <= cut_records


MESSAGES = st.lists(st.binary(min_size=0, max_size=60).map(lambda rest: b"<13>" + rest.rstrip(b"\r\n")), max_size=12)


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 10_000), max_size=6))
@settings(max_examples=200, deadline=None)
def test_octet_counted_messages_come_out_exactly(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(b"%d %s" % (len(message), message) for message in messages)
    assert frame(stream, cuts, 1000) == (messages, "", 0, 0)


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 10_000), max_size=6), end=st.sampled_from([b"\n", b"\r\n"]))
@settings(max_examples=200, deadline=None)
def test_lines_come_out_exactly(messages: list[bytes], cuts: list[int], end: bytes) -> None:
    lines = [re.sub(rb"[\r\n]", b".", message) for message in messages]
    assert frame(end.join([*lines, b""]), cuts, 1000) == (lines, "", 0, 0)


@given(messages=st.lists(st.tuples(st.booleans(), st.binary(max_size=30)), max_size=12),
       cuts=st.lists(st.integers(0, 10_000), max_size=6))
@settings(max_examples=200, deadline=None)
def test_mixed_framing_on_one_connection(messages: list[tuple[bool, bytes]], cuts: list[int]) -> None:
    texts = [(counted, b"<13>" + re.sub(rb"[\r\n<]", b".", text)) for counted, text in messages]
    stream = b"".join(b"%d %s" % (len(text), text) if counted else text + b"\n" for counted, text in texts)
    assert frame(stream, cuts, 1000)[0] == [text for _, text in texts]


@pytest.mark.parametrize("stream, records, broken", [
    (b"5 <13>helloworld 9 <13>after", [b"<13>h", b"elloworld ", b"<13>after"], ""),  # a count too small: found again
    (b"20 <13>a9 <13>after\n9 <13>third", [b"<13>a9 <13>after\n9 <", b"13>third"], ""),  # too large: kept, in the wrong order
    (b"1000000000 <13>x\n<13>y\n", [], "octet_count"),
    (b"0 <13>x\n<13>y\n", [b"0 <13>x", b"<13>y"], ""),
    (b"-5 <13>x\n", [b"-5 <13>x"], ""),
    (b"123 not a count\n", [b"123 not a count"], ""),
    (b"<13>a\0b\n", [b"<13>a\0b"], ""),
    (b"\n\n\r\n", [], ""),
    (b"12", [b"12"], ""),
    (b"9 <13>cut", [b"<13>cut"], ""),
])
def test_lies_and_oddities(stream: bytes, records: list[bytes], broken: str) -> None:
    found, said, _, _ = frame(stream, [])
    assert (found, said) == (records, broken)


def test_a_line_of_many_megabytes_is_cut_once_and_the_rest_counted() -> None:
    framer = Framer(1000)
    records: list[bytes] = []
    for _ in range(300):
        records += framer.feed(bytes(64 * 1024))
    records += framer.feed(b"\n<13>next\n")
    assert records == [marked(bytes(1000), 1000), b"<13>next"]
    assert (framer.cut_records, framer.cut_bytes) == (1, 300 * 64 * 1024 - 1000)
