"""Searches over 2 million events: ``python tests/bench/bench_search.py [EVENTS]`` prints one JSON line per kind of search.

The shared Windows events (made ones where they are not here) are parsed once and stored again and again, each time an hour
later, with a stream of their own, by the real cuts and compactor; the last 20,000 stay cuts of 5,000, as the normaliser makes them. Each
kind is asked 60 times with other hours, hosts and words; wall-clock milliseconds of the whole answer, and the CPU milliseconds of an
average one. Bounded searches are asked twice: for the fields of the console's list, and for 100 whole events.
"""
from __future__ import annotations

import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from soc.event import FrameContext, Lane, Scope
from soc.normalise.records import Parsers
from soc.store.columns import batch_of
from soc.store.compact import CompactionLimits, Compactor
from soc.store.cuts import Partition, write_cut
from soc.store.disk import RealDisk
from soc.store.embedded import EmbeddedStore
from soc.store.eventstore import TimeRange
from soc.store.fold import add_folded
from soc.store.manifest import Cut, Manifest

EVENTS = 2_000_000
LOOP = 100_000
CUT, LAST = 20_000, 5_000
LIST = ("event.dataset", "host.name", "message", "event.original")
ROUNDS = 60
HOUR = 3_600_000_000
START = 1_790_000_000_000_000
ALL = Scope.everything()


