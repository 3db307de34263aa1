"""The syslog receiver through real sockets: framed, batched, kept in order, and nothing received is lost silently."""
from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from soc.errors import DiskFullError
from soc.event import Lane
from soc.ingest.batch import Compression, Encoding
from soc.ingest.frame import Frame, FrameHead, records_of
from soc.ingest.syslogbatches import SyslogLimits


def records(gateway: Any) -> list[bytes]:
    found: list[bytes] = []
    for _, batch in sorted(gateway.intake.kept, key=lambda kept: kept[1].context.first):
        head = FrameHead(batch.encoding, batch.compression, 0, batch.context.count, 0, len(batch.payload), 0)
        found += records_of(Frame(head, batch.context, batch.payload))
    return found


def connect(gateway: Any) -> socket.socket:
    return socket.create_connection(gateway.at.syslog, timeout=10)


def ended(client: socket.socket) -> bool:
    """Whether the gateway closed the connection."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_lines_and_counted_messages_are_kept_in_order(gateway: Any, until: Any) -> None:
    with connect(gateway) as client:
        client.sendall(b"<13>first\n<13>second\r\n9 <13>third12 <13>with\nnl\0<13>last\n")
        assert until(lambda: len(records(gateway)) == 5)
    assert records(gateway) == [b"<13>first", b"<13>second", b"<13>third", b"<13>with\nnl\0", b"<13>last"]
    lane, batch = gateway.intake.kept[0]
    context = batch.context
    assert (lane, batch.encoding, context.source, context.agency, context.peer) == (
        Lane.LIVE, Encoding.SIZED, "router", "health", "127.0.0.1")
    assert context.stream.startswith("syslog:router:")


def test_a_message_waits_no_longer_than_the_linger(gateway: Any, until: Any) -> None:
    with connect(gateway) as client:
        client.sendall(b"<13>alone\n<13>unfin")
        began = time.monotonic()
        assert until(lambda: records(gateway) == [b"<13>alone"])
        assert time.monotonic() - began < 2
    assert until(lambda: records(gateway) == [b"<13>alone", b"<13>unfin"])


def test_many_messages_of_many_connections_each_come_once(gateway: Any, until: Any) -> None:
    clients = [connect(gateway) for _ in range(5)]
    for turn in range(20):
        for number, client in enumerate(clients):
            client.sendall(b"".join(b"<13>%d %d %d\n" % (number, turn, n) for n in range(100)))
    for client in clients:
        client.close()
    assert until(lambda: len(records(gateway)) == 10_000)
    found = records(gateway)
    assert len(set(found)) == 10_000
    for number in range(5):
        mine = [record for record in found if record.startswith(b"<13>%d " % number)]
        assert mine == [b"<13>%d %d %d" % (number, turn, n) for turn in range(20) for n in range(100)]
    assert {batch.compression for _, batch in gateway.intake.kept if batch.context.count > 300} == {Compression.ZSTD}
    [stream] = {batch.context.stream for _, batch in gateway.intake.kept}
    assert gateway.intake.received(stream) == [(0, 9_999)]


def test_unknown_addresses_are_refused_and_counted(gateway: Any, until: Any) -> None:
    gateway.sources.addresses.clear()
    with connect(gateway) as client:
        assert ended(client)
    assert until(lambda: gateway.refused().get("syslog_unknown") == 1)


def test_the_default_source_takes_what_nobody_claims(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway(syslog_default=lambda: gateway_source)
    gateway_source = type(gateway.sources.addresses["127.0.0.1"])("syslog", "syslog")
    gateway.sources.addresses.clear()
    with connect(gateway) as client:
        client.sendall(b"<13>hello\n")
        assert until(lambda: [batch.context.source for _, batch in gateway.intake.kept] == ["syslog"])


def test_a_disabled_source_is_cut_off_in_seconds(gateway: Any, until: Any) -> None:
    with connect(gateway) as client:
        client.sendall(b"<13>before\n")
        assert until(lambda: records(gateway) == [b"<13>before"])
        gateway.sources.addresses.clear()

        def cut_off() -> bool:
            try:
                client.sendall(b"<13>more\n")
                client.settimeout(0.1)
                return ended(client)
            except TimeoutError:
                return False
            except OSError:
                return True
        assert until(cut_off, 8)


@pytest.mark.parametrize("lie, reason", [(b"1000000000 <13>x", "syslog_octet_count")])
def test_an_impossible_count_closes_the_connection_counted_and_keeps_what_came_before(
        gateway: Any, until: Any, lie: bytes, reason: str) -> None:
    with connect(gateway) as client:
        client.sendall(b"<13>good\n" + lie)
        assert ended(client)
    assert until(lambda: records(gateway) == [b"<13>good"])
    assert gateway.refused()[reason] == 1


def test_a_hundred_megabytes_without_an_end_keep_their_head(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway(syslog_limits=SyslogLimits(message=10_000))
    with connect(gateway) as client:
        for _ in range(100):
            client.sendall(b"\0" * (1 << 20))
        client.sendall(b"\n<13>after\n")
        assert until(lambda: len(records(gateway)) == 2)
    assert records(gateway) == [bytes(10_000) + b" [cut at 10000 bytes]", b"<13>after"]
    assert until(lambda: gateway.accounting.shown()["cut"] == {"syslog": 1, "syslog_bytes": (100 << 20) - 10_000})


def test_the_socket_waits_while_the_intake_is_full(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway()
    gateway.intake.full[Lane.LIVE] = 1.0
    sent = 0
    line = b"<13>" + b"x" * 1019 + b"\n"
    with connect(gateway) as client:
        client.settimeout(0.5)
        try:
            while sent < 1_000_000:
                client.sendall(line * 16)
                sent += 16
        except TimeoutError:
            pass
        assert sent < 100_000
        assert gateway.intake.kept == []
        gateway.intake.full[Lane.LIVE] = 0.0
        assert until(lambda: len(records(gateway)) >= sent, 30)
    assert gateway.refused()["syslog_waits"] >= 1


def test_a_failing_disk_delays_and_loses_nothing(gateway: Any, until: Any) -> None:
    gateway.intake.fault = lambda: DiskFullError("full")
    with connect(gateway) as client:
        client.sendall(b"<13>one\n<13>two\n")
        assert until(lambda: gateway.refused().get("syslog_waits", 0) >= 2)
        gateway.intake.fault = None
        assert until(lambda: records(gateway) == [b"<13>one", b"<13>two"])


def test_stopping_keeps_what_was_received(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway(syslog_limits=SyslogLimits(linger=60.0))
    client = connect(gateway)
    client.sendall(b"<13>one\n<13>two\n<13>begun")
    assert until(lambda: gateway.accounting.shown()["connections"].get("syslog") == 1)
    time.sleep(0.3)
    gateway.stop()
    assert records(gateway) == [b"<13>one", b"<13>two", b"<13>begun"]
    assert ended(client)
    client.close()


def test_what_cannot_be_kept_at_the_end_is_counted_as_lost(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway(syslog_limits=SyslogLimits(flush=0.3))
    gateway.intake.fault = lambda: DiskFullError("full")
    client = connect(gateway)
    client.sendall(b"<13>one\n<13>two\n")
    assert until(lambda: gateway.refused().get("syslog_waits", 0) >= 1)
    gateway.stop()
    client.close()
    assert gateway.accounting.shown()["lost"] == {"syslog_at_stop": 2}


def test_more_connections_than_allowed_are_closed_and_counted(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway(syslog_limits=SyslogLimits(connections=1))
    with connect(gateway) as first:
        assert until(lambda: gateway.accounting.shown()["connections"].get("syslog") == 1)
        first.sendall(b"<13>x\n")
        assert until(lambda: len(gateway.intake.kept) == 1)
        with connect(gateway) as second:
            assert ended(second)
    assert gateway.refused()["syslog_connections"] == 1


def test_silence_ends_a_connection(start_gateway: Any) -> None:
    gateway = start_gateway(syslog_limits=SyslogLimits(idle=0.3))
    with connect(gateway) as client:
        assert ended(client)
    assert gateway.refused()["syslog_idle"] == 1
