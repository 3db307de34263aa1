"""F22, F23, F34–F39, F14, F31–F33 at a running centre: whatever a record or a request holds, it is stored whole, kept as
a dead letter with its reason, or refused; what comes beside it is stored, and no process dies.
"""
from __future__ import annotations

import gzip
import http.client
import json
import socket
import struct
import time
from typing import Any

import pytest
import zstandard

DEEP = b'{"mark":"deep","a":' + b'{"b":' * 1_025 + b"1" + b"}" * 1_026
ABYSS = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
WIDE = b"{" + b",".join(b'"k%d":1' % n for n in range(1_000_000)) + b"}"

KEPT: dict[str, tuple[bytes, dict[str, object]]] = {
    "a line of NULs": (b"\0" * 4_000, {"message": "\0" * 4_000}),
    "invalid UTF-8": (b'{"mark":"utf8","v":"a\xff\xfeb"}', {"v": "a\\xff\\xfeb"}),
    "overlong UTF-8": (b'{"mark":"overlong","v":"\xc0\xaf"}', {"v": "\\xc0\\xaf"}),
    "a lone surrogate": (b'{"mark":"surrogate","v":"x\\ud800y"}', {"v": "x\\ud800y"}),
    "a surrogate in bytes": (b'{"mark":"cesu","v":"\xed\xa0\x80"}', {"v": "\\xed\\xa0\\x80"}),
    "a byte order mark": (b'\xef\xbb\xbf{"mark":"bom","v":"x"}', {"v": "x"}),
    "direction marks": ('{"mark":"bidi","v":"a\u202eexe.gpj\u2066"}'.encode(), {"v": "a\u202eexe.gpj\u2066"}),
    "terminal commands": (b'{"mark":"ansi","v":"\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m"}', {"v": "\x1b]0;owned\x07\x1b[2J\x9b31m"}),
    "a value with a NUL": (b'{"mark":"nul","v":"a\\u0000b"}', {"v": "a\0b"}),
    "a hundred thousand elements": (b'{"mark":"array","v":[' + b"1," * 99_999 + b"1]}", {"mark": "array"}),
    "a key twice": (b'{"mark":"twice","v":1,"v":2}', {"mark": "twice"}),
    "minus nothing": (b'{"mark":"minus","v":-0,"w":-0.0}', {"v": "0"}),
    "an integer over 63 bits": (b'{"mark":"big","v":9223372036854775808}', {"v": "9223372036854775808"}),
    "an integer over 64 bits": (b'{"mark":"bigger","v":18446744073709551616}', {"mark": "bigger"}),
    "a port that is a word": (b'{"mark":"port1","source":{"port":"x"}}', {"unmapped.source.port": "x"}),
    "a port that is a number": (b'{"mark":"port2","source":{"port":22}}', {"source.port": 22}),
    "a port that is an object": (b'{"mark":"port3","source":{"port":{"in":1}}}', {"source.port.in": "1"}),
    "dotted and nested": (b'{"mark":"dots","a.b":"one","a":{"b":"two"}}', {"a.b": ["one", "two"]}),
    "names that mean something elsewhere": (b'{"mark":"proto","__proto__":"p","__class__":"c","constructor":{"prototype":"q"}}',
                                            {"__proto__": "p", "__class__": "c", "constructor.prototype": "q"}),
    "our own columns forged": (b'{"mark":"forged","organization":{"id":"other"},"soc":{"origin":"drill","seq":99},"event":{"id":"x","ingested":1}}',
                               {"organization.id": "unassigned", "soc.origin": "live"}),
    "SQL": (b"{\"mark\":\"sql\",\"v\":\"'; DROP TABLE segments; --\"}", {"v": "'; DROP TABLE segments; --"}),
}
DEAD: dict[str, tuple[bytes, str]] = {
    "1,025 levels": (DEEP, "json_depth"),
    "a hundred thousand levels": (ABYSS, "json_depth"),
    "a million keys": (WIDE, "too_many_fields"),
    "a key of a megabyte": (b'{"' + b"k" * 1_000_000 + b'":1}', "name_too_long"),
    "NaN": (b'{"v":NaN}', "json_invalid"),
    "infinity": (b'{"v":-Infinity}', "json_invalid"),
    "1e400": (b'{"v":1e400}', "json_invalid"),
    "5,000 digits": (b'{"v":' + b"9" * 5_000 + b"}", "json_invalid"),
    "cut off": (b'{"v":1', "json_invalid"),
}


