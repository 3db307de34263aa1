"""F8–F11, F15 at a running centre: a full disk, writes that fail, no descriptors left, a store that stands still. Senders are
told to come back, nothing acknowledged is lost, no process gives up, and all goes on by itself once the cause is gone.
"""
from __future__ import annotations

import http.client
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BATCH = 100


class Agent:
    """Sends numbered batches of incompressible records and remembers what was acknowledged."""

    def __init__(self, centre: Any, token: str) -> None:
        self.centre, self.token, self.next = centre, token, 0
        self.answers: list[int] = []

    def send(self, size: int = 100, records: int = BATCH) -> tuple[int, Any]:
        """One batch; (status, answer). A refused one is sent again by the next call."""
        chance = random.Random(self.next)
        body = b"".join(b'{"mark":"agent","number":%d,"noise":"%s"}\n' % (n, chance.randbytes(size).hex().encode())
                        for n in range(self.next, self.next + records))
        status, answer = self.centre.post("/ingest/v1/batches", body, {
            "Authorization": f"Bearer {self.token}", "Content-Type": "application/x-ndjson", "Soc-Stream": "agent",
            "Soc-First": str(self.next), "Soc-Count": str(records)}, 30)
        self.answers.append(status)
        if status == 200:
            self.next += records
        return status, answer

    def taken_again(self, wait_for: Any) -> None:
        """Wait until a batch is acknowledged."""
        wait_for(lambda: self.send()[0] == 200, 30, 0.3)


def whole(centre: Any, agent: Agent, wait_for: Any) -> None:
    """All that was acknowledged is an event, once, and judged; the store is sound and every process lives."""
    wait_for(lambda: centre.status()["lanes"]["live"]["judged"] >= agent.next, 60, 0.5)
    assert centre.count("mark:agent") == agent.next
    verified = centre.soc("store", "verify", check=False)
    assert verified.returncode == 0, verified.stdout
    assert centre.process is not None
    assert centre.process.poll() is None, centre.log.read_text()[-2000:]


@dataclass
class SmallDisk:
    """A file system of 64 MB of its own; `path` leads to it from outside, `inside` within; `centre` lies on it."""

    path: Path
    centre: Any
    inside: Path


