"""Whatever the bytes, parsing accounts for every record once and raises nothing."""

from __future__ import annotations

import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soc.ecs import kind_of
from soc.event import FrameContext
from soc.normalise.parser import ParsedFrame
from soc.normalise.records import MAX_RECORD, MAX_VALUE, Parsers
from soc.store.columns import batch_of

PARSERS = Parsers()
READ_AT = 1_709_251_200_000_000
FORMATS = ("auto", *PARSERS.names(), "no such format")
LONG = 200_000

HEADS = [
    b"",
    b"<34>",
    b"<999999>",
    b"Jan  1 00:00:00 ",
    b"Jan  1 00:00:00 h sshd[1]: ",
    b"Jan  1 00:00:00 h sshd[1]: Failed password for ",
    b"Jan  1 00:00:00 h sudo: ",
    b"Jan  1 00:00:00 h su[1]: ",
    b"Jan  1 00:00:00 h useradd[1]: ",
    b"Jan  1 00:00:00 h CRON[1]: (",
    b"Jan  1 00:00:00 h systemd[1]: Started ",
    b"Jan  1 00:00:00 h x: pam_unix(x:auth): authentication failure; ",
    b'<34>1 2024-01-01T00:00:00Z h a 1 I [a b="',
    b"<34>1 - - - - - [",
    b"type=SYSCALL msg=audit(1.2:3): ",
    b"type=EXECVE msg=audit(1.2:3): ",
    b"%SYS-5-CONFIG_I: ",
    b"%SEC_LOGIN-5-X: ",
    b"%SEC-6-IPACCESSLOGP: list ",
    b"%PARSER-5-CFGLOG_LOGGEDCMD: User:",
    b'1.1.1.1 - - [10/Oct/2023:13:55:36 +0700] "',
    b'1.1.1.1 - - [10/Oct/2023:13:55:36 +0700] "GET / HTTP/1.1" 200 1 "',
    b"2023/10/11 14:32:52 [error] 1#1: x, client: ",
    b"[Wed Oct 11 14:32:52 2023] [error] ",
    b'{"a":"',
    b'{"EventID":1,"Channel":"x","d":"',
    b'{"Event":{"System":{"EventID":1},"EventData":',
    b'{"winlog":',
    b'{"a":',
    b"CEF:0|v|p|1|id|name|5|",
    b"<34>Jan  1 00:00:00 h CEF:1|v|p",
    b"CEF:0|v|p|1|id|name|5|rt=Jan  1 00:00:00 ",
    b"LEEF:1.0|v|p|1|id|",
    b"LEEF:2.0|v|p|1|id|x5e|devTimeFormat=",
    b"LEEF:2.0|v|p|1|id|^|devTime=1^",
]
BODIES = [
    b"a",
    b" ",
    b'"',
    b"'",
    b"\\",
    b"=",
    b"a=",
    b'a="',
    b"a='",
    b"[",
    b"(",
    b"from ",
    b"from a port ",
    b", client: ",
    b'\\"',
    b"AA",
    b"\x00",
    b"<1>",
    b"% ",
    b"1:",
    b"\\ud800",
    b"a.",
    b" -> ",
    b'{"a":',
    b"\n",
    b"\ntype=X msg=audit(1.2:3): ",
    b"a[0]=b ",
    b"\xff",
    b"[user: ",
    b" k=",
    b" cs1Label=",
    b" cs1=",
    b"\\=",
    b"|",
    b"\t",
    b"^",
]


def parse(records: list[bytes], format: str = "auto", **context: object) -> ParsedFrame:
    frame = FrameContext("source", "stream", 0, len(records), READ_AT, READ_AT, format=format, **context)  # type: ignore[arg-type]
    parsed = PARSERS.parse_frame(frame, records)
    places = sorted([event.index for event in parsed.events] + [dead.index for dead in parsed.dead])
    assert places == list(range(len(records)))
    for one in parsed.events:
        assert isinstance(one.event["@timestamp"], int)
        assert one.event.keys() >= {"event.dataset", "event.original", "soc.log_sources"}
        for field, value in one.event.items():
            assert not field.endswith("[]")
            assert min(field) >= " "
            if isinstance(value, list):
                assert value
                assert all(isinstance(text, str) for text in value)
            elif kind_of(field) in ("long", "date"):
                assert isinstance(value, int)
            else:
                assert isinstance(value, str), field
    assert all(dead.reason != "parser_failed" for dead in parsed.dead), parsed.dead
    return parsed


def store(parsed: ParsedFrame) -> None:
    """The events fit the columns they are stored in."""
    if parsed.events:
        batch = batch_of([event.event for event in parsed.events])
        assert isinstance(batch, pa.RecordBatch)