@pytest.fixture(scope="module")
def token(standing: Any) -> str:
    return str(standing.source("hostile", "--format", "auto"))


@pytest.fixture(scope="module")
def told(standing: Any, token: str) -> dict[str, Any]:
    """Every record sent, each between two harmless ones, in one batch; what became of them."""
    records = [b'{"mark":"harmless"}']
    for record in [r for r, _ in KEPT.values()] + [r for r, _ in DEAD.values()]:
        records += [record, b'{"mark":"harmless"}']
    status, answer = standing.send(token, b"\n".join(records) + b"\n")
    assert (status, answer["count"]) == (200, len(records))
    standing.settled()
    return {"sent": len(records), "events": standing.json("events", "search", "--limit", "1000"),
            "dead": standing.json("deadletters", "list", "--limit", "1000")}


def test_every_record_sent_is_an_event_or_a_dead_letter(told: dict[str, Any]) -> None:
    assert len(told["events"]) + len(told["dead"]) == told["sent"]
    assert sum(event.get("mark") == "harmless" for event in told["events"]) == len(KEPT) + len(DEAD) + 1


@pytest.mark.parametrize("name", KEPT)
def test_strange_records_are_kept_without_loss(told: dict[str, Any], name: str) -> None:
    record, fields = KEPT[name]
    original = record.decode("utf-8", "backslashreplace")
    found = [event for event in told["events"] if event["event.original"] == original]
    assert len(found) == 1, f"{len(found)} events hold {original[:80]!r}"
    assert {field: found[0].get(field) for field in fields} == fields


@pytest.mark.parametrize("name", DEAD)
def test_impossible_records_are_dead_letters_with_their_reason_and_bytes(standing: Any, told: dict[str, Any], name: str) -> None:
    record, reason = DEAD[name]
    index = 2 * (len(KEPT) + list(DEAD).index(name)) + 1
    found = sorted(told["dead"], key=lambda letter: letter["id"])[list(DEAD).index(name)]
    assert found["reason"] == reason, (index, found)
    if len(record) < 10_000:
        shown = json.loads(standing.soc("deadletters", "show", str(found["id"]), "--json").stdout)[0]
        assert shown["record"] == record.decode()


def test_hostile_text_is_inert_on_a_terminal(standing: Any, told: dict[str, Any]) -> None:
    for arguments in (["events", "search", "--limit", "1000"], ["events", "search", "--limit", "1000", "--json"],
                      ["events", "top", "v", "--limit", "100"], ["events", "fields"], ["deadletters", "list"]):
        printed = standing.soc(*arguments).stdout
        assert printed
        assert not {c for c in printed if c in "\x00\x07\x1b\x7f\x9b\u202e\u2066" or 0xD800 <= ord(c) < 0xE000}, arguments


@pytest.mark.parametrize("query", [
    'v:"\'; DROP TABLE segments; --"', 'v:"a\u202eexe.gpj\u2066"', "mark:proto __proto__:p", 'v:"a\\xff\\xfeb"',
    "source.port:22", 'unmapped.source.port:x', "a.b:two a.b:one", "v:9223372036854775808",
])
def test_hostile_values_are_found_by_searching_for_them(standing: Any, told: dict[str, Any], query: str) -> None:
    assert standing.count(query) == 1


