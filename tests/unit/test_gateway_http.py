"""The HTTP receiver through real sockets: what is taken, what is refused, and that nothing refused was stored."""
from __future__ import annotations

import gzip
import json
import socket
import time
from typing import Any

import httpx
import pytest
import zstandard

from soc.errors import DiskFullError, StoreError
from soc.event import UNASSIGNED, Lane
from soc.ingest.batch import Compression, Encoding
from soc.ingest.frame import Frame, FrameHead, records_of
from soc.ingest.request import GatewayLimits
from soc.ingest.unpack import Bounds

LINES = b'{"a":1}\n{"a":2}\n{"a":3}\n'
PATH = "/ingest/v1/batches"


def zstd(data: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(level=3, **options).compress(data)


def headers(first: int = 0, count: int = 3, **more: str) -> dict[str, str]:
    return {"soc-stream": "s", "soc-epoch": "1", "soc-first": str(first), "soc-count": str(count),
            "soc-read-at": "2026-01-31T08:00:00Z", "content-type": "application/x-ndjson",
            **{name.replace("_", "-"): value for name, value in more.items()}}


def records(gateway: Any) -> list[bytes]:
    found: list[bytes] = []
    for _, batch in gateway.intake.kept:
        head = FrameHead(batch.encoding, batch.compression, 0, batch.context.count, 0, len(batch.payload), 0)
        found += records_of(Frame(head, batch.context, batch.payload))
    return found


def raw(gateway: Any, request: bytes, *, wait: float = 5.0) -> bytes:
    """The bytes answered to a request sent as it stands."""
    with socket.create_connection(gateway.address, timeout=wait) as client:
        client.sendall(request)
        return _all(client)


def _all(client: socket.socket) -> bytes:
    answer = b""
    try:
        while part := client.recv(65536):
            answer += part
    except (TimeoutError, ConnectionResetError):
        pass
    return answer


def test_a_numbered_batch_is_kept_as_received(gateway: Any) -> None:
    with gateway.client() as client:
        answer = client.post(PATH, content=zstd(LINES), headers=headers(first=7, content_encoding="zstd"))
    assert answer.status_code == 200
    assert answer.json() == {"stream": "s", "first": 7, "count": 3, "duplicate": False, "lane": "live", "stored_through": None}
    [(lane, batch)] = gateway.intake.kept
    context = batch.context
    assert (lane, batch.encoding, batch.compression, batch.payload) == (Lane.LIVE, Encoding.LINES, Compression.ZSTD, zstd(LINES))
    assert (context.source, context.stream, context.first, context.count, context.epoch) == ("web", "web:s", 7, 3, 1)
    assert (context.agency, context.read_at, context.peer) == ("health", 1_769_846_400_000_000, "127.0.0.1")
    assert abs(context.ingested / 1e6 - time.time()) < 60


def test_a_resent_batch_is_a_duplicate_and_an_overlapping_one_is_told_what_is_there(gateway: Any) -> None:
    with gateway.client() as client:
        assert not client.post(PATH, content=LINES, headers=headers()).json()["duplicate"]
        assert client.post(PATH, content=LINES, headers=headers()).json()["duplicate"]
        overlapping = client.post(PATH, content=LINES, headers=headers(first=2))
        asked = client.get("/ingest/v1/streams/s?epoch=1").json()
    assert overlapping.status_code == 409
    assert overlapping.json()["received"] == [[0, 2]]
    assert asked == {"stream": "s", "epoch": 1, "received": [[0, 2]]}
    assert len(gateway.intake.kept) == 1
    assert gateway.accounting.shown()["sources"]["web"]["duplicates"] == 3


def test_streams_of_two_sources_never_meet(gateway: Any) -> None:
    gateway.sources.tokens["other"] = type(gateway.sources.tokens["soci_right"])("mail")
    with gateway.client() as one, gateway.client("other") as two:
        assert one.post(PATH, content=LINES, headers=headers()).status_code == 200
        assert not two.post(PATH, content=LINES, headers=headers()).json()["duplicate"]
    assert [batch.context.stream for _, batch in gateway.intake.kept] == ["web:s", "mail:s"]


def test_lines_without_numbers_are_numbered_by_the_intake(gateway: Any) -> None:
    with gateway.client() as client:
        for first in (0, 3):
            answer = client.post("/ingest/v1/events", content=LINES)
            assert (answer.status_code, answer.json()["first"]) == (200, first)
    assert [batch.context.stream for _, batch in gateway.intake.kept] == ["web:ndjson"] * 2


@pytest.mark.parametrize("body, coding", [
    (LINES, ""), (zstd(LINES), "zstd"), (gzip.compress(LINES), "gzip"), (gzip.compress(LINES), "x-gzip"),
    (zstd(LINES[:10]) + zstd(LINES[10:]), "zstd"), (gzip.compress(LINES[:10]) + gzip.compress(LINES[10:]), "gzip"),
    (zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(LINES), "zstd"),
    (LINES.replace(b"\n", b"\r\n") + b"\r\n\n", ""), (LINES.rstrip(), ""),
])
def test_every_encoding_brings_the_same_records(gateway: Any, body: bytes, coding: str) -> None:
    with gateway.client() as client:
        answer = client.post(PATH, content=body, headers=headers(content_encoding=coding))
    assert (answer.status_code, answer.json().get("count")) == (200, 3), answer.text
    assert records(gateway) == [b'{"a":1}', b'{"a":2}', b'{"a":3}']


def test_sized_records_may_hold_newlines(gateway: Any) -> None:
    said = [b"one\ntwo", b"", b"three"]
    body = b"".join(len(record).to_bytes(4, "little") + record for record in said)
    with gateway.client() as client:
        sized = {"content_type": "application/vnd.soc.records"}
        answer = client.post(PATH, content=zstd(body), headers=headers(**sized, content_encoding="zstd"))
        cut = client.post(PATH, content=body[:-1], headers=headers(3, **sized))
    assert answer.status_code == 200, answer.text
    assert cut.status_code == 400
    assert records(gateway) == said


TWICE = zstd(gzip.compress(LINES * 100))


@pytest.mark.parametrize("name, body, status, more", [
    ("count is wrong", LINES, 400, {"soc_count": "4"}),
    ("no record", b"\n\n", 400, {"soc_count": "0"}),
    ("zstd cut off", zstd(LINES * 100)[:-3], 400, {"content_encoding": "zstd"}),
    ("zstd without its checksum", zstd(LINES, write_checksum=True)[:-4], 400, {"content_encoding": "zstd"}),
    ("zstd with garbage behind", zstd(LINES) + b"garbage", 400, {"content_encoding": "zstd"}),
    ("zstd with one byte behind", zstd(LINES) + b"\0", 400, {"content_encoding": "zstd"}),
    ("zstd with a flipped byte", zstd(LINES * 100, write_checksum=True)[:-1] + b"\0", 400, {"content_encoding": "zstd"}),
    ("not zstd at all", LINES, 400, {"content_encoding": "zstd"}),
    ("nothing as zstd", b"", 400, {"content_encoding": "zstd"}),
    ("zstd skippable frame", b"\x50\x2a\x4d\x18\x01\0\0\0x" + zstd(LINES), 400, {"content_encoding": "zstd"}),
    ("gzip cut off", gzip.compress(LINES)[:-3], 400, {"content_encoding": "gzip"}),
    ("gzip with garbage behind", gzip.compress(LINES) + b"garbage", 400, {"content_encoding": "gzip"}),
    ("gzip with a wrong checksum", gzip.compress(LINES)[:-8] + bytes(4) + gzip.compress(LINES)[-4:], 400,
     {"content_encoding": "gzip"}),
    ("not gzip at all", LINES, 400, {"content_encoding": "gzip"}),
    ("nothing as gzip", b"", 400, {"content_encoding": "gzip"}),
    ("zstd that says nothing", zstd(LINES), 400, {}),
    ("gzip that says nothing", gzip.compress(LINES), 400, {}),
    ("packed twice, said twice", TWICE, 400, {"content_encoding": "gzip, zstd"}),
    ("packed twice, said once", TWICE, 400, {"content_encoding": "zstd"}),
    ("brotli", LINES, 415, {"content_encoding": "br"}),
    ("a form", LINES, 415, {"content_type": "application/x-www-form-urlencoded"}),
    ("JSON that may be an array", LINES, 415, {"content_type": "application/json"}),
    ("no stream", LINES, 400, {"soc_stream": ""}),
    ("a stream with spaces", LINES, 400, {"soc_stream": "a b"}),
    ("a negative number", LINES, 400, {"soc_first": "-1"}),
    ("a huge number", LINES, 400, {"soc_first": "9" * 30}),
    ("a time without zone", LINES, 400, {"soc_read_at": "2026-01-31T08:00:00"}),
    ("a time that is none", LINES, 400, {"soc_read_at": "yesterday"}),
    ("a format that is no name", LINES, 400, {"soc_format": "../x"}),
    ("a local header", LINES, 400, {"soc_agency": "police"}),
])
def test_what_cannot_be_taken_is_refused_and_nothing_stored(
        gateway: Any, name: str, body: bytes, status: int, more: dict[str, str]) -> None:
    with gateway.client() as client:
        answer = client.post(PATH, content=body, headers=headers(**more))
    assert answer.status_code == status, (name, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == status
    assert said["detail"]
    assert said["remedy"] or status == 400
    assert gateway.intake.kept == []


def test_the_refused_are_told_alike_and_revocation_is_live_in_seconds(gateway: Any, until: Any) -> None:
    answers = []
    for authorization in ("", "Basic abc", "Bearer", "Bearer wrong", "Bearer \xff\xfe", "Bearer " + "x" * 5000):
        said: dict[str, Any] = {**headers(), "authorization": authorization.encode("latin-1")}
        answer = httpx.post(gateway.url + PATH, content=LINES, headers=said, trust_env=False)
        answers.append((answer.status_code, answer.text, answer.headers["www-authenticate"]))
    assert len(set(answers)) == 1
    assert answers[0][0] == 401
    with gateway.client() as client:
        assert client.post(PATH, content=LINES, headers=headers()).status_code == 200
        gateway.sources.tokens.clear()
        assert until(lambda: client.post(PATH, content=LINES, headers=headers()).status_code == 401, 5)


def test_a_token_bound_to_other_addresses_is_forbidden(gateway: Any) -> None:
    gateway.change_source(only_from="10.0.0.1")
    with gateway.client() as client:
        answer = client.post(PATH, content=LINES, headers={**headers(), "x-forwarded-for": "10.0.0.1"})
    assert answer.status_code == 403


def test_unknown_addresses_and_methods_are_problems(gateway: Any) -> None:
    with gateway.client() as client:
        nothing, wrong = client.get("/nothing"), client.get(PATH)
    assert (nothing.status_code, wrong.status_code) == (404, 405)
    assert nothing.json()["status"] == 404
    assert wrong.headers["allow"] == "POST"
    assert wrong.json()["remedy"]


WIDE = b"\x28\xb5\x2f\xfd\x00\x78\x01\x00\x00"  # an empty frame with a window of 32 MiB


def test_too_large_is_413_and_the_sender_hears_it(start_gateway: Any) -> None:
    gateway = start_gateway(limits=GatewayLimits(body=200_000, bounds=Bounds(unpacked=1 << 20, records=100)))
    with gateway.client() as client:
        declared = client.post(PATH, content=b"x" * 300_000, headers=headers(count=1))
        chunked = client.post(PATH, content=iter([b"x" * 50_000] * 8), headers=headers(count=1))
        unpacked = client.post(PATH, content=zstd(b"x" * 3_000_000), headers=headers(count=1, content_encoding="zstd"))
        undeclared = client.post(PATH, content=zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 3_000_000),
                                 headers=headers(count=1, content_encoding="zstd"))
        gzipped = client.post(PATH, content=gzip.compress(b"x" * 3_000_000), headers=headers(count=1, content_encoding="gzip"))
        many = client.post(PATH, content=b"x\n" * 101, headers=headers(count=101))
        window = client.post(PATH, headers=headers(count=1, content_encoding="zstd"), content=WIDE)
    answers = [declared, chunked, unpacked, undeclared, gzipped, many, window]
    assert [answer.status_code for answer in answers] == [413] * 7, [answer.text for answer in answers]
    assert gateway.intake.kept == []


def test_a_record_of_a_megabyte_and_more_is_taken_whole(gateway: Any) -> None:
    body = b"x" * 3_000_000 + b"\n" + bytes(1000) + b"\n"
    with gateway.client() as client:
        assert client.post(PATH, content=zstd(body), headers=headers(count=2, content_encoding="zstd")).status_code == 200
    assert [len(record) for record in records(gateway)] == [3_000_000, 1000]


def test_a_full_lane_is_429_with_jitter(gateway: Any) -> None:
    gateway.intake.full[Lane.LIVE] = 1.0
    with gateway.client() as client:
        answers = [client.post(PATH, content=LINES, headers=headers()) for _ in range(12)]
        health = client.get("/ingest/v1/health")
    assert {answer.status_code for answer in answers} == {429}
    assert len({int(answer.headers["retry-after"]) for answer in answers}) > 1
    assert (health.status_code, health.json()["status"]) == (429, "congested")
    gateway.intake.full[Lane.LIVE] = 0.5
    with gateway.client() as client:
        assert client.post(PATH, content=LINES, headers=headers()).status_code == 200


@pytest.mark.parametrize("fault", [DiskFullError("full", remedy="free space"), StoreError("fsync failed", remedy="see the disk")])
def test_a_store_that_fails_is_503_and_never_an_acknowledgement(gateway: Any, fault: Exception) -> None:
    gateway.intake.fault = lambda: fault
    with gateway.client() as client:
        answer = client.post(PATH, content=LINES, headers=headers())
        gateway.intake.fault = None
        again = client.post(PATH, content=LINES, headers=headers())
    assert (answer.status_code, answer.json()["remedy"]) == (503, fault.remedy)  # type: ignore[attr-defined]
    assert int(answer.headers["retry-after"]) >= 5
    assert (again.status_code, again.json()["duplicate"]) == (200, False)


def test_nothing_is_answered_before_the_intake_has_it(gateway: Any) -> None:
    release = gateway.hold()
    with socket.create_connection(gateway.address, timeout=0.3) as client:
        client.sendall(_head() + LINES)
        with pytest.raises(TimeoutError):
            client.recv(1)
        release()
        client.settimeout(5)
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def _head(length: str = "content-length: 24") -> bytes:
    said = "".join(f"{name}: {value}\r\n" for name, value in headers().items())
    return f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer soci_right\r\n{said}{length}\r\n\r\n".encode()


@pytest.mark.parametrize("request_bytes", [
    _head("content-length: 24\r\ncontent-length: 25") + LINES,
    _head("content-length: 24\r\ntransfer-encoding: chunked") + b"18\r\n" + LINES + b"\r\n0\r\n\r\n",
    _head("transfer-encoding: chunked\r\ncontent-length: 4") + b"18\r\n" + LINES + b"\r\n0\r\n\r\n",
    _head("content-length: -1") + LINES,
    _head("content-length: 0x18") + LINES,
    _head("transfer-encoding: chunked") + b"zz\r\n" + LINES + b"\r\n0\r\n\r\n",
    _head("transfer-encoding: identity, x") + LINES,
    b"POST /ingest/v1/batches HTTP/1.1\r\nhost : x\r\n\r\n",
    b"\0\1\2\3 not http\r\n\r\n",
])
def test_smuggled_and_malformed_requests_are_refused(gateway: Any, request_bytes: bytes) -> None:
    answer = raw(gateway, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400"), answer[:300]
    assert gateway.intake.kept == []


def test_bytes_behind_a_body_are_no_second_batch(gateway: Any) -> None:
    answer = raw(gateway, _head() + LINES + b"GARBAGE\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1
    assert len(gateway.intake.kept) == 1


def test_a_body_shorter_than_it_says_stores_nothing(gateway: Any, until: Any) -> None:
    with socket.create_connection(gateway.address, timeout=5) as client:
        client.sendall(_head("content-length: 1000") + LINES)
        client.shutdown(socket.SHUT_WR)
        _all(client)
    assert until(lambda: gateway.refused().get("disconnected") == 1)
    assert gateway.intake.kept == []


@pytest.mark.parametrize("begun", [
    b"", b"POST /ingest/v1/ba", _head("content-length: 1000"), _head("transfer-encoding: chunked") + b"5\r\nabc",
])
def test_slow_senders_are_dropped_in_time(start_gateway: Any, begun: bytes) -> None:
    gateway = start_gateway(limits=GatewayLimits(deadline=0.5))
    began = time.monotonic()
    answer = raw(gateway, begun)
    assert answer.startswith(b"HTTP/1.1 408"), answer[:200]
    assert time.monotonic() - began < 3
    assert gateway.intake.kept == []


def test_a_trickle_is_dropped_before_the_deadline(start_gateway: Any) -> None:
    gateway = start_gateway(limits=GatewayLimits(deadline=30.0, grace=0.3, rate=10_000))
    with socket.create_connection(gateway.address, timeout=5) as client:
        client.sendall(_head("content-length: 1000"))
        began = time.monotonic()
        for _ in range(50):
            try:
                client.sendall(b"x")
            except OSError:
                break
            time.sleep(0.05)
            client.settimeout(0.001)
            try:
                answer = client.recv(1000)
                break
            except TimeoutError:
                client.settimeout(5)
        assert answer.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < 3


def test_an_endless_head_is_refused(gateway: Any) -> None:
    with socket.create_connection(gateway.address, timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        try:
            for number in range(10_000):
                client.sendall(b"x-%d: %s\r\n" % (number, b"y" * 1000))
        except OSError:
            pass
        else:
            pytest.fail("the gateway read ten megabytes of headers")
    assert gateway.refused()["too_large"] >= 1


def test_an_endless_body_is_refused(start_gateway: Any) -> None:
    gateway = start_gateway(limits=GatewayLimits(body=100_000, deadline=5.0))
    with socket.create_connection(gateway.address, timeout=5) as client:
        client.sendall(_head("transfer-encoding: chunked"))
        try:
            for _ in range(1000):
                client.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
        except OSError:
            pass
        else:
            pytest.fail("the gateway read 64 megabytes of a body of at most 100 kB")
    assert gateway.intake.kept == []


def test_all_requests_together_hold_a_bounded_amount(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway(limits=GatewayLimits(buffered=50_000, deadline=5.0))
    release = gateway.hold()
    with socket.create_connection(gateway.address, timeout=5) as first:
        body = b"x" * 40_000
        first.sendall(_head(f"content-length: {len(body)}").replace(b"soc-count: 3", b"soc-count: 1") + body)
        with gateway.client() as client:
            def status() -> int:
                return client.post(PATH, content=b"y" * 20_000, headers=headers(count=1, first=50)).status_code
            assert until(lambda: status() == 429)
        release()
        assert first.recv(100).startswith(b"HTTP/1.1 200")
    with gateway.client() as client:
        assert client.post(PATH, content=b"y" * 20_000, headers=headers(count=1, first=50)).status_code == 200


def test_more_connections_than_allowed_are_told_so(start_gateway: Any) -> None:
    gateway = start_gateway(limits=GatewayLimits(connections=2, deadline=5.0))
    held = [socket.create_connection(gateway.address) for _ in range(2)]
    time.sleep(0.1)
    answer = raw(gateway, b"GET /ingest/v1/health HTTP/1.1\r\nhost: x\r\n\r\n")
    for client in held:
        client.close()
    assert answer.startswith(b"HTTP/1.1 503") or answer == b""
    assert gateway.refused()["connections"] == 1


def test_formats_asked_for_must_exist(start_gateway: Any) -> None:
    gateway = start_gateway(formats=frozenset({"nginx.access", "syslog"}))
    with gateway.client() as client:
        wrong = client.post(PATH, content=LINES, headers=headers(soc_format="nginx"))
        right = client.post(PATH, content=LINES, headers=headers(soc_format="nginx.access"))
    assert (wrong.status_code, right.status_code) == (400, 200)
    assert gateway.intake.kept[0][1].context.format == "nginx.access"


def test_stored_through_follows_what_is_stored(start_gateway: Any) -> None:
    at = {"now": 0}
    gateway = start_gateway(stored=lambda lane: at["now"])
    with gateway.client() as client:
        assert client.post(PATH, content=LINES, headers=headers()).json()["stored_through"] is None
        at["now"] = 3
        time.sleep(0.6)
        assert client.post(PATH, content=LINES, headers=headers(first=3)).json()["stored_through"] == 2


def test_sources_in_another_agency_and_lane_are_stamped(gateway: Any) -> None:
    gateway.change_source(agency=UNASSIGNED, lane=Lane.BULK, format="syslog", timezone="UTC", year=2020, retention="short")
    with gateway.client() as client:
        assert client.post(PATH, content=LINES, headers=headers()).json()["lane"] == "bulk"
    [(lane, batch)] = gateway.intake.kept
    context = batch.context
    assert (lane, context.agency, context.format, context.timezone, context.year, context.retention) == (
        Lane.BULK, UNASSIGNED, "syslog", "UTC", 2020, "short")


def test_the_heartbeat_says_what_was_counted_and_survives_a_restart(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway()
    with gateway.client() as client:
        client.post(PATH, content=LINES, headers=headers())
        client.post(PATH, content=LINES, headers=headers(count=9))
    gateway.stop()
    shown = json.loads(gateway.heartbeat.read_bytes())
    assert (shown["lanes"]["live"]["records"], shown["refused"]["count"], shown["sources"]["web"]["refused"]) == (3, 1, 1)
    again = start_gateway(heartbeat=gateway.heartbeat)
    assert again.accounting.shown()["sources"]["web"]["last_heard"] == shown["sources"]["web"]["last_heard"]