names = st.sampled_from(
    [
        "",
        "@timestamp",
        "Event",
        "System",
        "EventData",
        "UserData",
        "EventID",
        "Channel",
        "SourceName",
        "Source",
        "UtcTime",
        "TimeCreated",
        "EventTime",
        "Keywords",
        "UserID",
        "AccountName",
        "Data",
        "#text",
        "#attributes",
        "Name",
        "winlog",
        "winlog.event_id",
        "event_data",
        "user_data",
        "event",
        "dataset",
        "source",
        "ip",
        "port",
        "source.ip",
        "process.pid",
        "kv",
        "a[]",
        "a.b",
        "a",
        "b",
        "__proto__",
        "soc.seq",
        "message",
        "tags",
        "Provider",
        "RenderingInfo",
        "Threat Name",
        "ThreatName",
        "event.created",
        "\x00",
        "organization.id",
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    records=st.lists(
        st.binary(max_size=80) | st.tuples(st.sampled_from(HEADS), st.binary(max_size=60)).map(b"".join), max_size=6
    ),
    format=st.sampled_from(FORMATS),
    zone=st.sampled_from(["Asia/Ho_Chi_Minh", "nowhere", ""]),
    year=st.sampled_from([None, 0, 2023]),
)
def test_every_record_of_arbitrary_bytes_is_an_event_or_a_dead_letter(
    records: list[bytes],
    format: str,
    zone: str,
    year: int | None,
) -> None:
    store(parse(records, format, timezone=zone, year=year))


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    documents=st.lists(st.dictionaries(names, values, max_size=6), max_size=4),
    format=st.sampled_from(["auto", "windows", "json"]),
)
def test_every_json_object_is_an_event_or_a_dead_letter_and_fits_columns(
    documents: list[dict[str, object]], format: str
) -> None:
    store(parse([orjson.dumps(document) for document in documents], format))


@settings(max_examples=60, deadline=None)
@given(
    document=st.dictionaries(
        st.text(
            st.characters(min_codepoint=32, exclude_characters=" []\x7f", exclude_categories=["Cs", "Cc"]),
            min_size=1,
            max_size=8,
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
        max_size=8,
    )
)
def test_flat_windows_event_data_is_lossless(document: dict[str, str]) -> None:
    record = orjson.dumps({"x" + name: text for name, text in document.items()} | {"EventID": 1, "Channel": "Any"})
    event = parse([record]).events[0].event
    assert {
        name[len("winlog.event_data.x") :]: text for name, text in event.items() if name.startswith("winlog.event_data.")
    } == document


@pytest.mark.parametrize("head", HEADS, ids=lambda head: repr(head[:24]))
def test_long_hostile_lines_end(head: bytes) -> None:
    """200 kB of repetition behind every kind of head; patterns with more than linear time would not come back."""
    records = [head + body * (LONG // len(body)) for body in BODIES]
    parse(records)


def test_hostile_json_is_refused_with_its_reason() -> None:
    reasons = {
        b"[" * 1025 + b"]" * 1025: None,
        b'{"a":' * 1025 + b"1" + b"}" * 1025: "json_depth",
        b'{"a":' * 100_000: "json_depth",
        b'{"a":' + b"[" * 1020 + b"]" * 1020 + b"}": "json_depth",
        b"{" + b",".join(b'"k%d":1' % n for n in range(1_000_000)) + b"}": "too_many_fields",
        b'{"EventID":1,"Channel":"x",' + b",".join(b'"k%d":1' % n for n in range(20_000)) + b"}": "too_many_fields",
        b'{"' + b"k" * 1_000_000 + b'":1}': "name_too_long",
        b'{"a":' + b"9" * 5000 + b"}": "json_invalid",
        b'{"a":1e400}': "json_invalid",
        b'{"a":NaN}': "json_invalid",
        b'{"a":-Infinity}': "json_invalid",
        b'{"a":1': "json_invalid",
    }
    parsed = parse(list(reasons))
    assert {dead.index: dead.reason for dead in parsed.dead} == {n: why for n, why in enumerate(reasons.values()) if why}


def test_strange_json_is_kept() -> None:
    records = [
        b'{"a":1,"a":2}',
        b'{"a":-0}',
        b'{"a":18446744073709551616}',
        b'{"a":[' + b"1," * 99_999 + b"1]}",
        b'{"__class__":1}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\\udfff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\\u0000"}',
    ]
    parsed = parse(records)
    assert not parsed.dead
    assert [event.event["event.dataset"] for event in parsed.events] == ["json"] * len(records)


@pytest.mark.parametrize(
    "record",
    [b"\x00" * (MAX_RECORD + 10), "ế".encode() * MAX_RECORD, b"\xff" * 400_000, b'{"a":"' + b"x" * (MAX_RECORD + 5) + b'"}'],
    ids=["nul", "utf-8", "not utf-8", "json"],
)
def test_over_long_records_are_cut_and_named(record: bytes) -> None:
    event = parse([record]).events[0].event
    original, cut = event["event.original"], event.get("soc.truncated")
    assert isinstance(original, str)
    assert isinstance(cut, list)
    assert ("event.original" in cut) == (len(record) > MAX_RECORD)
    assert all(len(str(value).encode()) <= MAX_VALUE for name, value in event.items() if name != "event.original")
    assert len(original.encode()) <= MAX_RECORD * (1 if record[:1] != b"\xff" else 4)


def test_nul_line_survives_whole() -> None:
    event = parse([b"\x00" * 1000]).events[0].event
    assert event["event.original"] == event["message"] == "\x00" * 1000


def test_a_record_is_parsed_the_same_wherever_it_stands() -> None:
    records = [head + b"x" for head in HEADS] + [b'{"a":1}', b"text", b'{"EventID":1,"Channel":"Security"}']
    together = {event.index: event.event for event in parse(records).events}
    alone = {n: parsed.events[0].event for n, record in enumerate(records) if (parsed := parse([record])).events}
    assert together == alone
