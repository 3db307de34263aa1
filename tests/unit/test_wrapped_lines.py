"""Log lines that shippers wrap into JSON are read as the lines they are."""
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.event import Event, FrameContext
from soc.normalise.records import Parsers

CONTEXT = FrameContext(source="t", stream="t", first=0, count=1, read_at=1_800_000_000_000_000, ingested=1_800_000_000_000_000)
PARSERS = Parsers()
SSHD = "Nov 26 10:00:01 web1 sshd[123]: Failed password for root from 203.0.113.9 port 22 ssh2"
NGINX = '203.0.113.9 - - [26/Nov/2026:10:00:01 +0700] "GET /a?id=1 HTTP/1.1" 200 12 "-" "curl"'
AUDIT = 'type=USER_LOGIN msg=audit(1795662001.000:45): pid=1 uid=0 auid=0 ses=1 msg=\'op=login acct="root" addr=203.0.113.9 res=failed\''
FROM = {"log": {"file": {"path": "/var/log/app.log"}}}
AT = 1_795_662_001_000_000


def parsed(record: dict[str, Any]) -> Event:
    frame = PARSERS.parse_frame(CONTEXT, [json.dumps(record).encode()])
    assert not frame.dead
    return frame.events[0].event


@pytest.mark.parametrize("record", [
    {"@timestamp": "2026-11-26T03:00:05.123Z", "message": SSHD, "host": {"name": "agent"}, "log": {"file": {"path": "/var/log/auth.log"}}, "agent": {"type": "filebeat"}},
    {"date": 1795662005.5, "log": SSHD, "hostname": "agent", "@timestamp": "2026-11-26T03:00:05Z"},
    {"timestamp": "2026-11-26T03:00:05Z", "message": SSHD, "file": "/var/log/auth.log", "source_type": "file"},
    {"@timestamp": "2026-11-26T03:00:05Z", "body": SSHD, "attributes": {"log.file.name": "auth.log"}},
], ids=["Filebeat", "Fluent Bit", "Vector", "OpenTelemetry"])
def test_sshd_line_of_a_shipper_is_an_sshd_event(record: dict[str, Any]) -> None:
    event = parsed(record)
    assert (event["event.dataset"], event["source.ip"], event["user.name"], event["host.name"]) == ("syslog", "203.0.113.9", "root", "web1")
    assert "linux//sshd" in str(event["soc.log_sources"]).split()
    assert event["@timestamp"] == AT, "the line's time, its year from when it was shipped"
    assert AT < int(str(event["event.created"])) < AT + 10_000_000
    assert event["event.original"] == json.dumps(record)


@pytest.mark.parametrize(("line", "dataset"), [(NGINX, "nginx"), (AUDIT, "auditd")])
def test_line_without_a_host_has_the_one_of_its_record(line: str, dataset: str) -> None:
    event = parsed({"message": line, "hostname": "web2", "log": {"offset": 7}})
    assert (event["event.dataset"], event["host.name"], event["source.ip"], event["@timestamp"]) == (dataset, "web2", "203.0.113.9", AT)
    assert event["log.offset"] is not None


@pytest.mark.parametrize("record", [
    {"message": "started", **FROM}, {"message": json.dumps({"message": SSHD}), **FROM}, {"message": {"text": SSHD}, **FROM}, {"message": None, **FROM},
    {"note": SSHD, **FROM}, {"message": SSHD, "level": "info"},
])
def test_record_without_a_line_stays_what_it_is(record: dict[str, Any]) -> None:
    assert parsed(record)["event.dataset"] == "json"


def test_record_that_names_its_dataset_is_not_read_as_another() -> None:
    event = parsed({"message": SSHD, "event": {"dataset": "zeek.dns"}, **FROM})
    assert event["event.dataset"] == "zeek.dns"


PIECES = st.lists(st.sampled_from([SSHD, NGINX, AUDIT, "CEF:0|", "LEEF:2.0|", "%ASA-5-", "type=", "msg=audit(", "<34>", "\0", "{", '"', "\ud800", "é" * 50]), max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["message", "log", "body"]), PIECES.map("".join), st.sampled_from([None, "2026-11-26T03:00:05Z", "x", 1e300]))
def test_no_line_costs_its_record(field: str, line: str, time: object) -> None:
    record = {field: line, "@timestamp": time, "filename": "x"}
    assert parsed(record)["event.original"] == json.dumps(record)
