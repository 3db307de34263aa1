"""Delivery over the local socket: batches cut alike every time, and every answer of a gateway understood."""
from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.errors import DiskFullError, InputRefused, StoreError, TooLargeError
from soc.event import FrameContext, Origin
from soc.ingest.deliver import LINES, SIZED, GatewayClient, Shipment, cut, encode

SHIPMENT = Shipment("a" * 64, "imp1", 1_700_000_000_000_000, path="/tmp/nhật ký/x.log", timezone="Asia/Ho_Chi_Minh")
Answer = tuple[int, dict[str, object]] | tuple[int, dict[str, object], dict[str, str]]


class Heard:
    """What a scripted gateway heard: one entry for each request."""

    def __init__(self, answers: Callable[[int, dict[str, str], list[bytes]], Answer | None]) -> None:
        self.answers = answers
        self.requests: list[tuple[str, dict[str, str], list[bytes]]] = []


@contextmanager
def gateway(path: Path, answers: Callable[[int, dict[str, str], list[bytes]], Answer | None]) -> Iterator[Heard]:
    heard = Heard(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            heard.requests.append((self.path, headers, unpack(headers, body) if body else []))
            answer = answers(len(heard.requests), headers, heard.requests[-1][2])
            if answer is None:  # hang up without a word
                self.close_connection = True
                return
            content = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            for name, value in (answer[2] if len(answer) > 2 else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def address_string(self) -> str:
            return "local"

        def log_message(self, *_: object) -> None:
            pass

    path.parent.mkdir(parents=True, exist_ok=True)
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()


def unpack(headers: dict[str, str], body: bytes) -> list[bytes]:
    data = zstandard.ZstdDecompressor().decompress(body)
    if headers["content-type"] == LINES:
        return [line for line in data.split(b"\n") if line]
    records = []
    while data:
        size = int.from_bytes(data[:4], "little")
        records.append(data[4:4 + size])
        data = data[4 + size:]
    return records


_opened: list[GatewayClient] = []


@pytest.fixture(autouse=True)
def _hang_up() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def client(path: Path, slept: list[float] | None = None, patience: float = 300.0) -> GatewayClient:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if slept is not None:
            slept.append(seconds)

    _opened.append(GatewayClient(path, patience=patience, sleep=sleep, clock=lambda: clock[0], chance=lambda: 0.5))
    return _opened[-1]


def ok(_turn: int, _headers: dict[str, str], records: list[bytes]) -> Answer:
    return 200, {"duplicate": False, "count": len(records)}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=60), st.integers(0, 60), st.integers(1, 9), st.integers(1, 80))
def test_cutting_again_cuts_alike(records: list[bytes], stop: int, most: int, size: int) -> None:
    whole = list(cut(records, most=most, size=size))
    assert [record for batch in whole for record in batch] == records
    assert all(batch and len(batch) <= most and (len(batch) == 1 or sum(map(len, batch)) <= size) for batch in whole)
    part = list(cut(records[:stop], most=most, size=size))
    assert part[:-1] == whole[:max(0, len(part) - 1)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b"", b"a", b"a\nb", b"a\r", b"\0", b"\n"]) | st.binary(max_size=9), min_size=1, max_size=9))
def test_no_record_is_taken_apart_by_its_own_content(records: list[bytes]) -> None:
    kind, body = encode(records)
    assert unpack({"content-type": kind}, zstandard.ZstdCompressor().compress(body)) == records


def test_plain_lines_go_as_lines_and_others_as_sized_records() -> None:
    assert encode([b"a", b"b"]) == (LINES, b"a\nb\n")
    assert encode([b"a\nb"])[0] == SIZED


def test_batch_says_all_that_is_known_of_it(tmp_path: Path) -> None:
    with gateway(tmp_path / "g.sock", ok) as heard:
        done = client(tmp_path / "g.sock").send(SHIPMENT, 7, [b"x", b"y"])
    assert (done.new, done.duplicates) == (2, 0)
    ((path, headers, records),) = heard.requests
    assert path == "/ingest/v1/batches"
    assert records == [b"x", b"y"]
    assert headers["soc-stream"] == "a" * 64
    assert (headers["soc-first"], headers["soc-count"], headers["soc-epoch"]) == ("7", "2", "0")
    assert (headers["soc-import"], headers["soc-agency"], headers["soc-origin"], headers["soc-lane"]) == (
        "imp1", "unassigned", "import", "bulk")
    assert headers["soc-read-at"] == "1700000000000000"
    assert unquote(headers["soc-path"]) == "/tmp/nhật ký/x.log"
    assert "soc-year" not in headers
    assert headers["content-encoding"] == "zstd"


def test_socket_below_a_very_long_path_is_reached(tmp_path: Path) -> None:
    import os

    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    before = os.getcwd()
    os.chdir(folder)  # the server binds a short name; the client has only the long one
    try:
        with gateway(Path("g.sock"), ok):
            assert client(folder / "g.sock").send(SHIPMENT, 0, [b"x"]).new == 1
    finally:
        os.chdir(before)


def test_duplicate_is_told_apart_from_new(tmp_path: Path) -> None:
    with gateway(tmp_path / "g.sock", lambda *_: (200, {"duplicate": True})):
        done = client(tmp_path / "g.sock").send(SHIPMENT, 0, [b"x", b"y"])
    assert (done.new, done.duplicates) == (0, 2)


