"""Syslog that lies, floods or comes from a stranger, against a running centre (F40, F41)."""
from __future__ import annotations

import os
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

LAST_YEARS = (datetime.now(UTC) + timedelta(days=3)).strftime("%b %e %H:%M:%S")
MESSAGES = {
    "impossible priority": b"<999>Feb 28 16:10:11 gate app: a1 impossible priority",
    "no priority": b"Feb 28 16:10:11 gate app: a2 no priority",
    "nothing at all": b"<>a3 nothing",
    "a bracket escaped": rb'<34>1 2024-02-28T09:10:11Z gate app 12 ID47 [ex@1 a="b\]c" d="\"e\\"] a4 brackets',
    "structured data without an end": rb'<34>1 2024-02-28T09:10:11Z gate app 12 ID47 [ex@1 a="b\]c a5 no end',
    "a day to come": f"<13>{LAST_YEARS} gate app: a6 of last year".encode(),
    "no such day": b"<13>Feb 30 00:00:00 gate app: a7 no such day",
    "NUL": b"<13>Feb 28 16:10:11 gate app: a8 nul\0nul",
}


@pytest.fixture(scope="module")
def source(standing: Any) -> str:
    standing.soc("source", "add", "gate", "--kind", "syslog", "--address", "127.0.0.1", "--timezone", "UTC")
    return "soc.source:gate"


def sent(standing: Any, data: bytes) -> None:
    """Over one TCP connection."""
    with socket.create_connection(("127.0.0.1", standing.syslog), 10) as wire:
        wire.sendall(data)


def sent_datagrams(standing: Any, *messages: bytes, address: str = "127.0.0.1") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind((address, 0))
        for message in messages:
            wire.sendto(message, ("127.0.0.1", standing.syslog))


@pytest.mark.parametrize("way", ["lines", "counted", "datagrams"])
def test_hostile_messages_are_each_an_event(standing: Any, source: str, wait_for: Any, way: str) -> None:
    """However they come: one event each, lossless, no dead letter; the sender's next message is understood."""
    before = standing.count(source)
    last = b"<13>Feb 28 16:10:11 gate sshd[7]: Failed password for root from 10.0.0.9 port 4 ssh2"
    messages = [*MESSAGES.values(), last]
    if way == "datagrams":
        sent_datagrams(standing, *messages)
    else:
        sent(standing, b"".join(m + b"\n" if way == "lines" or not m.startswith(b"<") else b"%d %s" % (len(m), m) for m in messages))
    wait_for(lambda: standing.count(source) == before + len(messages), 30, 0.5)
    found = {event["event.original"]: event for event in standing.json("events", "search", source, "--limit", "100")}
    assert {m.decode() for m in messages} <= found.keys()
    assert standing.json("deadletters", "list") == []
    of = {name: found[message.decode()] for name, message in MESSAGES.items()}
    assert of["impossible priority"]["log.syslog.priority"] == 999
    assert "log.syslog.facility.code" not in of["impossible priority"]
    assert of["a bracket escaped"]["log.syslog.structured_data.ex@1.a"] == "b]c"
    assert of["a bracket escaped"]["log.syslog.structured_data.ex@1.d"] == '"e\\'
    assert of["a bracket escaped"]["message"] == "a4 brackets"
    assert of["a day to come"]["@timestamp"] < datetime.now(UTC).isoformat()
    assert of["a day to come"]["soc.time_inferred"] == "zone year"
    assert of["no such day"]["soc.time_inferred"] == "read_at"
    assert found[last.decode()]["source.ip"] == "10.0.0.9"


@pytest.mark.parametrize("lie", [b"0 <13>", b"-5 <13>", b"30 <13>", b"5 <13>"])
def test_after_a_lying_count_the_connection_comes_back_to_messages(standing: Any, source: str, wait_for: Any, lie: bytes) -> None:
    mark = f"lie{lie[:2].hex()}"
    sent(standing, lie + b"Feb 28 16:10:11 gate app: xx\n" + b"".join(
        f"<13>Feb 28 16:10:11 gate app: {mark} {n}\n".encode() for n in range(5)))
    wait_for(lambda: standing.count(f'{source} message:"{mark} 4"') == 1, 30, 0.5)
    assert sum(standing.count(f'{source} "{mark} {n}"') for n in range(5)) == 5


