"""Event times: zones, missing years, and the order in which flat Windows JSON is believed."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from soc.event import Event, FrameContext, to_micros
from soc.normalise.records import Parsers

PARSERS = Parsers()


def at(*parts: int) -> int:
    return to_micros(datetime(*parts, tzinfo=UTC))  # type: ignore[misc,arg-type]


READ_AT = at(2024, 1, 1, 3)


def event(record: bytes | dict[str, object], **context: object) -> Event:
    raw = record if isinstance(record, bytes) else orjson.dumps(record)
    frame = FrameContext("source", "stream", 0, 1, READ_AT, READ_AT, **context)  # type: ignore[arg-type]
    return PARSERS.parse_frame(frame, [raw]).events[0].event


@pytest.mark.parametrize(
    "stamp, expected",
    [
        ("Jan  1 09:00:00", at(2024, 1, 1, 2)),
        ("Jan  2 09:59:59", at(2024, 1, 2, 2, 59, 59)),
        ("Jan  2 10:00:00", at(2024, 1, 2, 3)),
        ("Jan  2 10:00:01", at(2023, 1, 2, 3, 0, 1)),
        ("Dec 31 23:00:00", at(2023, 12, 31, 16)),
        ("Feb 29 00:00:00", at(2020, 2, 28, 17)),
    ],
)
def test_missing_year_is_the_latest_not_a_day_after_reading(stamp: str, expected: int) -> None:
    found = event(f"{stamp} host app: text".encode())
    assert (found["@timestamp"], found["soc.time_inferred"]) == (expected, "zone year")


def test_new_year_in_a_zone_ahead_of_utc_is_not_lost() -> None:
    frame_read = at(2023, 12, 31, 23)
    frame = FrameContext("source", "stream", 0, 1, frame_read, frame_read)
    found = PARSERS.parse_frame(frame, [b"Jan  1 06:00:00 host app: text"]).events[0].event
    assert found["@timestamp"] == at(2023, 12, 31, 23)


def test_file_time_and_given_year_decide_the_year() -> None:
    line = b"Jun 14 15:16:01 combo app: text"
    assert event(line, file_time=at(2005, 7, 1))["@timestamp"] == at(2005, 6, 14, 8, 16, 1)
    assert event(line, year=2006, file_time=at(2005, 7, 1))["@timestamp"] == at(2006, 6, 14, 8, 16, 1)


def test_zone_of_the_source_is_applied_and_said() -> None:
    found = event(b"Jun 14 2023 15:16:01 combo app: text", timezone="Europe/Paris")
    assert (found["@timestamp"], found["soc.time_inferred"]) == (at(2023, 6, 14, 13, 16, 1), "zone")


def test_record_without_a_time_gets_its_read_time_and_says_so() -> None:
    found = event(b"no time in here")
    assert (found["@timestamp"], found["soc.time_inferred"]) == (READ_AT, "read_at")


def test_flat_windows_time_is_utctime_then_timecreated_then_timestamp_then_local_eventtime() -> None:
    times: dict[str, object] = {
        "UtcTime": "2023-05-01 01:00:00.001",
        "TimeCreated": "2023-05-01T02:00:00.002Z",
        "@timestamp": "2023-05-01T03:00:00.003Z",
        "EventTime": "2023-05-01 11:00:00",
    }
    expected = [
        (at(2023, 5, 1, 1, 0, 0, 1000), None),
        (at(2023, 5, 1, 2, 0, 0, 2000), None),
        (at(2023, 5, 1, 3, 0, 0, 3000), None),
        (at(2023, 5, 1, 4), "zone"),
        (READ_AT, "read_at"),
    ]
    for moment, inferred in expected:
        found = event({"EventID": 1, "Channel": "Security"} | times)
        assert (found["@timestamp"], found.get("soc.time_inferred")) == (moment, inferred)
        if times:
            times.pop(next(iter(times)))


def test_timecreated_without_zone_is_read_in_the_sources_zone() -> None:
    found = event(
        {"EventID": 1, "Channel": "Security", "TimeCreated": "2023-05-01 11:00:00.5", "@timestamp": "2023-05-01T09:00:00Z"}
    )
    assert (found["@timestamp"], found["soc.time_inferred"]) == (at(2023, 5, 1, 4, 0, 0, 500_000), "zone")


@pytest.mark.parametrize(
    "value, expected",
    [
        (1_682_910_000, at(2023, 5, 1, 3)),
        (1_682_910_000_123, at(2023, 5, 1, 3, 0, 0, 123_000)),
        (1_682_910_000_123_456, at(2023, 5, 1, 3, 0, 0, 123_456)),
        ("1682910000.5", at(2023, 5, 1, 3, 0, 0, 500_000)),
        ("2023-05-01T10:00:00+07:00", at(2023, 5, 1, 3)),
        ("2023-05-01T03:00:00.123456789Z", at(2023, 5, 1, 3, 0, 0, 123_456)),
        ("01/May/2023:10:00:00 +0700", at(2023, 5, 1, 3)),
        ("01/May/2023:00:00:00 -0330", at(2023, 5, 1, 3, 30)),
    ],
)
def test_json_time_is_found_in_all_its_forms(value: object, expected: int) -> None:
    for key in ("@timestamp", "timestamp", "time", "ts"):
        found = event({key: value})
        assert (found["@timestamp"], "soc.time_inferred" in found) == (expected, False)


def test_impossible_times_fall_back_to_the_read_time() -> None:
    values: tuple[object, ...] = (True, "never", "9999-99-99", -1, 1e30, [], {"a": 1})
    for value in values:
        assert event({"@timestamp": value})["@timestamp"] == READ_AT
    for record in (b"type=CWD msg=audit(999999999999.000:1): cwd=/", b'{"@timestamp":"0001-01-01T00:00:00+07:00"}'):
        assert (event(record)["@timestamp"], event(record)["soc.time_inferred"]) == (READ_AT, "read_at")