def test_full_gateway_is_waited_for_as_long_as_it_asks(tmp_path: Path) -> None:
    def answers(turn: int, _headers: dict[str, str], _records: list[bytes]) -> Answer:
        return (200, {"duplicate": False}) if turn > 3 else (429 if turn < 3 else 503, {"detail": "full"}, {"Retry-After": "7"})

    slept: list[float] = []
    with gateway(tmp_path / "g.sock", answers) as heard:
        assert client(tmp_path / "g.sock", slept).send(SHIPMENT, 0, [b"x"]).new == 1
    assert len(heard.requests) == 4
    assert slept == [7.0, 7.0, 7.0]


def test_lost_answer_is_sent_again_and_counts_as_new(tmp_path: Path) -> None:
    def answers(turn: int, _headers: dict[str, str], _records: list[bytes]) -> Answer | None:
        return None if turn == 1 else (200, {"duplicate": True})

    with gateway(tmp_path / "g.sock", answers) as heard:
        done = client(tmp_path / "g.sock").send(SHIPMENT, 0, [b"x"])
    assert (done.new, done.duplicates) == (1, 0)
    assert heard.requests[0][2] == heard.requests[1][2]


def test_overlap_is_cut_to_what_is_missing(tmp_path: Path) -> None:
    received = {2, 3, 4, 8}

    def answers(_turn: int, headers: dict[str, str], records: list[bytes]) -> Answer:
        first, count = int(headers["soc-first"]), int(headers["soc-count"])
        wanted = set(range(first, first + count))
        assert len(records) == count
        if wanted & received and not wanted <= received:
            return 409, {"received": [[2, 4], [8, 8]]}
        received.update(wanted)
        return 200, {"duplicate": False}

    with gateway(tmp_path / "g.sock", answers) as heard:
        done = client(tmp_path / "g.sock").send(SHIPMENT, 0, [str(n).encode() for n in range(10)])
    assert received == set(range(10))
    assert (done.new, done.duplicates) == (6, 4)
    assert [records for _, _, records in heard.requests[1:]] == [[b"0", b"1"], [b"5", b"6", b"7"], [b"9"]]


def test_batch_that_is_too_large_is_halved(tmp_path: Path) -> None:
    def answers(_turn: int, _headers: dict[str, str], records: list[bytes]) -> Answer:
        return (413, {"detail": "too large"}) if len(records) > 2 else (200, {"duplicate": False})

    with gateway(tmp_path / "g.sock", answers):
        connected = client(tmp_path / "g.sock")
        assert connected.send(SHIPMENT, 0, [b"a", b"b", b"c", b"d", b"e"]).new == 5
    with gateway(tmp_path / "h.sock", lambda *_: (413, {"detail": "too large"})), pytest.raises(TooLargeError):
        client(tmp_path / "h.sock").send(SHIPMENT, 0, [b"a"])


def test_refusal_says_why(tmp_path: Path) -> None:
    with gateway(tmp_path / "g.sock", lambda *_: (400, {"detail": "no such zone", "remedy": "name one"})), \
            pytest.raises(InputRefused, match=r"no such zone \(name one\)"):
        client(tmp_path / "g.sock").send(SHIPMENT, 0, [b"a"])


def test_patience_ends_and_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run the same command again"):
        client(tmp_path / "none.sock", patience=60).send(SHIPMENT, 0, [b"a"])
    with gateway(tmp_path / "g.sock", lambda *_: (503, {"detail": "the disk is full"})), pytest.raises(DiskFullError):
        client(tmp_path / "g.sock", patience=60).send(SHIPMENT, 0, [b"a"])


def test_whether_a_gateway_answers(tmp_path: Path) -> None:
    assert not client(tmp_path / "g.sock").answers()
    with gateway(tmp_path / "g.sock", ok):
        assert client(tmp_path / "g.sock").answers()


def test_import_is_forgotten_by_its_id(tmp_path: Path) -> None:
    with gateway(tmp_path / "g.sock", lambda *_: (200, {"forgotten": True})) as heard:
        client(tmp_path / "g.sock").forget("imp/1")
    assert heard.requests[0][0] == "/local/v1/imports/imp%2F1/forget"


def test_dead_letter_is_replayed_with_all_that_was_known_of_it(tmp_path: Path) -> None:
    context = FrameContext(
        "web-1", "web-1:access", 41, 1, 5, 6, agency="so-y-te", origin=Origin.IMPORT, import_id="imp1", format="nginx", year=2020,
        file_time=77, epoch=3, retention="long")
    with gateway(tmp_path / "g.sock", ok) as heard:
        client(tmp_path / "g.sock").replay(context, 99, b"two\nlines")
    _, headers, records = heard.requests[0]
    assert records == [b"two\nlines"]
    assert {name: headers[f"soc-{name}"] for name in (
        "source", "stream", "first", "count", "read-at", "agency", "origin", "import", "format", "year", "file-time", "epoch",
        "retention", "replay")} == {
        "source": "web-1", "stream": "web-1:access", "first": "41", "count": "1", "read-at": "5", "agency": "so-y-te",
        "origin": "import", "import": "imp1", "format": "nginx", "year": "2020", "file-time": "77", "epoch": "3",
        "retention": "long", "replay": "99"}
