"""The whole live path under a steady load: ``python tests/bench/bench_live.py [--seconds 60] [--rate 10000] [--kinds windows,lines]``.

A real `soc serve` with the public rules on gets ready-made batches of 1,000 events over HTTP at a fixed rate: shared Windows
events grown by `grow_events.py`, or sshd and web access lines. Printed: what was acknowledged, how far behind the detector
was at the end and how long it took to be done, CPU of every process, the sender's apart, PSS; then, at half that rate, the
time from acknowledgement to judgement.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import grow_events
import zstandard
from bench_centre import SHARED, Centre, Peak, family, role_of, say
from bench_path import access_lines

from soc.config import Config
from soc.detect.ledger import Ledger
from soc.event import Lane
from soc.health import received_through
from soc.opening import open_databases

HERE = Path(__file__).parent
BATCH = 1000


def main() -> None:
    """Each kind at full rate, then at half."""
    asks = argparse.ArgumentParser(description=__doc__)
    asks.add_argument("--seconds", type=int, default=60)
    asks.add_argument("--rate", type=int, default=0, help="events a second; 0: the goal of each kind")
    asks.add_argument("--kinds", default="windows,lines")
    asked = asks.parse_args()
    if not (SHARED / "sigma-rules.zip").exists():
        print("the shared samples are not here: nothing measured")
        return
    for kind in asked.kinds.split(","):
        rate = asked.rate or {"windows": 10_000, "lines": 20_000}[kind]
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
            run(kind, rate, asked.seconds, Path(folder))


def run(kind: str, rate: int, seconds: int, folder: Path) -> None:
    """One centre from empty."""
    bodies = folder / "bodies"
    bodies.mkdir()
    events = min(rate * seconds, 400_000 if kind == "windows" else 2_000_000)
    pack(lines_of(kind, events), bodies)
    centre = Centre(folder)
    centre.soc("rules", "import", str(SHARED / "sigma-rules.zip"))
    server = centre.serve()
    try:
        time.sleep(15)
        token = re.search(r"soci_\S+", centre.soc("source", "add", "bench"))
        assert token
        target = Target(folder / "data", centre.ports[0], token.group().strip('",'), bodies)
        say(f"{kind}: distinct events among those sent", events, rate=rate, seconds=seconds)
        target.load(10 * rate // BATCH, rate, 0)
        target.drained(600)
        steady(kind, target, server.pid, rate, seconds)
        lateness(kind, target, rate // 2, min(seconds, 30))
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(120)


class Target:
    """The centre under load, seen from outside."""

    def __init__(self, data: Path, port: int, token: str, bodies: Path) -> None:
        self.data, self.port, self.token, self.bodies = data, port, token, bodies
        state, _ = open_databases(data, Config())
        self._ledger = Ledger(state)

    def start(self, batches: int, rate: int, first: int) -> subprocess.Popen[str]:
        """A sender of so many batches; `first` is its streams' first number."""
        return subprocess.Popen([sys.executable, str(HERE / "load_gateway.py"), "127.0.0.1", str(self.port), self.token, str(batches), "4",
                                 str(first), str(rate), str(self.bodies)], stdout=subprocess.PIPE, text=True)

    def load(self, batches: int, rate: int, first: int) -> dict[str, float]:
        """Send, and the sender's report."""
        said, _ = self.start(batches, rate, first).communicate()
        found: dict[str, float] = json.loads(said)
        return found

    def received(self) -> int:
        """The live lane's last acknowledged position."""
        return received_through(self.data, Lane.LIVE)

    def judged(self) -> int:
        """How far the detector is."""
        return self._ledger.positions().get(Lane.LIVE, 0)

    def drained(self, most: float) -> float:
        """Seconds until everything received is judged."""
        began, wanted = time.monotonic(), self.received()
        while self.judged() < wanted and time.monotonic() - began < most:
            time.sleep(0.05)
        return time.monotonic() - began


def steady(kind: str, target: Target, server: int, rate: int, seconds: int) -> None:
    """The load at full rate."""
    peak = Peak(server)
    before = {one: cpu_of(one) for one in family(server)}
    count, began = target.received(), time.monotonic()
    report = target.load(seconds * rate // BATCH, rate, 1_000_000_000)
    wall = time.monotonic() - began
    behind = target.received() - target.judged()
    drained = target.drained(600)
    events = target.received() - count
    used = {role_of(one): round((cpu_of(one) - before.get(one, 0.0)) / events * 1e6, 2) for one in family(server)}
    say(f"{kind}: acknowledged, events/s", events / float(report["seconds"]), asked=rate, wall=round(wall, 1), answers=report["statuses"],
        p95_ms=round(report["p95_ms"], 1), sender_cpu_s_per_million=round(report["cpu"] / events * 1e6, 2))
    say(f"{kind}: events not yet judged at the end", behind, seconds_until_judged=round(drained, 2))
    say(f"{kind}: received to alert, events/s on this machine", events / (float(report["seconds"]) + drained), cpu_s_per_million=used)
    say(f"{kind}: all processes under load, PSS MB, highest", peak.stop(), parts=peak.parts)


def lateness(kind: str, target: Target, rate: int, seconds: int) -> None:
    """Acknowledged to judged, at a lower rate: every 50 ms the position acknowledged, and when it was judged."""
    sender = target.start(seconds * rate // BATCH, rate, 2_000_000_000)
    waiting: list[tuple[int, float]] = []
    late: list[float] = []
    last = target.received()
    while sender.poll() is None or waiting:
        now, at, judged = time.monotonic(), target.received(), target.judged()
        if at > last:
            waiting.append((at, now))
            last = at
        while waiting and waiting[0][0] <= judged:
            late.append(now - waiting.pop(0)[1])
        time.sleep(0.05)
    late.sort()
    say(f"{kind}: acknowledged to judged, s, p99", late[len(late) * 99 // 100], rate=rate, seconds=seconds, looks=len(late), median=round(late[len(late) // 2], 2),
        worst=round(late[-1], 2))


def lines_of(kind: str, count: int) -> Iterable[bytes]:
    """The events of a kind: lines as their sender has them."""
    if kind == "windows":
        return grow_events.grown(grow_events.source(SHARED), count)
    return (line for pair in zip(access_lines(count // 2), sshd_lines(count // 2), strict=True) for line in pair)


def sshd_lines(count: int) -> Iterable[bytes]:
    """Lines of sshd on a busy gate (made here, seeded by their number)."""
    said = (b"Failed password for invalid user u%d from %d.%d.%d.%d port %d ssh2", b"Accepted password for u%d from %d.%d.%d.%d port %d ssh2",
            b"Failed password for u%d from %d.%d.%d.%d port %d ssh2")
    for n in range(count):
        x = n * 2654435761 % (1 << 32)
        yield b"<86>Nov 10 %02d:%02d:%02d gate%d sshd[%d]: " % (n // 3600 % 24, n // 60 % 60, n % 60, x % 40, 900 + x % 30_000) + said[x % 3] % (
            x % 3000, 1 + x % 220, x >> 8 & 255, x >> 16 & 255, n % 250, 1024 + x % 60_000)


def pack(lines: Iterable[bytes], folder: Path) -> None:
    """Batches of 1,000 as zstd files."""
    packer, lines = zstandard.ZstdCompressor(level=3), iter(lines)
    number = 0
    while batch := list(islice(lines, BATCH)):
        (folder / f"{number:06}").write_bytes(packer.compress(b"\n".join(batch) + b"\n"))
        number += 1


def cpu_of(pid: int) -> float:
    """CPU seconds of one process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
