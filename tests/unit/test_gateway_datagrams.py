"""Syslog over UDP through real sockets: one datagram one message, bounded, and every loss counted (F41)."""
from __future__ import annotations

import os
import socket
import sys
from typing import Any

import pytest

from soc.event import Lane
from soc.ingest.datagrams import kernel_drops
from soc.ingest.frame import Frame, FrameHead, records_of
from soc.ingest.syslogbatches import SyslogLimits

on_linux = pytest.mark.skipif(not os.path.exists("/proc/net/udp"), reason=f"{sys.platform} does not say what its kernel drops")


def records(gateway: Any) -> list[bytes]:
    found: list[bytes] = []
    for _, batch in sorted(gateway.intake.kept, key=lambda kept: kept[1].context.first):
        head = FrameHead(batch.encoding, batch.compression, 0, batch.context.count, 0, len(batch.payload), 0)
        found += records_of(Frame(head, batch.context, batch.payload))
    return found


def send(gateway: Any, *messages: bytes, address: str = "127.0.0.1") -> None:
    """Send datagrams from a loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind((address, 0))
        for message in messages:
            wire.sendto(message, gateway.at.syslog)


def lost(gateway: Any) -> dict[str, int]:
    return dict(gateway.accounting.shown()["lost"])


def test_a_datagram_is_a_message_of_the_source_of_its_address(gateway: Any, until: Any) -> None:
    send(gateway, b"<13>first", b"<13>second\n", b"<13>two\nlines and a \0", b"17 <13>no counting here")
    assert until(lambda: len(records(gateway)) == 4)
    assert records(gateway) == [b"<13>first", b"<13>second", b"<13>two\nlines and a \0", b"17 <13>no counting here"]
    lane, batch = gateway.intake.kept[0]
    assert (lane, batch.context.source, batch.context.agency, batch.context.peer) == (Lane.LIVE, "router", "health", "127.0.0.1")


def test_the_smallest_and_the_largest_datagram_are_kept_and_an_empty_one_is_counted(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway()
    largest = b"<13>" + b"x" * (65_507 - 4)
    send(gateway, b"", b"<", largest)
    assert until(lambda: len(records(gateway)) == 2)
    assert records(gateway) == [b"<", largest]
    assert gateway.refused()["syslog_empty"] == 1


def test_a_message_over_the_limit_keeps_its_head(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway(syslog_limits=SyslogLimits(message=1000))
    send(gateway, b"y" * 1500)
    assert until(lambda: records(gateway) == [b"y" * 1000 + b" [cut at 1000 bytes]"])
    assert gateway.accounting.shown()["cut"] == {"syslog": 1, "syslog_bytes": 500}


def test_datagrams_of_tcps_source_share_its_stream(gateway: Any, until: Any) -> None:
    send(gateway, b"<13>udp")
    assert until(lambda: len(records(gateway)) == 1)
    with socket.create_connection(gateway.at.syslog, timeout=10) as client:
        client.sendall(b"<13>tcp\n")
        assert until(lambda: len(records(gateway)) == 2)
    [stream] = {batch.context.stream for _, batch in gateway.intake.kept}
    assert gateway.intake.received(stream) == [(0, 1)]


def test_unknown_addresses_are_refused_counted_and_named(gateway: Any, until: Any) -> None:
    send(gateway, *[b"<13>who"] * 5, address="127.0.0.7")
    send(gateway, b"<13>known")
    assert until(lambda: gateway.refused().get("syslog_unknown") == 5)
    assert until(lambda: records(gateway) == [b"<13>known"])
    [away] = gateway.accounting.shown()["turned_away"]
    assert (away["reason"], away["peer"], away["count"]) == ("syslog_unknown", "127.0.0.7", 5)


def test_a_source_is_known_and_forgotten_in_seconds(gateway: Any, until: Any) -> None:
    send(gateway, b"<13>before", address="127.0.0.8")
    assert until(lambda: gateway.refused().get("syslog_unknown") == 1)
    router = gateway.sources.addresses["127.0.0.1"]
    gateway.sources.addresses["127.0.0.8"] = router

    def sent_until_taken() -> bool:
        send(gateway, b"<13>now", address="127.0.0.8")
        return bool(records(gateway))

    assert until(sent_until_taken)
    gateway.sources.addresses.clear()
    refused = gateway.refused()["syslog_unknown"]

    def sent_until_refused() -> bool:
        send(gateway, b"<13>no longer", address="127.0.0.8")
        return bool(gateway.refused()["syslog_unknown"] > refused)

    assert until(sent_until_refused)


def test_the_default_source_takes_what_nobody_claims(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway(syslog_default=lambda: source)
    source = type(gateway.sources.addresses["127.0.0.1"])("syslog", "syslog")
    send(gateway, b"<13>hello", address="127.0.0.9")
    assert until(lambda: [batch.context.source for _, batch in gateway.intake.kept] == ["syslog"])


@on_linux
def test_every_message_of_a_flood_is_kept_or_counted(start_gateway: Any, until: Any) -> None:
    """30 MB at once while the intake is full: the queue and the kernel's buffer are bounded; afterwards the sum is exact."""
    gateway = start_gateway(syslog_limits=SyslogLimits(waiting=1 << 20, buffer=1 << 20))
    gateway.intake.full[Lane.LIVE] = 1.0
    send(gateway, b"<13>before")
    sent = 30_000
    send(gateway, *[b"<13>" + b"x" * 996] * sent)
    assert until(lambda: lost(gateway).get("udp_queue", 0) > 0)
    gateway.intake.full[Lane.LIVE] = 0.0
    assert until(lambda: len(records(gateway)) + sum(lost(gateway).values()) == sent + 1, 20)
    assert gateway.accounting.shown()["sources"]["router"]["lost"] == lost(gateway)["udp_queue"]
    send(gateway, b"<13>after")
    assert until(lambda: records(gateway)[-1] == b"<13>after")


