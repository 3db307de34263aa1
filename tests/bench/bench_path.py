"""The path behind the acknowledgement: journal → cut, compaction and token index, bytes on disk.

``python tests/bench/bench_path.py [SECONDS]`` prints one JSON line per figure. CPU is user + system of this process, which
does all the work; `windows-events` is read from the shared samples as it is (102,003 events) and is looped, each loop with
its own streams, only to fill SECONDS; bytes per event are taken from the first loop alone (nothing replicated).
"""
from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import zstandard

from soc.event import FrameContext, Lane
from soc.ingest.batch import Batch, Compression, Encoding
from soc.ingest.intake import DurableIntake, IntakeLimits
from soc.journalsource import JournalSource
from soc.normalise.loop import Normaliser
from soc.normalise.records import Parsers
from soc.store.compact import CompactionLimits, Compactor
from soc.store.disk import RealDisk
from soc.store.manifest import Manifest
from soc.store.node import NodeDatabase
from soc.store.tokens import blocks

NOW = 1_790_000_000_000_000
MINUTE = 60_000_000


def main() -> None:
    """Both corpora, each from an empty folder."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    facts = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "python": platform.python_version(), "commit": commit()}
    shared = Path(os.environ.get("SOC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if (shared / "windows-events.jsonl.zst").exists():
        with open(shared / "windows-events.jsonl.zst", "rb") as file:
            lines = [x for x in zstandard.ZstdDecompressor().stream_reader(file).read().split(b"\n") if x]
        run("windows-events", lines, seconds, facts)
    run("access log", list(access_lines(100_000)), seconds, facts)


def run(name: str, lines: list[bytes], seconds: float, facts: dict[str, object]) -> None:
    """Normalise for `seconds`, then compact everything."""
    data = Path(tempfile.mkdtemp(prefix="bench-"))
    for folder in ("run", "cuts", "segments"):
        (data / folder).mkdir()
    try:
        normalised = events = 0.0
        first_size = 0
        until, loop = time.monotonic() + seconds, 0
        manifest = Manifest.open(data)
        normaliser = Normaliser(data=data, disk=RealDisk(), manifest=manifest, source=JournalSource(data, RealDisk()), parser=Parsers(),
                                centre="bench")
        compactor = Compactor(data=data, disk=RealDisk(), manifest=manifest, passed=lambda: dict.fromkeys(Lane, 1 << 60), index=blocks,
                              limits=CompactionLimits(grace=0))
        passes = -(-CompactionLimits().enough // len(lines))  # a minute's load: then every event is compacted once
        compacted = 0.0
        while time.monotonic() < until:
            for turn in range(passes if loop else 1):
                asyncio.run(fill(data, lines, loop * passes + turn))
            began = time.process_time()
            while took := normaliser.step(lambda: NOW):
                events += took
            normalised += time.process_time() - began
            began = time.process_time()
            while compactor.step(NOW + 2 * MINUTE):
                pass
            compacted += time.process_time() - began
            compactor.sweep(NOW + 60 * MINUTE)
            if loop == 0:
                first_size = sum(p.stat().st_size for p in (data / "segments").rglob("*") if p.is_file())
            loop += 1
        for figure, value in (
            ("journal to searchable cut, CPU s/M", normalised / events * 1e6),
            ("compaction and token index, CPU s/M", compacted / events * 1e6),
            ("bytes per event, original and indexes, not replicated", first_size / len(lines)),
        ):
            print(json.dumps({"corpus": name, "figure": figure, "value": round(value, 1), "events": int(events), "seconds": seconds, **facts}),
                  flush=True)
    finally:
        shutil.rmtree(data)


async def fill(data: Path, lines: list[bytes], loop: int) -> None:
    """Put all lines into the journal as 1,000-record zstd batches (not timed)."""
    intake = DurableIntake(data, RealDisk(), NodeDatabase(data / "node.db"), IntakeLimits(backlog=1 << 40))
    await intake.start()
    compressor = zstandard.ZstdCompressor(level=3)
    for first in range(0, len(lines), 1000):
        part = lines[first : first + 1000]
        context = FrameContext("bench", f"stream-{loop}", first, len(part), NOW + first, NOW + first)
        await intake.accept(Batch(context, Encoding.LINES, Compression.ZSTD, compressor.compress(b"\n".join(part) + b"\n")), Lane.LIVE)
    await intake.stop()


def access_lines(count: int) -> Iterator[bytes]:
    """Web access lines as a busy portal writes them (made here, seeded by their number)."""
    agents = [b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/12%d.0 Safari/537.36" % n for n in range(9)]
    for n in range(count):
        x = n * 2654435761 % (1 << 32)
        yield b'%d.%d.%d.%d - - [10/Oct/2025:%02d:%02d:%02d +0700] "GET /dich-vu/ho-so/%d?ma=%x HTTP/1.1" %d %d "https://dichvucong.example.vn/" "%s"' % (
            1 + x % 220, x >> 8 & 255, x >> 16 & 255, n % 250, n // 3600 % 24, n // 60 % 60, n % 60, x % 5000, x, (200, 200, 200, 304, 404)[x % 5],
            x % 90_000, agents[x % 9])


def commit() -> str:
    """The commit measured."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