def test_a_hundred_thousand_field_names_stay_a_list_of_bounded_length(standing: Any, token: str, told: dict[str, Any]) -> None:
    body = b"".join(b"{" + b",".join(b'"dyn%d":%d' % (r * 1_000 + n, n) for n in range(1_000)) + b"}\n" for r in range(100))
    assert standing.send(token, body)[0] == 200
    standing.settled(60)
    assert standing.count("dyn99999:999") == 1
    assert standing.count("dyn0:0") == 1
    assert len(standing.json("events", "fields")) == 10_000
    assert "a.b" in {row["field"] for row in standing.json("events", "fields", "--limit", "20")}


def test_a_line_of_a_hundred_megabytes_is_cut_and_counted(standing: Any, wait_for: Any) -> None:
    """Over syslog: the head is kept with a marker; over HTTP: 413."""
    standing.soc("source", "add", "lines", "--kind", "syslog", "--address", "127.0.0.1")
    before = standing.settled()

    def taken() -> bool:
        with socket.create_connection(("127.0.0.1", standing.syslog), 10) as wire:
            try:
                wire.sendall(b"<13>before\n")
                for _ in range(100):
                    wire.sendall(b"x" * 1_000_000)
                wire.sendall(b"\n<13>after\n")
            except (ConnectionResetError, BrokenPipeError):
                return False  # the new source is known to the gateway within seconds
        return True

    wait_for(taken, 20, 1.0)
    wait_for(lambda: standing.status()["lanes"]["live"]["received"] >= before + 3, 30, 0.3)
    standing.settled()
    found = standing.json("events", "search", "soc.source:lines", "--limit", "10")
    assert sorted(len(event["event.original"]) > 1_000 for event in found)[-3:] == [False, False, True]
    assert ["event.original" in event["soc.truncated"] for event in found if len(event["event.original"]) > 1_000] == [True]
    gateway = standing.status()["roles"]["gateway"]
    assert sum(gateway["cut"].values()) > 90_000_000


def test_a_line_over_the_cap_is_refused_over_http_as_too_large(standing: Any, token: str) -> None:
    status, answer = standing.send(token, b"x" * (17 << 20))
    assert status == 413
    assert answer["remedy"]
    packed = zstandard.ZstdCompressor().compress(b"x" * (100 << 20))
    assert standing.send(token, packed, Content_Encoding="zstd")[0] == 413


def bombs() -> dict[str, tuple[str, bytes, int]]:
    zeros = b"\n" * (1 << 20)
    declared = zstandard.ZstdCompressor(level=1).compress(zeros * 300)
    stream = zstandard.ZstdCompressor(level=1).compressobj()
    undeclared = b"".join(stream.compress(zeros) for _ in range(300)) + stream.flush()
    return {
        "zstd that says its size": ("zstd", declared, 413),
        "zstd that does not": ("zstd", undeclared, 413),
        "gzip": ("gzip", gzip.compress(zeros * 300, 6), 413),
        "gzip within gzip": ("gzip", gzip.compress(gzip.compress(b"x\n" * 100_000)), 400),
        "zstd within zstd": ("zstd", zstandard.compress(zstandard.compress(b"x\n" * 100_000)), 400),
        "three thousand members": ("gzip", gzip.compress(b"x\n") * 3_000, 413),
        "not what it says": ("gzip", zstandard.compress(b"x\n"), 400),
        "said to be packed": ("zstd", b"plain\n", 400),
        "packed and not said": ("", zstandard.compress(b"plain\n" * 100), 400),
        "two encodings": ("gzip, zstd", b"x\n", 400),
        "an unknown encoding": ("br", b"x\n", 415),
        "cut off": ("zstd", zstandard.compress(b"plain\n" * 100)[:-3], 400),
        "garbage behind": ("gzip", gzip.compress(b"plain\n") + b"garbage", 400),
    }


def test_bombs_and_lies_of_encoding_are_refused_quickly_and_store_nothing(standing: Any, token: str) -> None:
    before = standing.settled()
    pid = standing.pids()["gateway"]
    peak_before = peak(pid)
    for name, (coding, body, expected) in bombs().items():
        began = time.monotonic()
        status, answer = standing.send(token, body, **({"Content_Encoding": coding} if coding else {}))
        assert status == expected, (name, status, answer)
        assert answer["detail"], name
        assert answer["remedy"], name
        assert time.monotonic() - began < 2.0, name
    assert standing.settled() == before
    assert peak(pid) - peak_before < 50 << 20


