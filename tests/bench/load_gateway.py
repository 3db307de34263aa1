"""The sender's side of bench_gateway, a process of its own: posts numbered zstd batches over a few connections.

``python tests/bench/load_gateway.py HOST PORT TOKEN BATCHES CONNECTIONS FIRST [RATE [FOLDER]]`` prints one JSON line: seconds,
statuses, latency in ms, its own CPU seconds. RATE in events/s (0: as fast as it goes); FOLDER holds ready batches to send.
"""
from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import zstandard

EVENTS = 1000
DISTINCT = 20


def main() -> None:
    """Send and report."""
    host, port, token, batches, connections, first, *more = sys.argv[1:9]
    bodies = [path.read_bytes() for path in sorted(Path(more[1]).iterdir())] if len(more) > 1 else make_bodies()
    rate = float(more[0]) if more else 0.0
    began = time.process_time()
    report = asyncio.run(send(host, int(port), token, bodies, int(batches), int(connections), int(first), rate))
    print(json.dumps(report | {"cpu": time.process_time() - began}))


def make_bodies() -> list[bytes]:
    """Batches of 1,000 lines: the shared Windows events where they are (2.6 kB each), else made ones of 600 bytes."""
    lines = _shared() or [
        b'{"EventID":%d,"Channel":"Security","Hostname":"host%d.example.vn","TargetUserName":"user%d","LogonType":3,"Message":"%s"}'
        % (4624 + n % 5, n % 40, n % 300, b"An account was successfully logged on. " * 12 + b"%d" % n)
        for n in range(EVENTS * DISTINCT)
    ]
    packer = zstandard.ZstdCompressor(level=3)
    return [packer.compress(b"\n".join(lines[n : n + EVENTS]) + b"\n") for n in range(0, EVENTS * DISTINCT, EVENTS)]


def _shared() -> list[bytes]:
    path = Path(os.environ.get("SOC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "windows-events.jsonl.zst"
    if os.environ.get("BENCH_MADE") or not path.exists():
        return []
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        lines = b"".join(iter(lambda: reader.read(1 << 20), b"")).split(b"\n")
    every = max(1, len(lines) // (EVENTS * DISTINCT))
    if width := int(os.environ.get("BENCH_WIDTH", "0")):  # cut to a narrower event: same words, 640 kB a batch at 640
        lines = [line[:width] for line in lines]
    runs = [lines[n : n + EVENTS] for n in range(0, len(lines) - EVENTS * every, EVENTS * every)]
    return [line for run in runs[:DISTINCT] for line in run]


async def send(
    host: str, port: int, token: str, bodies: list[bytes], batches: int, connections: int, first: int, rate: float = 0.0,
) -> dict[str, object]:
    """Post `batches` batches, no faster than `rate` events a second; each connection has its own stream and waits for each answer."""
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    counter = iter(range(batches))

    async def one(name: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        number = first
        for turn in counter:
            if rate:
                await asyncio.sleep(began_all + turn * EVENTS / rate - time.perf_counter())
            body = bodies[turn % len(bodies)]
            head = (f"POST /ingest/v1/batches HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\nsoc-stream: s{name}\r\n"
                    f"soc-epoch: 1\r\nsoc-first: {number}\r\nsoc-count: {EVENTS}\r\nsoc-read-at: {time.time_ns() // 1000}\r\n"
                    "content-type: application/x-ndjson\r\ncontent-encoding: zstd\r\n"
                    f"content-length: {len(body)}\r\n\r\n").encode()
            began = time.perf_counter()
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - began)
            statuses[int(answer[9:12])] += 1
            number += EVENTS
        writer.close()

    began_all = time.perf_counter()
    await asyncio.gather(*(one(name) for name in range(connections)))
    seconds = time.perf_counter() - began_all
    latencies.sort()
    raw = sum(zstandard.frame_content_size(body) for body in bodies)
    return {"seconds": seconds, "statuses": dict(statuses), "raw": raw // len(bodies),
            "packed": sum(map(len, bodies)) // len(bodies), "p50_ms": 1000 * latencies[len(latencies) // 2],
            "p95_ms": 1000 * latencies[len(latencies) * 95 // 100]}


if __name__ == "__main__":
    main()
