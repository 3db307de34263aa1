"""A real centre for end-to-end tests: `soc serve` as a process of its own, on loopback and free ports."""
from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from soc.event import Lane
from soc.health import received_through


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Centre:
    """One centre under test. Nothing of it outlives `stop`."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, within: Sequence[str] = ()) -> None:
        self.within = list(within)
        """What every command starts with: into the mounts of another process, say."""
        self.data = folder / "data"
        self.log = folder / "serve.log"
        self.gateway, self.console, self.syslog = free_ports(3)
        self.environment = {
            **os.environ, "SOC_DATA": str(self.data), "SOC_GATEWAY__PORT": str(self.gateway), "SOC_CONSOLE__PORT": str(self.console),
            "SOC_SYSLOG__PORT": str(self.syslog), "SOC_SYSLOG__TLS_PORT": "0",
            "NO_COLOR": "1", **(settings or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        """Start `soc serve`; does not wait."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.within, sys.executable, "-m", "soc.cli", "serve", *arguments], env=self.environment,
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def up(self, *arguments: str) -> None:
        """Start, and wait until the gateway answers."""
        self.start(*arguments)
        wait_for(lambda: self.post("/ingest/v1/batches", b"", {})[0], 40)

    def restarts(self) -> dict[str, int]:
        """Role -> how often it had to be started again; only those that had."""
        roles = json.loads((self.data / "run" / "supervisor.json").read_text())["roles"]
        return {role: facts["restarts"] for role, facts in roles.items() if facts["restarts"]}

    def send(self, token: str, body: bytes, **headers: str) -> tuple[int, Any]:
        """Post lines to /ingest/v1/events; a header is named with _ for -."""
        return self.post("/ingest/v1/events", body, {
            "Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson", **{k.replace("_", "-"): v for k, v in headers.items()}}, 60)

    def settled(self, seconds: float = 30) -> int:
        """Wait until everything received is judged; returns how many records that is."""
        def judged() -> int:
            received = {lane: received_through(self.data, lane) for lane in Lane}
            with closing(sqlite3.connect(self.data / "state.db", timeout=20)) as state:
                at = dict(state.execute("SELECT lane, sequence FROM cursors").fetchall())
            return sum(received.values()) or -1 if all(at.get(lane.value, 0) >= end for lane, end in received.items()) else 0

        return max(0, int(wait_for(judged, seconds, 0.2)))

    def count(self, query: str = "") -> int:
        """`soc events count`."""
        return int(self.soc("events", "count", *([query] if query else [])).stdout.strip())

    def stop(self) -> int:
        """Ctrl-C, and wait."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(40)
        self.process = None
        return code

    def kill(self) -> None:
        """kill -9 of the supervisor: its children go with it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def soc(self, *arguments: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `soc` on this centre's data."""
        done = subprocess.run([*self.within, sys.executable, "-m", "soc.cli", *arguments], env=self.environment, capture_output=True, text=True,
                              input=text, timeout=600, check=False)
        assert not check or done.returncode == 0, f"soc {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """The JSON that `soc … --json` prints."""
        return json.loads(self.soc(*arguments, "--json").stdout)

    def json_or_fault(self, *arguments: str) -> Any:
        """The same of a command that may end with 1."""
        return json.loads(self.soc(*arguments, "--json", check=False).stdout)

    def pids(self) -> dict[str, int]:
        """Role -> process id, as the supervisor notes it."""
        try:
            roles = json.loads((self.data / "run" / "supervisor.json").read_text())["roles"]
        except (OSError, ValueError, KeyError):
            return {}
        return {role: facts["pid"] for role, facts in roles.items() if facts["pid"]}

    def post(self, path: str, body: bytes, headers: Mapping[str, str], timeout: float = 10) -> tuple[int, Any]:
        """POST to the gateway; (status, JSON)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway, timeout=timeout)
        try:
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None
        finally:
            connection.close()

    def source(self, name: str, *options: str) -> str:
        """Make a source; returns its token."""
        for line in self.soc("source", "add", name, *options, "--json").stdout.splitlines():
            if "soci_" in line:
                return "soci_" + line.split("soci_")[1].split('"')[0].split()[0]
        raise AssertionError("no token printed")

    def status(self) -> dict[str, Any]:
        """`soc store status --json`."""
        found: dict[str, Any] = json.loads(self.soc("store", "status", "--json").stdout)
        return found


def wait_for(what: Callable[[], Any], seconds: float = 30, every: float = 0.1) -> Any:
    """The first true answer of `what`; AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while True:
        try:
            found = what()
        except (OSError, http.client.HTTPException):
            found = None
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(every)


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """A centre that is not started yet; whatever runs at the end is killed."""
    made = Centre(tmp_path)
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    """One running centre for all the tests of a file; no process of it may have died when they are done."""
    made = Centre(tmp_path_factory.mktemp("standing"))
    try:
        made.up()
        yield made
        assert made.restarts() == {}, made.log.read_text()
        assert made.stop() == 0
    finally:
        made.kill()


@pytest.fixture(scope="module")
def centres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Centre]]:
    """Makes centres, each in a folder of its own or the one that is named; whatever runs at the end is killed."""
    made: list[Centre] = []

    def make(folder: Path | None = None, **settings: str) -> Centre:
        made.append(Centre(folder or tmp_path_factory.mktemp("centre"), settings))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.kill()


@pytest.fixture(name="wait_for", scope="session")
def _wait_for() -> Callable[..., Any]:
    return wait_for