def peak(pid: int) -> int:
    """The most memory a process ever held, in bytes."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


def raw(standing: Any, request: bytes, seconds: float = 10) -> bytes:
    """The bytes that come back for `request` before the gateway closes or the time is up."""
    with socket.create_connection(("127.0.0.1", standing.gateway), seconds) as wire:
        wire.sendall(request)
        wire.settimeout(seconds)
        back = b""
        try:
            while piece := wire.recv(65_536):
                back += piece
                if b"\r\n\r\n" in back and not request.endswith(b"more"):
                    break
        except (TimeoutError, ConnectionResetError):
            pass
        return back


def test_smuggled_and_malformed_requests_are_refused(standing: Any, token: str) -> None:
    before = standing.settled()
    head = b"POST /ingest/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token.encode() + b"\r\nContent-Type: application/x-ndjson\r\n"
    cases = {
        "both lengths": head + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "two lengths": head + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\nx\n",
        "a signed length": head + b"Content-Length: +2\r\n\r\nx\n",
        "a negative length": head + b"Content-Length: -2\r\n\r\nx\n",
        "an odd transfer encoding": head + b"Transfer-Encoding: xchunked\r\n\r\n2\r\nx\n\r\n0\r\n\r\n",
        "a bad chunk size": head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx\n\r\n0\r\n\r\n",
        "a space before the colon": head + b"Content-Length : 2\r\n\r\nx\n",
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n",
    }
    for name, request in cases.items():
        status = raw(standing, request).split(b" ")[1:2]
        assert status in ([b"400"], [b"501"]), (name, status)
    assert standing.settled() == before


def test_a_body_that_breaks_off_stores_nothing(standing: Any, token: str) -> None:
    before = standing.settled()
    head = (f"POST /ingest/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n").encode()
    for reset in (False, True):
        wire = socket.create_connection(("127.0.0.1", standing.gateway), 10)
        wire.sendall(head + b'{"half":1}\n')
        if reset:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
    assert standing.settled() == before


def test_an_endless_body_ends_at_the_cap(standing: Any, token: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", standing.gateway, timeout=20)
    sent = 0

    def endless() -> Any:
        nonlocal sent
        for _ in range(200):
            sent += 1 << 20
            yield b"y" * ((1 << 20) - 1) + b"\n"

    try:
        connection.request("POST", "/ingest/v1/events", endless(), {
            "Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # closed while we were still sending
    finally:
        connection.close()
    assert sent <= 100 << 20


def test_a_lossy_network_doubles_and_loses_nothing(standing: Any, token: str) -> None:
    """Three of ten answers never arrive, and every batch comes a second time, at once or later."""
    before = standing.settled()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson", "Soc-Stream": "lossy"}
    batches = [(first, b"".join(b'{"mark":"lossy","number":%d}\n' % n for n in range(first, first + 10))) for first in range(0, 400, 10)]
    for turn, (first, body) in enumerate([*batches, *reversed(batches)]):
        told = {**headers, "Soc-First": str(first), "Soc-Count": "10"}
        if turn % 10 < 3:  # the answer is lost: the connection goes before it is read
            connection = http.client.HTTPConnection("127.0.0.1", standing.gateway, timeout=10)
            connection.request("POST", "/ingest/v1/batches", body, told)
            assert connection.sock is not None
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        status, answer = standing.post("/ingest/v1/batches", body, told)
        assert (status, answer["first"], answer["count"]) == (200, first, 10)
    assert standing.settled() == before + 400
    assert standing.count("mark:lossy") == 400


def test_the_centre_is_as_well_as_before(standing: Any, told: dict[str, Any]) -> None:
    assert standing.restarts() == {}
    assert standing.status()["status"] == "ok"
    assert standing.soc("store", "verify", check=False).returncode == 0
