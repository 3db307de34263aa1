"""The receiver's privileged twin on `run/gateway.sock` (mode 0600): what `soc import` speaks to beside a running server.

Here the sender is a user of this machine, known by the kernel, and says itself what a source says over the network.
"""
from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from soc.errors import ConfigError, StoreError
from soc.event import UNASSIGNED, FrameContext, Lane, Origin
from soc.ingest.accounting import Accounting
from soc.ingest.batch import Intake
from soc.ingest.front import Front, Numbered, problem_handlers, problems
from soc.ingest.lanes import LaneGate
from soc.ingest.problem import Refusal
from soc.ingest.request import GatewayLimits, number, stream_name, text, time_of, word, zone

__all__ = ["Audit", "connect_local", "create_local", "listen_local", "peer_uid"]

Audit = Callable[[int, str, Mapping[str, str]], None]
"""(uid of the local user, action, facts): called in a thread, once for each import that begins, is forgotten or replayed."""

_LONGEST_PATH = 100  # of the 108 bytes that a socket's address holds
_REMEMBERED = 1000


def create_local(
    intake: Intake, *, limits: GatewayLimits, clock: Callable[[], float], node: str, audit: Audit,
    accounting: Accounting | None = None, gate: LaneGate | None = None, stored: Callable[[Lane], int] | None = None,
    timezone: str = "Asia/Ho_Chi_Minh",
) -> Starlette:
    """The local receiver as an ASGI app; `scope["soc.uid"]` must hold the peer's uid. `timezone` is the default zone."""
    accounting = accounting or Accounting(clock, node)
    front = Front(intake, limits=limits, clock=clock, accounting=accounting, gate=gate or LaneGate(), stored=stored)
    begun: dict[tuple[str, str], None] = {}

    async def batches(request: Request) -> Response:
        """Numbered batches of an import, under whatever name the local user says."""
        headers = request.headers
        name = stream_name(headers.get("soc-stream"))
        first, said = number(headers, "Soc-First"), number(headers, "Soc-Count")
        make = _context(front, headers, name, timezone)
        lane = _lane(headers)
        sample = make(first, said)
        request.scope["soc.source"] = sample.source
        action = "deadletters.replay" if sample.replay else "import.receive"
        if (action, sample.import_id) not in begun:
            await asyncio.to_thread(audit, _uid(request), action, {
                "import": sample.import_id, "agency": sample.agency, "origin": sample.origin.value, "source": sample.source})
            begun[action, sample.import_id] = None
            if len(begun) > _REMEMBERED:
                del begun[next(iter(begun))]
        return await front.take(request, lane, said=said, first=first, sized=True, name=name, context=make)

    async def stream(request: Request) -> Response:
        """What was received of any stream."""
        name = stream_name(request.path_params["stream"])
        epoch = request.query_params.get("epoch", "0")
        if not epoch.isascii() or not epoch.isdigit() or len(epoch) > 18:
            raise Refusal(400, "header", "epoch is no number", "epoch: a number from 0")
        return _json({"stream": name, "epoch": int(epoch), "received": intake.received(name, int(epoch))})

    async def forget(request: Request) -> Response:
        """Forget what was received of an import that is being undone, so that it can be imported again."""
        wanted = request.path_params["import_id"]
        await asyncio.to_thread(audit, _uid(request), "import.forget", {"import": wanted})
        try:
            await intake.forget_import(wanted)
        except StoreError as fault:
            raise Refusal(503, "store", fault.message, fault.remedy, retry=5) from fault
        begun.pop(("import.receive", wanted), None)
        return _json({"import": wanted, "forgotten": True})

    async def health(request: Request) -> Response:
        """Everything counted, and how full the lanes are."""
        return _json({"status": "ok", "congestion": {lane.value: round(intake.congestion(lane), 3) for lane in Lane},
                      **accounting.shown()})

    reported = problems(accounting)
    return Starlette(routes=[
        Route("/ingest/v1/batches", reported(batches), methods=["POST"]),
        Route("/ingest/v1/streams/{stream:path}", reported(stream), methods=["GET"]),
        Route("/ingest/v1/health", reported(health), methods=["GET"]),
        Route("/local/v1/imports/{import_id}/forget", reported(forget), methods=["POST"]),
    ], exception_handlers=problem_handlers(accounting))


def listen_local(path: Path) -> socket.socket:
    """A listening socket at `path` that only its owner may open, in place of a predecessor's. Raises ConfigError."""
    try:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            _at(path, listener.bind)
        finally:
            os.umask(before)
        os.chmod(path, 0o600)
        listener.listen(128)
    except OSError as fault:
        raise ConfigError([f"the local socket {path} cannot be opened: {fault.strerror or fault}"]) from fault
    listener.setblocking(False)
    return listener


def connect_local(path: Path) -> socket.socket:
    """A connection to the gateway's local socket. Raises OSError (nobody listens, or it is not yours)."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _at(path, client.connect)
    except OSError:
        client.close()
        raise
    return client


def peer_uid(connection: socket.socket) -> int | None:
    """The uid of the process at the other end; None where the system does not tell (the socket's mode then decides)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, size))
    return int(uid)


def _at(path: Path, act: Callable[[str], None]) -> None:
    """Bind or connect, by way of the open folder where the path is too long for a socket's address."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        act(str(path))
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        act(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _context(front: Front, headers: Headers, stream: str, timezone: str) -> Numbered:
    now = front.now()
    said = headers.get("soc-origin", Origin.IMPORT.value)
    try:
        origin = Origin(said)
    except ValueError:
        raise Refusal(400, "header", f"Soc-Origin {said[:40]!r} is none", "one of " + ", ".join(Origin)) from None
    import_id = word(headers, "Soc-Import", "")
    if origin is Origin.IMPORT and not import_id:
        raise Refusal(400, "header", "Soc-Import is missing", "the id of the import that these records belong to")
    year = number(headers, "Soc-Year", 0)
    if year and not 1970 <= year <= 2200:
        raise Refusal(400, "header", f"Soc-Year {year} is no year a log can be from", "leave it out to have it inferred")
    epoch = number(headers, "Soc-Epoch", 0)
    read_at, file_time = time_of(headers, "Soc-Read-At", now), time_of(headers, "Soc-File-Time", 0)
    source, agency = word(headers, "Soc-Source", "import"), word(headers, "Soc-Agency", UNASSIGNED)
    form, retention = word(headers, "Soc-Format", "auto"), word(headers, "Soc-Retention", "default")
    path, read_in = text(headers, "Soc-Path"), zone(headers, "Soc-Timezone", timezone)
    peer = text(headers, "Soc-Peer", 200)
    replay = number(headers, "Soc-Replay", 0)  # the dead letter that this record is, read again

    def make(first: int, count: int) -> FrameContext:
        return FrameContext(
            source=source, stream=stream, first=first, count=count, read_at=read_at, ingested=now, agency=agency, origin=origin,
            import_id=import_id, replay=replay, format=form, timezone=read_in, year=year or None, path=path, file_time=file_time,
            epoch=epoch, retention=retention, peer=peer)
    return make


def _lane(headers: Headers) -> Lane:
    said = headers.get("soc-lane", Lane.BULK.value)
    try:
        return Lane(said)
    except ValueError:
        raise Refusal(400, "header", f"Soc-Lane {said[:40]!r} is none", "live or bulk") from None


def _uid(request: Request) -> int:
    return int(request.scope.get("soc.uid", -1))


def _json(value: object) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
