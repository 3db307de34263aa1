"""The shared samples go through the parsers whole: no dead letters, and no event data lost."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard

from soc.event import FrameContext
from soc.normalise.parser import ParsedFrame
from soc.normalise.records import Parsers
from soc.normalise.windows_fields import FLAT_SYSTEM, SHIPPER

PARSERS = Parsers()
READ_AT = 1_709_251_200_000_000


def parse(records: list[bytes]) -> ParsedFrame:
    return PARSERS.parse_frame(FrameContext("samples", "s", 0, len(records), READ_AT, READ_AT), records)


def shared(folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        pytest.skip(f"{name} is not here")
    return folder / name


@pytest.mark.parametrize(
    "name, dataset", [("Linux_2k.log", "syslog"), ("OpenSSH_2k.log", "syslog"), ("Apache_2k.log", "apache")]
)
def test_linux_logs_parse_without_dead_letters(test_data: Path, name: str, dataset: str) -> None:
    with zipfile.ZipFile(shared(test_data, "linux-logs.zip")) as archive:
        member = next(path for path in archive.namelist() if path.endswith("/" + name))
        records = [line for line in archive.read(member).splitlines() if line]
    parsed = parse(records)
    assert len(parsed.events) == len(records) == 2000
    assert {event.event["event.dataset"] for event in parsed.events} == {dataset}
    assert not any("read_at" in str(event.event.get("soc.time_inferred")) for event in parsed.events)


def test_windows_events_keep_all_their_event_data(test_data: Path) -> None:
    with shared(test_data, "windows-events.jsonl.zst").open("rb") as stream:
        lines = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(stream))
        own = set(FLAT_SYSTEM) | set(SHIPPER)
        while records := [line.rstrip(b"\n") for _, line in zip(range(5000), lines, strict=False)]:
            parsed = parse(records)
            assert not parsed.dead
            for one in parsed.events:
                event, document = one.event, orjson.loads(records[one.index])
                assert one.family == "windows"
                assert event["event.original"] == records[one.index].decode()
                assert event["winlog.event_id"] == str(document["EventID"])
                assert "soc.time_inferred" not in event or event["soc.time_inferred"] == "zone"
                for key, value in document.items():
                    if key not in own and value is not None:
                        assert event["winlog.event_data." + key.replace(" ", "")] == plain(value)


def evtx_records(archive: zipfile.ZipFile) -> Iterator[bytes]:
    from evtx import PyEvtxParser

    for name in archive.namelist():
        if name.endswith(".evtx"):
            for record in PyEvtxParser(io.BytesIO(archive.read(name))).records_json():
                assert record is not None
                yield record["data"].encode()


@pytest.mark.parametrize("name", ["evtx-attack-samples.zip", "sigma-regression.zip"])
def test_evtx_samples_parse_with_their_event_data(test_data: Path, name: str) -> None:
    with zipfile.ZipFile(shared(test_data, name)) as archive:
        records = list(evtx_records(archive))
    parsed = parse(records)
    assert len(records) > 200
    assert not parsed.dead
    for one in parsed.events:
        event, document = one.event, orjson.loads(records[one.index])["Event"]
        assert "soc.time_inferred" not in event
        assert event["winlog.computer_name"] == event["host.name"] == document["System"]["Computer"]
        for key, value in (document.get("EventData") or {}).items():
            if isinstance(value, str | int | bool):
                assert event["winlog.event_data." + key.replace(" ", "")] == plain(value)


def plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_cisco_regression_line_is_an_aaa_message(test_data: Path) -> None:
    with zipfile.ZipFile(shared(test_data, "sigma-regression.zip")) as archive:
        record = next(archive.read(name) for name in archive.namelist() if name.endswith(".raw")).splitlines()[0]
    event = parse([record]).events[0].event
    assert event["event.dataset"] == "cisco_ios"
    assert "cisco//aaa" in str(event["soc.log_sources"]).split()
    assert "no access-session port-control" in str(event["message"])
