"""A gateway front over an intake in memory, listening on loopback in a thread of its own."""
from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from soc.access.relay import RelayRule
from soc.event import Lane
from soc.ingest.accounting import Accounting
from soc.ingest.memory import MemoryIntake
from soc.ingest.request import GatewayLimits
from soc.ingest.serve import Listen, Listening, serve_gateway
from soc.ingest.syslogbatches import SyslogLimits

TOKEN = "soci_right"


@dataclass(frozen=True)
class FakeSource:
    """What the gateway needs to know of a source."""

    id: str = "web"
    kind: str = "ndjson"
    agency: str = "health"
    format: str = "auto"
    timezone: str = "Asia/Ho_Chi_Minh"
    year: int | None = None
    lane: Lane = Lane.LIVE
    retention: str = "default"
    enabled: bool = True
    only_from: str = ""
    relay: tuple[RelayRule, ...] = ()

    def takes_from(self, address: str) -> bool:
        return self.only_from in ("", address)


@dataclass
class FakeSources:
    """Sources by token and by address, changeable while the gateway runs."""

    tokens: dict[str, FakeSource] = field(default_factory=lambda: {TOKEN: FakeSource()})
    addresses: dict[str, FakeSource] = field(default_factory=lambda: {"127.0.0.1": FakeSource("router", "syslog")})

    def by_token(self, token: str, /) -> FakeSource | None:
        return self.tokens.get(token)

    def by_address(self, address: str, /) -> FakeSource | None:
        return self.addresses.get(address)


class RunningGateway:
    """A gateway in a thread. `at` says where it listens; everything it kept is in `intake.kept`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.intake = MemoryIntake()
        self.sources = FakeSources()
        self.accounting = Accounting(time.time, "node-1")
        self.audited: list[tuple[int, str, dict[str, str]]] = []
        self.local = folder / "gateway.sock"
        self.heartbeat = folder / "gateway.json"
        self._options = options
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._thread.start()
        assert self._ready.wait(10), "the gateway did not start"
        if self.fault is not None:
            raise self.fault

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as fault:
            self.fault = fault
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        def listening(at: Listening) -> None:
            self.at = at
            self._ready.set()

        def audit(uid: int, action: str, facts: Mapping[str, str]) -> None:
            self.audited.append((uid, action, dict(facts)))

        given = {"http": Listen(port=0), "syslog": Listen(port=0), "limits": GatewayLimits(deadline=2.0),
                 "syslog_limits": SyslogLimits(), "local": self.local,
                 "heartbeat": self.heartbeat, "audit": audit, "accounting": self.accounting} | self._options
        await serve_gateway(self.intake, self.sources, stop=self._stop, ready=listening, node="node-1", **given)

    def call(self, act: Callable[[], object]) -> None:
        """Run something in the gateway's loop."""
        assert self._loop is not None
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (act(), done.set()))
        assert done.wait(5)

    def hold(self) -> Callable[[], None]:
        """Make the intake wait; returns what lets it go on."""
        event = asyncio.Event()
        self.call(lambda: setattr(self.intake, "pause", event))
        return lambda: self.call(event.set)

    def stop(self) -> None:
        if self._loop is not None and self._thread.is_alive():
            assert self._stop is not None
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the gateway did not stop"

    @property
    def url(self) -> str:
        assert self.at.http is not None
        return f"http://{self.at.http[0]}:{self.at.http[1]}"

    @property
    def address(self) -> tuple[str, int]:
        assert self.at.http is not None
        return self.at.http

    def client(self, token: str = TOKEN) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {token}"}, timeout=20, trust_env=False)

    def local_client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.HTTPTransport(uds=str(self.local)), base_url="http://local", timeout=20)

    def change_source(self, **values: Any) -> None:
        self.sources.tokens[TOKEN] = replace(self.sources.tokens[TOKEN], **values)

    def refused(self) -> dict[str, int]:
        shown = self.accounting.shown()["refused"]
        assert isinstance(shown, dict)
        return shown


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[Callable[..., RunningGateway]]:
    """Starts gateways with options of `serve_gateway`; all are stopped at the end."""
    started: list[RunningGateway] = []

    def start(**options: Any) -> RunningGateway:
        folder = tmp_path / f"gateway{len(started)}"
        folder.mkdir()
        started.append(RunningGateway(folder, **options))
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture
def gateway(start_gateway: Callable[..., RunningGateway]) -> RunningGateway:
    """A gateway with small deadlines."""
    return start_gateway()


def until(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for something to become true."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if true():
            return True
        time.sleep(0.01)
    return true()


@pytest.fixture(name="until")
def _until() -> Callable[..., bool]:
    return until
