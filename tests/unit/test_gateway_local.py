"""The local socket: only its owner's, believed in what it says, audited; live batches go before bulk ones."""
from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from soc.errors import ConfigError
from soc.event import Lane, Origin
from soc.ingest.accounting import StoredThrough
from soc.ingest.batch import Receipt
from soc.ingest.lanes import LaneGate
from soc.ingest.local import connect_local, listen_local, peer_uid
from soc.ingest.memory import MemoryIntake
from soc.ingest.sender import SenderCache
from soc.ingest.serve import Listen, serve_gateway

PATH = "/ingest/v1/batches"
SAID = {
    "soc-stream": "a" * 64, "soc-first": "0", "soc-count": "1", "soc-import": "i1", "soc-agency": "tax", "soc-source": "import",
    "soc-path": "B%E1%BA%A3n/log%20a.evtx", "soc-timezone": "UTC", "soc-year": "2019", "soc-file-time": "1500000000000000",
    "soc-format": "windows", "soc-read-at": "1700000000000000", "soc-retention": "long",
}


def test_an_import_says_itself_what_a_source_says_elsewhere(gateway: Any) -> None:
    with gateway.local_client() as client:
        answer = client.post(PATH, content=b"x\n", headers=SAID)
        assert client.post(PATH, content=b"x\n", headers=SAID).json()["duplicate"]
        again = client.post(PATH, content=b"y\n", headers={**SAID, "soc-first": "1"})
    assert (answer.status_code, answer.json()["lane"]) == (200, "bulk"), answer.text
    assert again.status_code == 200
    lane, batch = gateway.intake.kept[0]
    context = batch.context
    assert (lane, context.origin, context.import_id, context.agency, context.stream) == (
        Lane.BULK, Origin.IMPORT, "i1", "tax", "a" * 64)
    assert (context.path, context.timezone, context.year, context.format) == ("Bản/log a.evtx", "UTC", 2019, "windows")
    assert (context.file_time, context.read_at, context.retention) == (1_500_000_000_000_000, 1_700_000_000_000_000, "long")
    facts = {"import": "i1", "agency": "tax", "origin": "import", "source": "import"}
    assert gateway.audited == [(os.getuid(), "import.receive", facts)]


def test_an_import_that_is_forgotten_can_come_again(gateway: Any) -> None:
    with gateway.local_client() as client:
        client.post(PATH, content=b"x\n", headers=SAID)
        assert client.get(f"/ingest/v1/streams/{SAID['soc-stream']}").json()["received"] == [[0, 0]]
        assert client.post("/local/v1/imports/i1/forget").json() == {"import": "i1", "forgotten": True}
        refused = client.post(PATH, content=b"x\n", headers=SAID)
        assert (refused.status_code, refused.json()["type"].rpartition("#")[2]) == (410, "undone")
        assert not client.post(PATH, content=b"x\n", headers={**SAID, "soc-import": "i2"}).json()["duplicate"]
    assert [action for _, action, _ in gateway.audited] == [
        "import.receive", "import.forget", "import.receive", "import.receive"]


def test_a_dead_letter_is_read_again_though_its_number_was_received(gateway: Any) -> None:
    with gateway.local_client() as client:
        client.post(PATH, content=b"x\n", headers=SAID)
        again = client.post(PATH, content=b"x\n", headers={**SAID, "soc-replay": "7", "soc-peer": "10.0.0.1"})
    assert (again.status_code, again.json()["duplicate"]) == (200, False)
    assert [(batch.context.replay, batch.context.peer) for _, batch in gateway.intake.kept] == [(0, ""), (7, "10.0.0.1")]
    assert [action for _, action, _ in gateway.audited] == ["import.receive", "deadletters.replay"]


@pytest.mark.parametrize("wrong", [
    {"soc-import": ""}, {"soc-origin": "mars"}, {"soc-lane": "fast"}, {"soc-year": "1200"}, {"soc-timezone": "Asia/Nowhere"},
    {"soc-agency": "a/b"}, {"soc-path": "x" * 5000},
])
def test_what_is_said_wrongly_is_refused(gateway: Any, wrong: dict[str, str]) -> None:
    with gateway.local_client() as client:
        assert client.post(PATH, content=b"x\n", headers={**SAID, **wrong}).status_code == 400
    assert gateway.intake.kept == []


def test_the_socket_is_its_owners_alone(gateway: Any) -> None:
    assert stat.S_IMODE(gateway.local.stat().st_mode) == 0o600
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        assert client.post("/local/v1/imports/i1/forget").status_code == 404


