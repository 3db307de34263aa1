"""The whole centre as its user has it: size and CPU idle, `soc import` with the public rules on, size under load, lateness.

``python tests/bench/bench_centre.py [IDLE_SECONDS]`` prints one JSON line per figure. PSS is the sum over the supervisor and
all roles; CPU is user + system of the same. Needs the shared samples (SOC_TEST_DATA, else ../shared/data).
"""
from __future__ import annotations

import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SHARED = Path(os.environ.get("SOC_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """One centre from empty to loaded."""
    idle = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    if not (SHARED / "sigma-rules.zip").exists():
        print("the shared samples are not here: nothing measured")
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    centre = Centre(folder)
    environment, ports, soc = centre.environment, centre.ports, centre.soc
    soc("rules", "import", str(SHARED / "sigma-rules.zip"))
    server = centre.serve()
    try:
        time.sleep(20)
        before, began = cpu(server.pid), time.monotonic()
        time.sleep(idle)
        say("all processes idle, CPU of one core", (cpu(server.pid) - before) / (time.monotonic() - began), seconds=idle)
        say("all processes idle, PSS MB", pss(server.pid))
        peak = Peak(server.pid)
        for name in ("evtx-attack-samples.zip", "windows-events.jsonl.zst"):
            before, began = cpu(server.pid), time.monotonic()
            report = json.loads(soc("import", str(SHARED / name), "--json"))[0]
            seconds = time.monotonic() - began
            say(f"soc import {name}, events/s to judged", report["stored"] / seconds, events=report["stored"], wall=round(seconds, 1),
                centre_cpu_s_per_million=round((cpu(server.pid) - before) / report["stored"] * 1e6))
        token = re.search(r"soci_\S+", soc("source", "add", "bench"))
        assert token
        say("received to judged, s, live while importing", lateness(ports[0], token.group().strip('",'), environment), note="one record a second, worst of 20")
        say("all processes under load, PSS MB, highest", peak.stop(), parts=peak.parts)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
        shutil.rmtree(folder)


class Centre:
    """A centre of its own in a folder, on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.ports = free_ports(3)
        self.environment = {**os.environ, "SOC_DATA": str(folder / "data"), "SOC_GATEWAY__PORT": str(self.ports[0]),
                            "SOC_CONSOLE__PORT": str(self.ports[1]), "SOC_SYSLOG__PORT": str(self.ports[2])}

    def soc(self, *arguments: str) -> str:
        """What a command prints."""
        return subprocess.run([sys.executable, "-m", "soc.cli", *arguments], env=self.environment, check=True, capture_output=True, text=True).stdout

    def serve(self) -> subprocess.Popen[bytes]:
        """The running server."""
        return subprocess.Popen([sys.executable, "-m", "soc.cli", "serve"], env=self.environment, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)


def lateness(port: int, token: str, environment: dict[str, str]) -> float:
    """The longest time from an acknowledgement to the detector having judged it, while the bulk lane is full."""
    lines = SHARED / "windows-events.jsonl.zst"
    copy = Path(environment["SOC_DATA"]).parent / "again.jsonl.zst"
    raw = subprocess.run(["zstd", "-dc", str(lines)], capture_output=True, check=True).stdout
    copy.write_bytes(raw + b'{"end":1}\n')
    busy = subprocess.Popen([sys.executable, "-m", "soc.cli", "import", str(copy)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    from soc.config import Config
    from soc.detect.ledger import Ledger
    from soc.event import Lane
    from soc.health import received_through
    from soc.opening import open_databases

    data = Path(environment["SOC_DATA"])
    state, _ = open_databases(data, Config())
    ledger, worst = Ledger(state), 0.0
    for number in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/ingest/v1/events", b'{"message":"tick %d"}\n' % number,
                           {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"})
        assert connection.getresponse().status == 200
        began, wanted = time.monotonic(), received_through(data, Lane.LIVE)
        while ledger.positions().get(Lane.LIVE, 0) < wanted and time.monotonic() - began < 120:
            time.sleep(0.02)
        worst = max(worst, time.monotonic() - began)
        time.sleep(0.5)
    busy.wait(600)
    return worst


class Peak(threading.Thread):
    """Watches the PSS of a process and its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.highest, self.done = pid, 0.0, threading.Event()
        self.parts: dict[str, int] = {}
        """MB of each role when the sum was highest."""
        self.start()

    def run(self) -> None:
        """Look twice a second."""
        while not self.done.wait(0.5):
            parts = {f"{role_of(one)} {one}": pss_of(one) for one in family(self.pid)}
            if sum(parts.values()) > self.highest:
                self.highest = sum(parts.values())
                self.parts = {name.split()[0]: round(size) for name, size in parts.items()}

    def stop(self) -> float:
        """The highest seen, MB."""
        self.done.set()
        self.join()
        return self.highest


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def pss(pid: int) -> float:
    """MB of a process and its children, shared pages divided."""
    return sum(pss_of(one) for one in family(pid))


def pss_of(pid: int) -> float:
    """MB of one process; 0 if it has gone."""
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    except OSError:
        return 0.0
    return int(found.group(1)) / 1024 if found else 0.0


def role_of(pid: int) -> str:
    """What a process of the centre does."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "gone"
    return words[words.index(b"soc.app") + 1].decode() if b"soc.app" in words else "supervisor"


def cpu(pid: int) -> float:
    """CPU seconds so far of a process and its children."""
    total = 0.0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def say(figure: str, value: float, **conditions: object) -> None:
    """One line."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    print(json.dumps({"figure": figure, "value": round(value, 4), **conditions, "machine": f"{os.cpu_count()} cores, {platform.machine()}",
                      "commit": commit.stdout.strip()}), flush=True)


if __name__ == "__main__":
    main()
