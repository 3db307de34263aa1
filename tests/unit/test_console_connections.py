"""Connections that only stay, or drip, end by themselves; more than the cap are turned away, and then there is room again."""
from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from soc.console.connections import bounded_http


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port() -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=bounded_http(connections=4, deadline=1.0), log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def ask(port: int, body: bytes = b"") -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        client.request("POST", "/", body)
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def ended(connection: socket.socket) -> bool:
    connection.settimeout(5)
    try:
        while connection.recv(1000):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_more_than_the_cap_are_turned_away_until_the_idle_ones_ended(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    time.sleep(0.2)
    assert ask(port)[0] == 503
    assert all(ended(one) for one in idle)
    for one in idle:
        one.close()
    assert ask(port, b"x" * 100_000) == (200, b"x" * 100_000)


@pytest.mark.parametrize("drip", [b"GET / HTTP/1.1\r\nhost: x\r\n", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"])
def test_a_request_that_drips_ends(port: int, drip: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(drip)
        assert ended(slow)


def test_a_connection_that_is_used_stays(port: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    client.connect()
    kept = client.sock
    for _ in range(4):
        client.request("POST", "/", b"x")
        assert client.getresponse().read() == b"x"
        assert client.sock is kept
        time.sleep(0.4)
    client.close()