def test_another_user_is_refused_by_the_kernels_word(start_gateway: Any) -> None:
    if os.getuid() != 0:
        gateway = start_gateway(owner=os.getuid() + 1)
        with gateway.local_client() as client:
            assert client.get("/ingest/v1/health").status_code == 403
        return
    with tempfile.TemporaryDirectory() as folder:  # root may always: ask as nobody, through a socket left open to all
        os.chmod(folder, 0o755)
        gateway = start_gateway(local=Path(folder) / "gateway.sock")
        os.chmod(Path(folder) / "gateway.sock", 0o666)
        read, write = os.pipe()
        child = os.fork()
        if not child:  # pragma: no cover
            try:
                os.setgid(65534)
                os.setuid(65534)
                client = socket.socket(socket.AF_UNIX)
                client.settimeout(10)
                client.connect(f"{folder}/gateway.sock")
                os.write(write, client.recv(100))
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        assert b" 403 " in os.read(read, 100)
        os.close(read)


def test_a_socket_in_a_folder_with_a_very_long_name(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120) / "gateway.sock"
    path.parent.mkdir()
    listener = listen_local(path)
    with connect_local(path) as client:
        assert peer_uid(client) in (None, os.getuid())
    listener.close()
    listen_local(path).close()  # in place of the one that was left behind


def test_addresses_beyond_this_machine_need_tls() -> None:
    async def serve(listen: Listen, **more: Any) -> None:
        await serve_gateway(MemoryIntake(), None, stop=asyncio.Event(), http=listen, **more)  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="needs TLS"):
        asyncio.run(serve(Listen("0.0.0.0", 0)))
    with pytest.raises(ConfigError, match="needs TLS"):
        asyncio.run(serve(Listen(port=0), syslog_tls=Listen("::", 0)))
    with pytest.raises(ConfigError, match="needs its key"):
        asyncio.run(serve(Listen("0.0.0.0", 0, certificate=Path("x.crt"))))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot listen"):
        asyncio.run(serve(Listen("127.0.0.1", taken.getsockname()[1])))


def test_bulk_gives_way_while_live_waits(gateway: Any, until: Any) -> None:
    gateway.intake.full[Lane.LIVE] = 0.6
    release = gateway.hold()
    live = {"soc-stream": "s", "soc-first": "0", "soc-count": "1", "authorization": "Bearer soci_right"}

    async def both() -> tuple[int, int]:
        transport = httpx.AsyncHTTPTransport(uds=str(gateway.local))
        async with (httpx.AsyncClient(base_url=gateway.url, trust_env=False) as network,
                    httpx.AsyncClient(transport=transport, base_url="http://local") as local):
            first = asyncio.create_task(network.post(PATH, content=b"x\n", headers=live))
            await asyncio.sleep(0.3)
            second = await local.post(PATH, content=b"x\n", headers=SAID)
            await asyncio.to_thread(release)
            return (await first).status_code, second.status_code

    assert asyncio.run(both()) == (200, 429)


def test_a_bulk_turn_waits_for_live_ones_but_not_for_ever() -> None:
    async def run() -> list[str]:
        gate, order = LaneGate(patience=0.2), []

        async def take(lane: Lane, name: str, seconds: float) -> None:
            async with gate.turn(lane):
                order.append(name)
                await asyncio.sleep(seconds)

        await asyncio.gather(take(Lane.LIVE, "live", 0.05), take(Lane.BULK, "bulk", 0.0), take(Lane.LIVE, "live2", 0.05))
        endless = asyncio.create_task(take(Lane.LIVE, "endless", 30.0))
        await asyncio.sleep(0)
        began = time.monotonic()
        await take(Lane.BULK, "patient", 0.0)
        assert 0.15 < time.monotonic() - began < 5
        endless.cancel()
        return order

    assert asyncio.run(run()) == ["live", "live2", "bulk", "endless", "patient"]


def test_stored_through_never_passes_a_batch_that_is_not_stored() -> None:
    at, now = {"stored": 0}, iter(range(100))
    through = StoredThrough(lambda lane: at["stored"], lambda: float(next(now)))

    def receipt(first: int, sequence: int | None) -> Receipt:
        return Receipt(Lane.LIVE, first, 10, sequence, sequence is None)

    assert through.note("s", 0, receipt(10, 0)) is None
    assert through.note("s", 0, receipt(0, 10)) is None
    at["stored"] = 10
    assert through.note("s", 0, receipt(0, None)) is None  # 10–19 are stored, 0–9 are not
    at["stored"] = 20
    assert through.note("s", 0, receipt(20, 20)) == 19


def test_a_source_is_asked_for_again_after_seconds_and_outlives_a_short_outage() -> None:
    from soc.errors import StoreError

    class Once:
        asked = 0
        broken = False
        enabled = True

        def by_token(self, token: str, /) -> Any:
            self.asked += 1
            if self.broken:
                raise StoreError("no database")
            return self

        by_address = by_token

    async def run() -> None:
        now, senders = [0.0], Once()
        cache = SenderCache(senders, fresh=2.0, stale=5.0, clock=lambda: now[0])
        assert await cache.by_token("a") is await cache.by_token("a")
        assert senders.asked == 1
        now[0] = 3.0
        senders.broken = True
        assert await cache.by_token("a") is senders
        now[0] = 6.0
        with pytest.raises(StoreError):
            await cache.by_token("a")
        senders.broken, senders.enabled = False, False
        assert await cache.by_token("a") is None

    asyncio.run(run())
