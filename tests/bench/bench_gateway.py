"""CPU seconds of the gateway process per million durably acknowledged events.

``python tests/bench/bench_gateway.py [batches] [connections]``; BENCH_WIDTH=640 cuts events to 640 bytes. 1,000-event zstd
batches over HTTP to a real gateway (uvicorn, uvloop, durable intake, real fsync) in a process of its own; the sender is
another (load_gateway.py), so that only the gateway's user and system time counts. Warmed up first.
"""
from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from soc.event import Lane
from soc.ingest.intake import DurableIntake
from soc.ingest.serve import Listen, Listening, serve_gateway
from soc.store.disk import RealDisk
from soc.store.node import NodeDatabase

HERE = Path(__file__).resolve().parent
TOKEN = "bench"
TARGET = 2.5


@dataclass(frozen=True)
class BenchSource:
    """The one source of the bench."""

    id: str = "bench"
    kind: str = "ndjson"
    agency: str = "unassigned"
    format: str = "auto"
    timezone: str = "Asia/Ho_Chi_Minh"
    year: int | None = None
    lane: Lane = Lane.LIVE
    retention: str = "default"
    enabled: bool = True

    def takes_from(self, address: str) -> bool:
        return True

    def by_token(self, token: str, /) -> BenchSource | None:
        return self if token == TOKEN else None

    def by_address(self, address: str, /) -> BenchSource | None:
        return self


def main() -> None:
    """Run both processes and print the figures."""
    batches = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    connections = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
        gateway = subprocess.Popen([sys.executable, __file__, "serve", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   text=True, env=environment)
        assert gateway.stdin is not None
        assert gateway.stdout is not None
        port = gateway.stdout.readline().strip()

        def usage() -> dict[str, float]:
            assert gateway.stdin is not None
            assert gateway.stdout is not None
            print("usage", file=gateway.stdin, flush=True)
            found: dict[str, float] = json.loads(gateway.stdout.readline())
            return found

        def load(count: int, first: int) -> dict[str, object]:
            command = [sys.executable, str(HERE / "load_gateway.py"), "127.0.0.1", port, TOKEN,
                       str(count), str(connections), str(first)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found: dict[str, object] = json.loads(done.stdout)
            return found

        load(50, 0)
        before = usage()
        sent = load(batches, 10_000_000)
        after = usage()
        gateway.stdin.close()
        gateway.wait(30)
    events = batches * 1000
    cpu = after["cpu"] - before["cpu"]
    print(f"{events} events in {batches} batches ({sent['raw']} bytes each, {sent['packed']} packed), {connections} connections, "
          f"answers {sent['statuses']}")
    print(f"gateway: {cpu / events * 1e6:.2f} CPU s per million events (user {after['user'] - before['user']:.2f} s, system "
          f"{after['system'] - before['system']:.2f} s); target {TARGET}; resident {after['rss'] / 2**20:.0f} MB at most")
    print(f"rate {events / float(str(sent['seconds'])):,.0f} events/s; acknowledged in {sent['p50_ms']:.1f} ms (median), "
          f"{sent['p95_ms']:.1f} ms (95 %)")


def serve(folder: Path) -> None:
    """The gateway process: prints its port, then its usage for each line read."""
    import uvloop

    async def run() -> None:
        intake = DurableIntake(folder, RealDisk(), NodeDatabase(folder / "node.db"))
        await intake.start()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ready(at: Listening) -> None:
            assert at.http is not None
            print(at.http[1], flush=True)

        def told() -> None:
            if not sys.stdin.readline():
                loop.remove_reader(sys.stdin)
                stop.set()
                return
            used = resource.getrusage(resource.RUSAGE_SELF)
            print(json.dumps({"cpu": time.process_time(), "user": used.ru_utime, "system": used.ru_stime,
                              "rss": used.ru_maxrss * 1024}), flush=True)

        loop.add_reader(sys.stdin, told)
        await serve_gateway(intake, BenchSource(), stop=stop, http=Listen(port=0), heartbeat=folder / "gateway.json", ready=ready)
        await intake.stop()

    uvloop.run(run())


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
    else:
        main()