def test_a_count_of_a_billion_closes_the_connection_and_costs_nothing_that_came_before(standing: Any, source: str, wait_for: Any) -> None:
    with socket.create_connection(("127.0.0.1", standing.syslog), 10) as wire:
        wire.sendall(b"<13>Feb 28 16:10:11 gate app: beforethebillion\n1000000000 <13>x")
        assert wire.recv(1) == b""
    wait_for(lambda: standing.count(f"{source} beforethebillion") == 1, 30, 0.5)
    assert standing.status()["roles"]["gateway"]["refused"]["syslog_octet_count"] == 1


def test_datagrams_of_any_size_are_kept_and_strangers_refused(standing: Any, source: str, wait_for: Any) -> None:
    before = standing.count(source)
    largest = b"<13>Feb 28 16:10:11 gate app: largest " + b"z" * 65_469
    assert len(largest) == 65_507
    sent_datagrams(standing, b"<13>stranger", address="127.0.0.77")
    sent_datagrams(standing, b"", b"<", largest)
    wait_for(lambda: standing.count(source) == before + 2, 30, 0.5)
    gateway = wait_for(lambda: (found := standing.status()["roles"]["gateway"])["refused"].get("syslog_unknown") and found, 10)
    assert (gateway["refused"]["syslog_unknown"], gateway["refused"]["syslog_empty"]) == (1, 1)
    assert ("syslog_unknown", "127.0.0.77") in {(one["reason"], one["peer"]) for one in gateway["turned_away"]}
    assert standing.count("stranger") == 0


@pytest.mark.skipif(not os.path.exists("/proc/net/udp"), reason="this system does not say what its kernel drops")
def test_what_a_flood_of_datagrams_costs_is_counted_to_the_message(standing: Any, source: str, wait_for: Any) -> None:
    """As fast as the machine can send: events and counted losses are together what was sent, and health says so."""
    before, amount = standing.count(source), 60_000
    sent_datagrams(standing, *[b"<13>Feb 28 16:10:11 gate app: flood %d" % n for n in range(amount)])

    def whole() -> bool:
        standing.settled(60)
        gateway = standing.status()["roles"]["gateway"]
        return bool(standing.count(source) - before + sum(gateway["lost"].values()) == amount)

    wait_for(whole, 60, 1.0)
    lost = standing.status()["roles"]["gateway"]["lost"]
    said = [reason for reason in standing.status()["reasons"] if "syslog message(s) lost" in reason]
    assert bool(said) == bool(lost)
    sent(standing, b"<13>Feb 28 16:10:11 gate app: aftertheflood\n")
    wait_for(lambda: standing.count("aftertheflood") == 1, 30, 0.5)


@pytest.mark.skipif(shutil.which("logger") is None, reason="there is no logger here")
@pytest.mark.parametrize("way", [["--udp", "--rfc3164"], ["--udp", "--rfc5424"], ["--tcp", "--rfc3164"],
                                 ["--tcp", "--rfc5424", "--octet-count"]])
def test_logger_is_understood(standing: Any, source: str, wait_for: Any, way: list[str]) -> None:
    mark = "logger" + "".join(way).replace("-", "")
    subprocess.run(["logger", "--server", "127.0.0.1", "--port", str(standing.syslog), *way, "--tag", "backup", "-p", "auth.warning",
                    f"đăng nhập thất bại {mark}"], check=True, timeout=10)
    [event] = wait_for(lambda: standing.json("events", "search", f"{source} {mark}"), 30, 0.5)
    assert event["message"] == f"đăng nhập thất bại {mark}"
    assert (event["process.name"], event["log.syslog.facility.name"], event["log.syslog.severity.name"]) == ("backup", "auth", "warning")
    assert event["host.name"]