def main() -> None:
    """Fill a store, ask, print."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    if len(sys.argv) > 2:
        fill(Path(sys.argv[2]), events)
        return
    data = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR")))
    facts = {"events": events, "machine": f"{os.cpu_count()} cores, {platform.machine()}", "python": platform.python_version(), "commit": commit()}
    try:
        subprocess.run([sys.executable, __file__, str(events), str(data)], check=True)  # apart: its memory is not the searches'
        ask(data, events, facts)
    finally:
        shutil.rmtree(data)


def fill(data: Path, events: int) -> None:
    """Store `events` events."""
    for folder in ("run", "cuts", "segments"):
        (data / folder).mkdir()
    manifest, disk = Manifest.open(data), RealDisk()
    compactor = Compactor(data=data, disk=disk, manifest=manifest, passed=lambda: dict.fromkeys(Lane, 1 << 60), index=_index(),
                          limits=CompactionLimits(cut_age=0, hour_age=0, grace=0))
    batches = parsed()
    at = loop = 0
    while at < events:
        for batch in batches:
            if at >= events:
                break
            shifted = again(batch, loop, at)
            step = CUT if at + CUT <= events - CUT else LAST
            for first in range(0, shifted.num_rows, step):
                some = shifted.slice(first, step)
                part = Partition("windows", "default", "live", "", "2026-09-21")
                rows = write_cut(disk, data, Lane.LIVE, at, at + some.num_rows, [(part, some)])
                manifest.commit_cut(Cut(Lane.LIVE, at, at + some.num_rows, rows, [], [], []), START)
                at += some.num_rows
            if at <= events - CUT:
                while compactor.step(START + 48 * HOUR):
                    pass
        loop += 1
        compactor.sweep(START + 50 * HOUR)
    manifest.close()


def _index() -> Callable[[pa.Table], list[bytes]]:
    from soc.store.tokens import blocks

    return blocks


def parsed() -> list[pa.RecordBatch]:
    """About `LOOP` events as batches of `CUT`, times spread over one hour."""
    lines = _lines()
    found: list[pa.RecordBatch] = []
    for first in range(0, len(lines), CUT):
        part = lines[first:first + CUT]
        context = FrameContext("bench", "s", first, len(part), START, START, agency="a1")
        events = [item.event for item in Parsers().parse_frame(context, part).events]
        for row, event in enumerate(events):
            event["@timestamp"] = START + (first + row) * HOUR // len(lines)
            event["organization.id"] = f"a{row % 5}"
            event["soc.origin"] = "live"
            add_folded(event)
        found.append(batch_of(events))
    return found


def _lines() -> list[bytes]:
    shared = Path(os.environ.get("SOC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "windows-events.jsonl.zst"
    if not shared.exists():
        return [b'{"EventID":%d,"Channel":"Security","Hostname":"WORKSTATION%d.example.vn","TargetUserName":"user%d","Message":"%s"}'
                % (4624 + n % 5, n % 40, n % 300, b"An account was logged on. " * 20 + b"needle%d" % n) for n in range(LOOP)]
    with shared.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        return [line for line in b"".join(iter(lambda: reader.read(1 << 20), b"")).split(b"\n") if line][:LOOP]


def again(batch: pa.RecordBatch, loop: int, first: int) -> pa.RecordBatch:
    """The batch as it comes `loop` hours later, at position `first`."""
    height = batch.num_rows
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns["@timestamp"] = pc.add(columns["@timestamp"].cast(pa.int64()), loop * HOUR).cast(pa.timestamp("us", tz="UTC"))
    ingested = pa.repeat(pa.scalar(START + loop * HOUR), height).cast(pa.timestamp("us", tz="UTC"))
    columns["event.created"] = columns["event.ingested"] = ingested
    columns["soc.seq"] = columns["soc.n"] = pa.array(range(first, first + height), pa.int64())
    columns["soc.sub"] = pa.repeat(pa.scalar(0, pa.int64()), height)
    columns["soc.stream_hash"] = pa.repeat(pa.scalar(f"{loop:016x}"), height)
    columns["soc.lane"] = pa.repeat(pa.scalar("live"), height)
    names = sorted(columns)
    return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)


def ask(data: Path, events: int, facts: dict[str, object]) -> None:
    """Time each kind of question."""
    manifest = Manifest.open(data)
    store = EmbeddedStore(data, manifest, timeout=60)
    dice = random.Random(1)
    began = time.perf_counter()
    hosts = [top.value for top in store.top("", ALL, TimeRange(), "host.name", 8)]
    cold = time.perf_counter() - began
    files = manifest.snapshot().segments
    print(json.dumps({"figure": "files", "value": len(files), "cuts": sum(s.kind == "cut" for s in files), "MB": round(sum(s.bytes for s in files) / 1e6),
                      "first_question_ms": round(cold * 1000), **facts}), flush=True)
    hours = max(1, events // LOOP)

    def hour() -> TimeRange:
        start = START + dice.randrange(hours * 4) * HOUR // 4
        return TimeRange(start, start + HOUR)

    def host() -> str:
        return f'host.name:"{dice.choice(hosts)}"'

    some = store.search("", ALL, TimeRange(), 1000).events
    ids = [str(e["event.id"]) for e in store.search("", ALL, TimeRange(START, START + HOUR // 2), 200).events] + [str(e["event.id"]) for e in some[:100]]
    bounded: dict[str, Callable[[], tuple[str, Scope]]] = {
        "1 h and host": lambda: (host(), ALL),
        "1 h, host and event code": lambda: (f"{host()} event.code:{dice.choice(['1', '7', '10', '4688', '5156'])}", ALL),
        "1 h, wildcard in a path": lambda: (r"process.executable:*\powershell.exe", ALL),
        "1 h, two words of text": lambda: (dice.choice(["privilege token", "powershell", '"process create"', "lsass.exe"]), ALL),
        "1 h, agency's scope, network": lambda: ("source.ip:172.16.0.0/12", Scope.of(["a1"])),
    }

    def page(made: Callable[[], tuple[str, Scope]], fields: tuple[str, ...]) -> Callable[[], object]:
        return lambda: store.search(*made(), hour(), 100, None, fields)

    kinds: dict[str, Callable[[], object]] = {
        **{f"bounded search: {name}; list of 100": page(made, LIST) for name, made in bounded.items()},
        **{f"bounded search: {name}; 100 whole": page(made, ()) for name, made in bounded.items()},
        "newest 100 of everything": lambda: store.search("", ALL, TimeRange()),
        "1 h and host: count": lambda: store.count(host(), ALL, hour()),
        "1 h and host: histogram": lambda: store.histogram(host(), ALL, hour()),
        "1 h: top users": lambda: store.top("", ALL, hour(), "user.name"),
        "a word that is nowhere, all time": lambda: store.search(f"nowhere{dice.randrange(10**9)}", ALL, TimeRange()),
        "one event by id": lambda: store.get(dice.choice(ids), ALL),
        "host, all time: count": lambda: store.count(host(), ALL, TimeRange()),
    }
    for name, question in kinds.items():
        taken: list[float] = []
        used = time.process_time()
        for _ in range(ROUNDS):
            began = time.perf_counter()
            question()
            taken.append(time.perf_counter() - began)
        used = time.process_time() - used
        taken.sort()
        print(json.dumps({"figure": name, "p50_ms": round(taken[ROUNDS // 2] * 1000, 1), "p95_ms": round(taken[ROUNDS * 95 // 100] * 1000, 1),
                          "max_ms": round(taken[-1] * 1000, 1), "cpu_ms": round(used / ROUNDS * 1000, 1), **facts}), flush=True)
    print(json.dumps({"figure": "peak resident memory of the process that asked, MB", "value": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), **facts}))
    store.close()
    manifest.close()


def commit() -> str:
    """The commit measured."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
