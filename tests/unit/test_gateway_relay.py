"""One relay that carries many agencies' messages: each agency gets its own, over every way of syslog, and nothing is lost."""
from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.access.relay import RelayRule, check_relay, first_match
from soc.errors import InputRefused
from soc.ingest.frame import Frame, FrameHead, records_of
from soc.ingest.relaysplit import host_of
from tests.unit.conftest import FakeSource

GOLDEN = Path(__file__).parents[1] / "golden" / "parsers" / "syslog"
RULES = check_relay([
    RelayRule("edu", host="web1.health.gov.vn"), RelayRule("health", host="*.HEALTH.gov.vn"), RelayRule("north", address="10.1.0.0/16")])
MESSAGES = [
    (b"<13>Feb 28 16:10:11 web1.health.gov.vn app: one", "edu"), (b"<13>Feb 28 16:10:11 Web2.Health.gov.vn app: two", "health"),
    (b"<13>1 2024-02-28T09:10:11Z 10.1.2.3 app - - - three", "north"), (b"<13>Feb 28 16:10:11 10.2.0.1 app: four", "rest"),
    (b"<13>Feb 28 16:10:11 app: no host", "rest"), (b"no header at all", "rest"), (b"\xff\x00\xfe", "rest")]


def kept(gateway: Any) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for _, batch in gateway.intake.kept:
        head = FrameHead(batch.encoding, batch.compression, 0, batch.context.count, 0, len(batch.payload), 0)
        found |= dict.fromkeys(records_of(Frame(head, batch.context, batch.payload)), batch.context.agency)
    return found


@pytest.mark.parametrize("way", ["tcp", "udp"])
def test_each_agency_gets_its_own_and_nothing_is_lost(gateway: Any, until: Any, way: str) -> None:
    gateway.sources.addresses["127.0.0.1"] = FakeSource("relay", "syslog", agency="rest", relay=RULES)
    if way == "tcp":
        with socket.create_connection(gateway.at.syslog, 10) as wire:
            wire.sendall(b"".join(b"%d %s" % (len(one), one) if one.startswith(b"<") else one + b"\n" for one, _ in MESSAGES))
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            for message, _ in MESSAGES:
                wire.sendto(message, gateway.at.syslog)
    assert until(lambda: len(kept(gateway)) == len(MESSAGES))
    assert kept(gateway) == dict(MESSAGES)
    numbers = sorted(n for _, batch in gateway.intake.kept for n in range(batch.context.first, batch.context.first + batch.context.count))
    assert numbers == list(range(len(MESSAGES))), "one stream, whosever they are"


def test_a_changed_rule_is_live_in_seconds(gateway: Any, until: Any) -> None:
    gateway.sources.addresses["127.0.0.1"] = FakeSource("relay", "syslog", agency="rest", relay=RULES)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.sendto(b"<13>Feb 28 16:10:11 a.edu.vn app: before", gateway.at.syslog)
        assert until(lambda: len(kept(gateway)) == 1)
        gateway.sources.addresses["127.0.0.1"] = FakeSource("relay", "syslog", agency="rest", relay=(RelayRule("edu", host="*.edu.vn"),))
        number = iter(range(1000))

        def split() -> bool:
            wire.sendto(b"<13>Feb 28 16:10:11 a.edu.vn app: after %d" % next(number), gateway.at.syslog)
            return "edu" in kept(gateway).values()

        assert until(split, 20)
    assert kept(gateway)[b"<13>Feb 28 16:10:11 a.edu.vn app: before"] == "rest"


def test_the_host_is_the_one_that_the_parser_reads() -> None:
    lines = (GOLDEN / "headers.log").read_bytes().splitlines()
    events = [one["event"] for one in orjson.loads((GOLDEN / "headers.expected.json").read_bytes())]
    assert len(lines) == len(events)
    assert [host_of(line) for line in lines] == [event.get("host.name", "") for event in events]


def test_an_address_rule_looks_at_the_host_if_that_is_one_and_else_at_the_relay() -> None:
    assert first_match(RULES, "10.1.9.9", "192.0.2.1") == 2
    assert first_match(RULES, "some-host", "10.1.0.1") == 2
    assert first_match(RULES, "10.2.0.1", "10.1.0.1") is None
    assert first_match(RULES, "::ffff:10.1.0.1", "") == 2


@pytest.mark.parametrize("rule", [
    RelayRule("edu"), RelayRule("edu", "h", "10.0.0.1"), RelayRule("edu", "a b"), RelayRule("edu", address="10.0.0.300"), RelayRule("E U", "h")])
def test_rules_that_are_none_are_refused(rule: RelayRule) -> None:
    with pytest.raises(InputRefused):
        check_relay([RelayRule("edu", "fine"), rule])