def test_one_sources_flood_costs_no_other_a_message(start_gateway: Any, until: Any) -> None:
    gateway = start_gateway(syslog_limits=SyslogLimits(waiting=1 << 16))
    gateway.sources.addresses["127.0.0.2"] = type(gateway.sources.addresses["127.0.0.1"])("quiet", "syslog")
    gateway.intake.full[Lane.LIVE] = 1.0
    for turn in range(200):
        send(gateway, b"<13>" + b"x" * 996)
        if turn % 10 == 0:
            send(gateway, b"<13>quiet %d" % turn, address="127.0.0.2")
    assert until(lambda: lost(gateway).get("udp_queue", 0) > 0)
    gateway.intake.full[Lane.LIVE] = 0.0

    def of_quiet() -> int:
        return sum(batch.context.count for _, batch in gateway.intake.kept if batch.context.source == "quiet")

    assert until(lambda: of_quiet() == 20)
    assert gateway.accounting.shown()["sources"]["quiet"]["lost"] == 0


def test_forged_addresses_are_remembered_within_bounds(gateway: Any, until: Any) -> None:
    for number in range(1, 251):
        send(gateway, b"<13>forged", address=f"127.0.1.{number}")
    send(gateway, b"<13>true")
    assert until(lambda: records(gateway) == [b"<13>true"])
    assert until(lambda: gateway.refused()["syslog_unknown"] == 250)
    assert len(gateway.accounting.shown()["turned_away"]) <= 50


def test_what_the_kernel_holds_at_the_end_is_kept(start_gateway: Any) -> None:
    gateway = start_gateway(syslog_limits=SyslogLimits(linger=60.0))
    send(gateway, *[b"<13>%d" % n for n in range(500)])
    gateway.stop()
    assert records(gateway) == [b"<13>%d" % n for n in range(500)]


@on_linux
def test_the_kernels_drops_are_read_from_the_kernel() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unread, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        unread.bind(("127.0.0.1", 0))
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert kernel_drops(unread) == 0
        for _ in range(1000):
            sender.sendto(b"x" * 1000, unread.getsockname())
        unread.setblocking(False)
        received = 0
        try:
            while unread.recv(2000):
                received += 1
        except BlockingIOError:
            pass
        assert kernel_drops(unread) == 1000 - received > 0
