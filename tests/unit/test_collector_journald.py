"""Entries of systemd's journal, as `journalctl -o json` prints them, as the lines that rsyslog would write."""
from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.journald import entry
from soc.event import FrameContext
from soc.normalise.records import parse_frame

SSHD = {
    "__CURSOR": "s=b1;i=7;b=2;m=3;t=4;x=5", "__REALTIME_TIMESTAMP": "1795486445118300", "_SOURCE_REALTIME_TIMESTAMP": "1795486445118273",
    "PRIORITY": "6", "SYSLOG_FACILITY": "4", "SYSLOG_IDENTIFIER": "sshd", "_COMM": "sshd", "_PID": "3301", "_HOSTNAME": "may-chu",
    "MESSAGE": "Accepted password for root from 203.0.113.45 port 50122 ssh2",
}


def test_an_entry_is_the_line_that_the_rules_know() -> None:
    found = entry(json.dumps(SSHD).encode())
    assert found is not None
    assert found[0] == SSHD["__CURSOR"]
    assert found[1] == (b"<38>2026-11-24T02:14:05.118273+00:00 may-chu sshd[3301]: Accepted password for root from 203.0.113.45 port 50122 ssh2")
    context = FrameContext(source="this-machine", stream="s", first=0, count=1, read_at=0, ingested=0)
    (event,) = [one.event for one in parse_frame(context, [found[1]]).events]
    assert event["event.action"] == "ssh-login"
    assert event["host.name"] == "may-chu"
    assert event["@timestamp"] == 1_795_486_445_118_273


def test_text_that_is_none_and_fields_given_twice() -> None:
    found = entry(json.dumps(SSHD | {"MESSAGE": list("đã vào\nhai".encode()), "SYSLOG_IDENTIFIER": ["my app", "other"], "PRIORITY": None}).encode())
    assert found is not None
    assert found[1].decode().endswith(" may-chu my_app[3301]: đã vào\nhai")


def test_what_says_nothing_is_left_out() -> None:
    for broken in (b"", b"[]", b"{", b'"x"', json.dumps(SSHD | {"MESSAGE": None}).encode(), json.dumps(SSHD | {"__CURSOR": 1}).encode()):
        assert entry(broken) is None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(SSHD)), st.one_of(st.none(), st.text(), st.integers(), st.lists(st.integers()), st.lists(st.text()))))
def test_no_entry_breaks_it(changed: dict[str, object]) -> None:
    found = entry(json.dumps(SSHD | changed).encode())
    assert found is None or isinstance(found[1], bytes)