@pytest.fixture
def small_disk(tmp_path: Path, centre: Any) -> Iterator[SmallDisk]:
    """The centre's data folder on a disk that can be filled, in a mount namespace that ends with the test."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("unshare and nsenter are not installed")
    place = centre.data
    place.mkdir(mode=0o700)
    holder = subprocess.Popen(["unshare", "--map-root-user", "--mount", "sh", "-c",
                               f"mount -t tmpfs -o size=64m,mode=700 small '{place}' && echo mounted && exec sleep 600"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != b"mounted":
            pytest.skip("this machine lets nobody mount a file system of his own")
        centre.within = ["nsenter", f"--target={holder.pid}", "--user", "--mount", "--preserve-credentials"]
        centre.data = Path(f"/proc/{holder.pid}/root{place}")
        yield SmallDisk(centre.data, centre, place)
        centre.kill()
    finally:
        holder.kill()
        holder.communicate()


def fill(path: Path, leave: int = 0) -> None:
    """Write `path` until its disk has `leave` bytes left."""
    with open(path, "wb", buffering=0) as file:
        while (left := os.statvfs(path).f_bavail * os.statvfs(path).f_frsize - leave) > 0:
            try:
                file.write(b"\0" * min(left, 1 << 20))
            except OSError:
                return


def test_the_guard_refuses_before_the_disk_is_full_and_takes_again_by_itself(
        small_disk: SmallDisk, wait_for: Any) -> None:
    centre, ballast = small_disk.centre, small_disk.path / "ballast"
    agent = Agent(centre, centre.source("agent", "--format", "json"))
    centre.up()
    agent.taken_again(wait_for)
    fill(ballast, leave=2 << 20)
    wait_for(lambda: agent.send()[0] == 503, 15, 0.3)
    status, answer = agent.send()
    assert (status, answer["type"].rsplit("#", 1)[-1]) == (503, "disk_full")
    assert "free space" in answer["remedy"]
    health = centre.status()
    assert health["status"] == "failing"
    assert any("disk" in reason for reason in health["reasons"])
    assert centre.count("mark:agent") == agent.next, "what is there can be searched meanwhile"
    ballast.unlink()
    agent.taken_again(wait_for)
    whole(centre, agent, wait_for)
    assert centre.restarts() == {}
    assert centre.stop() == 0


def test_a_disk_without_a_byte_left_loses_nothing(small_disk: SmallDisk, wait_for: Any) -> None:
    """Without the guard: every place that writes meets ENOSPC."""
    centre, ballast = small_disk.centre, small_disk.path / "ballast"
    centre.environment |= {"SOC_DISK__WARN": "99%", "SOC_DISK__REFUSE": "100%"}
    agent = Agent(centre, centre.source("agent", "--format", "json"))
    centre.up()
    for _ in range(5):
        agent.taken_again(wait_for)
    fill(ballast)
    until = time.monotonic() + 12
    while time.monotonic() < until:
        agent.send()
        time.sleep(0.2)
    assert 503 in agent.answers
    assert set(agent.answers) <= {200, 503}
    ballast.unlink()
    agent.taken_again(wait_for)
    whole(centre, agent, wait_for)
    assert centre.stop() == 0


def test_a_read_only_disk_is_said_and_damages_nothing(small_disk: SmallDisk, wait_for: Any) -> None:
    """F10: the disk comes back read-only."""
    centre = small_disk.centre
    agent = Agent(centre, centre.source("agent", "--format", "json"))
    centre.up()
    agent.taken_again(wait_for)
    whole(centre, agent, wait_for)
    assert centre.stop() == 0
    remount = [*centre.within, "sh", "-c", f"cd / && mount -o remount,$0 {small_disk.inside}"]
    subprocess.run([*remount, "ro"], check=True)
    refused = centre.soc("serve", check=False)
    assert refused.returncode == 1
    assert "read-only" in refused.stderr.lower()
    assert "Traceback" not in refused.stderr
    counted = centre.soc("events", "count", check=False)
    assert (counted.returncode, "read-only" in counted.stderr) == (1, True), counted.stderr
    doctor = centre.soc("doctor", check=False)
    assert doctor.returncode == 1
    assert "read-only" in doctor.stdout.lower()
    subprocess.run([*remount, "rw"], check=True)
    centre.up()
    agent.taken_again(wait_for)
    whole(centre, agent, wait_for)
    assert centre.stop() == 0


@pytest.mark.parametrize("role", ["gateway", "normaliser", "detector", "supervisor"])
def test_a_process_whose_every_write_fails_loses_nothing(centre: Any, wait_for: Any, role: str) -> None:
    """F9: not one byte can be written by it for a while, to no file."""
    agent = Agent(centre, centre.source("agent", "--format", "json"))
    centre.up()
    agent.taken_again(wait_for)
    wait_for(lambda: len(centre.pids()) == 4, 20)
    pid = centre.process.pid if role == "supervisor" else centre.pids()[role]
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    if role == "supervisor":
        os.kill(centre.pids()["detector"], signal.SIGKILL)  # so that it has something to note
    until = time.monotonic() + 6
    while time.monotonic() < until:
        agent.send()
        time.sleep(0.2)
    if role == "gateway":
        assert agent.answers[-5:] == [503] * 5
    try:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    except ProcessLookupError:
        assert role != "supervisor", centre.log.read_text()[-2000:]
    agent.taken_again(wait_for)
    whole(centre, agent, wait_for)
    assert centre.stop() == 0


def test_a_gateway_without_descriptors_comes_back_by_itself(centre: Any, wait_for: Any) -> None:
    """F10: a flood of connections that only stay, while it may open nothing more."""
    agent = Agent(centre, centre.source("agent", "--format", "json"))
    centre.up()
    agent.taken_again(wait_for)
    pid = centre.pids()["gateway"]
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 2, hard))
    held = []
    for _ in range(30):
        held.append(socket.create_connection(("127.0.0.1", centre.gateway), 5))
    time.sleep(2)
    for one in held:
        one.close()
    agent.taken_again(wait_for)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    whole(centre, agent, wait_for)
    assert centre.restarts() == {}
    assert centre.stop() == 0


def resident(pid: int) -> int:
    """Peak resident bytes of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) << 10


def test_a_store_that_stands_still_is_told_to_senders_and_catches_up(centres: Callable[..., Any], wait_for: Any) -> None:
    """F11, F15: the normaliser is stopped under a burst; senders hear 429 with a time, memory stays bounded, all is stored."""
    centre = centres(SOC_JOURNAL__MAX_UNREAD="64MiB", SOC_NORMALISER__CUT_RECORDS="5000")
    agent = Agent(centre, centre.source("agent", "--format", "json"))
    centre.up()
    agent.taken_again(wait_for)
    wait_for(lambda: centre.status()["lanes"]["live"]["judged"] >= agent.next, 30, 0.5)
    stopped = centre.pids()["normaliser"]
    os.kill(stopped, signal.SIGSTOP)
    began = resident(centre.pids()["gateway"])
    try:
        for _ in range(40):
            status, answer = agent.send(size=20_000)
            if status == 429:
                break
        assert status == 429
        assert answer["remedy"]
        assert int(retry_after(agent)) >= 1
        wait_for(lambda: "normaliser has not been heard of" in " ".join(centre.status()["reasons"]), 30, 1.0)
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert resident(centre.pids()["gateway"]) - began < 200 << 20
    agent.taken_again(wait_for)
    whole(centre, agent, wait_for)
    assert centre.restarts() == {}
    assert centre.stop() == 0


def retry_after(agent: Agent) -> str:
    """The Retry-After of a refusal now."""
    connection = http.client.HTTPConnection("127.0.0.1", agent.centre.gateway, timeout=10)
    try:
        connection.request("POST", "/ingest/v1/events", b"{}\n", {
            "Authorization": f"Bearer {agent.token}", "Content-Type": "application/x-ndjson"})
        answer = connection.getresponse()
        assert answer.status == 429
        return answer.headers["Retry-After"]
    finally:
        connection.close()
