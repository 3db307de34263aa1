"""Which parser takes a record, and what every event carries."""

from __future__ import annotations

from types import SimpleNamespace

from soc.event import Event, FrameContext
from soc.normalise.parser import ParsedFrame
from soc.normalise.records import Parsers

PARSERS = Parsers()
COMBINED = b'203.0.113.7 - - [28/Feb/2024:16:10:11 +0700] "GET / HTTP/1.1" 200 6 "-" "-"'


def parse(*records: bytes, **context: object) -> ParsedFrame:
    frame = FrameContext("s", "x", 0, len(records), 10**15, 10**15, **context)  # type: ignore[arg-type]
    return PARSERS.parse_frame(frame, list(records))


def datasets(parsed: ParsedFrame) -> list[object]:
    return [event.event["event.dataset"] for event in parsed.events]


def test_parsers_are_found_by_their_folder() -> None:
    assert PARSERS.names() == ["windows", "auditd", "nginx", "apache", "cisco_ios", "cef", "leef", "syslog", "json", "text"]


def test_a_mixed_frame_gives_each_record_its_parser() -> None:
    parsed = parse(
        b'{"EventID":1,"Channel":"System"}',
        b"type=CWD msg=audit(1.2:3): cwd=2F",
        COMBINED,
        b"[Sun Dec 04 04:47:44 2005] [notice] x",
        b"Jan  1 00:00:00 h a: %SYS-5-CONFIG_I: x",
        b"Jan  1 00:00:00 h CEF:0|v|p|1|id|name|5|",
        b"Jan  1 00:00:00 h LEEF:1.0|v|p|1|id|",
        b"Jan  1 00:00:00 h a: x",
        b'{"a":1}',
        b"else",
    )
    assert datasets(parsed) == PARSERS.names()
    assert [event.family for event in parsed.events] == [
        "windows",
        "audit",
        "web",
        "web",
        "network",
        "network",
        "network",
        "linux",
        "generic",
        "generic",
    ]


def test_the_path_tells_apache_from_nginx_where_the_line_cannot() -> None:
    assert datasets(parse(COMBINED)) == ["nginx"]
    assert datasets(parse(COMBINED, path="/var/log/httpd/access_log")) == ["apache"]


def test_a_named_format_is_used_or_refused_but_never_replaced() -> None:
    parsed = parse(b'{"a":1}', b"text", b'{"EventID":1,"Channel":"System"}', format="windows")
    assert datasets(parsed) == ["windows"]
    assert [(dead.index, dead.reason) for dead in parsed.dead] == [(0, "format_mismatch"), (1, "json_invalid")]
    assert [dead.reason for dead in parse(b"x", format="unheard of").dead] == ["unknown_format"]
    assert datasets(parse(b"plain", format="syslog")) == ["syslog"]


def test_a_parser_with_a_bug_costs_one_record() -> None:
    def broken(raw: bytes, context: FrameContext) -> Event:
        raise KeyError("oops")

    parsers = Parsers(
        {
            "bad": SimpleNamespace(FAMILY="x", PRIORITY=1, accepts=lambda raw: raw == b"bad", parse=broken),
            "text": PARSERS.by_name["text"],
        }
    )
    parsed = parsers.parse_frame(FrameContext("s", "x", 0, 2, 0, 0), [b"bad", b"good"])
    assert [(dead.index, dead.reason) for dead in parsed.dead] == [(0, "parser_failed")]
    assert [event.index for event in parsed.events] == [1]


def test_records_cannot_forge_what_the_system_says() -> None:
    event = parse(b'{"soc.origin":"live","soc":{"seq":1},"organization":{"id":"x"},"event.original":"y"}').events[0].event
    assert not {"soc.origin", "soc.seq", "organization.id"} & event.keys()
    assert str(event["event.original"]).startswith("{")
