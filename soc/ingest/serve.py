"""Runs the gateway's listeners until told to stop: HTTP, the local socket, syslog, and the heartbeat beside them.

The HTTP protocol is uvicorn's, with what it leaves open bounded: slow or endless heads, connections, peers of the socket.
"""
from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from soc.errors import ConfigError
from soc.event import Lane
from soc.ingest.accounting import Accounting, keep_heartbeat, read_heartbeat
from soc.ingest.batch import Intake
from soc.ingest.datagrams import DatagramServer
from soc.ingest.lanes import LaneGate
from soc.ingest.local import Audit, create_local, listen_local, peer_uid
from soc.ingest.problem import problem_body
from soc.ingest.receive import create_gateway
from soc.ingest.request import GatewayLimits
from soc.ingest.sender import Sender, Senders
from soc.ingest.syslog import SyslogServer
from soc.ingest.syslogbatches import SyslogBatches, SyslogLimits
from soc.setting import loopback

__all__ = ["Listen", "Listening", "serve_gateway"]

_GRACE = 10  # seconds that requests under way have at the end


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on (port 0: any free one) and the PEM files for TLS, which any but a loopback address needs."""

    host: str = "127.0.0.1"
    port: int = 8081
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the gateway listens: what `ready` is told. Ports are real ones."""

    http: tuple[str, int] | None
    syslog: tuple[str, int] | None
    syslog_tls: tuple[str, int] | None
    local: Path | None


def _silent(uid: int, action: str, facts: object) -> None:
    return None


async def serve_gateway(
    intake: Intake, sources: Senders, *, stop: asyncio.Event, http: Listen | None = None, local: Path | None = None,
    syslog: Listen | None = None, syslog_tls: Listen | None = None, syslog_default: Callable[[], Sender | None] = lambda: None,
    limits: GatewayLimits | None = None, syslog_limits: SyslogLimits | None = None, clock: Callable[[], float] = time.time,
    node: str = "", audit: Audit = _silent, owner: int | None = None, heartbeat: Path | None = None,
    stored: Callable[[Lane], int] | None = None, formats: frozenset[str] | None = None,
    timezone: str = "Asia/Ho_Chi_Minh", accounting: Accounting | None = None,
    ready: Callable[[Listening], None] = lambda _: None,
) -> None:
    """Listen where asked (None: not there) until `stop` is set; then finish what was begun and flush what was received.

    `syslog` is unencrypted, over TCP and UDP; `syslog_tls` is over TLS. The intake is started and stopped by the caller.
    `owner` is the uid that may use the local socket beside root (None: ours). Raises ConfigError: HTTP beyond this machine
    without TLS, or an address that cannot be listened on.
    """
    _check(http, "gateway")
    _check(syslog_tls, "syslog")
    limits = limits or GatewayLimits()
    accounting = accounting or Accounting(clock, node)
    if heartbeat is not None:
        accounting.resume(read_heartbeat(heartbeat))
    gate = LaneGate()
    servers: list[tuple[_Server, socket.socket]] = []
    batches = SyslogBatches(intake, limits=syslog_limits or SyslogLimits(), clock=clock, accounting=accounting, gate=gate)
    streams = SyslogServer(batches, sources, default=syslog_default)
    datagrams = DatagramServer(batches, sources, default=syslog_default)
    http_at: tuple[str, int] | None = None
    syslog_at: tuple[str, int] | None = None
    syslog_tls_at: tuple[str, int] | None = None
    tasks: list[asyncio.Task[None]] = []
    ended = asyncio.Event()
    try:
        if http is not None:
            listener = _bind(http, "gateway")
            http_at = (http.host, listener.getsockname()[1])
            app = create_gateway(intake, sources, limits=limits, clock=clock, node=node, accounting=accounting, gate=gate,
                                 stored=stored, formats=formats)
            servers.append((_server(app, limits, accounting, http), listener))
        if local is not None:
            app = create_local(intake, limits=limits, clock=clock, node=node, audit=audit, accounting=accounting, gate=gate,
                               stored=stored, timezone=timezone)
            server = _server(app, limits, accounting, None, owner=os.getuid() if owner is None else owner)
            servers.append((server, listen_local(local)))
        if syslog is not None:
            listener, plain = _bind_both(syslog)
            syslog_at = (syslog.host, listener.getsockname()[1])
            await streams.start(listener)
            datagrams.start(plain)
        if syslog_tls is not None:
            listener = _bind(syslog_tls, "syslog")
            syslog_tls_at = (syslog_tls.host, listener.getsockname()[1])
            await streams.start(listener, _tls(syslog_tls))
        tasks = [asyncio.create_task(server.serve(sockets=[listener]), name="http") for server, listener in servers]
        if heartbeat is not None:
            tasks.append(asyncio.create_task(keep_heartbeat(accounting.shown, heartbeat, ended), name="heartbeat"))
        stopping = asyncio.create_task(stop.wait())
        while not all(server.started for server, _ in servers) and not any(task.done() for task in tasks):
            await asyncio.sleep(0.01)
        ready(Listening(http_at, syslog_at, syslog_tls_at, local))
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    finally:
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(streams.stop(), datagrams.stop())
        ended.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for _, listener in servers:
            listener.close()
        if local is not None:
            local.unlink(missing_ok=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: stopping is the caller's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(
    app: Starlette, limits: GatewayLimits, accounting: Accounting, listen: Listen | None, *, owner: int | None = None,
) -> _Server:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # malformed requests are counted, not written down one by one
    return _Server(uvicorn.Config(
        app, http=_protocol(limits, accounting, owner), ws="none", lifespan="off", interface="asgi3", log_config=None,
        access_log=False, proxy_headers=False, server_header=False,
        timeout_keep_alive=limits.keep_alive, timeout_graceful_shutdown=_GRACE,
        ssl_certfile=str(listen.certificate) if listen and listen.certificate else None,
        ssl_keyfile=str(listen.key) if listen and listen.key else None, backlog=256))


def _protocol(limits: GatewayLimits, accounting: Accounting, owner: int | None) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol with bounds on heads and connections, and, if `owner` is given, on who connects."""

    class BoundedHttp(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _in_head = True
        _head_size = 0
        _uid: int | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            accounting.connected("local" if owner is not None else "http", 1)
            if owner is not None:
                self._uid = peer_uid(transport.get_extra_info("socket"))
                if self._uid not in (None, owner, 0):
                    self._refuse(403, "address", "this socket belongs to another user")
                    return
            if len(self.connections) > limits.connections:
                self._refuse(503, "connections", "too many connections", "retry-after: 5\r\n")
                return
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            accounting.connected("local" if owner is not None else "http", -1)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                if self._timer is None:
                    self._wait_for_head()
                self._head_size += len(data)
            super().data_received(data)
            if self._in_head and self._head_size > limits.head and not self.transport.is_closing():
                self._refuse(431, "too_large", "the head of the request is too large")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            cast(dict[str, Any], self.scope)["soc.uid"] = self._uid if self._uid is not None else -1

        def on_headers_complete(self) -> None:
            self._head_came()
            self._in_head = False
            self._head_size = 0
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._in_head = True

        def send_400_response(self, msg: str) -> None:
            cycle = self.cycle
            if cycle is not None and not cycle.response_complete and not cycle.more_body:
                cycle.keep_alive = False  # garbage behind a whole request: that one gets its own answer first
                self.flow.pause_reading()
                accounting.refused("malformed")
                return
            self._refuse(400, "malformed", "this is no valid HTTP request")

        def _wait_for_head(self) -> None:
            self._timer = self.loop.call_later(
                limits.deadline, self._refuse, 408, "too_slow", "the request did not arrive in time")

        def _head_came(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _refuse(self, status: int, reason: str, detail: str, header: str = "") -> None:
            self._head_came()
            accounting.refused(reason)
            body = problem_body(status, reason, detail)
            if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
                self.transport.write(
                    f"HTTP/1.1 {status} Refused\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
                    f"{header}connection: close\r\n\r\n".encode() + body)
            self.transport.close()

    return BoundedHttp


def _check(listen: Listen | None, what: str) -> None:
    if listen is None:
        return
    if not loopback(listen.host) and listen.certificate is None:
        raise ConfigError([f"{what}.host: {listen.host} reaches beyond this machine, which needs TLS: "
                           "run soc tls init, or set tls.certificate and tls.key"])
    if (listen.certificate is None) != (listen.key is None):
        raise ConfigError([f"{what}: a certificate needs its key, and a key its certificate"])


def _bind(listen: Listen, what: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listener = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:  # for UDP it would let a second program share the port, and the messages
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.host, listen.port))
        if kind == socket.SOCK_STREAM:
            listener.listen(256)
    except OSError as fault:
        listener.close()
        name = "UDP port" if kind == socket.SOCK_DGRAM else "port"
        raise ConfigError([f"{what}: cannot listen on {listen.host} {name} {listen.port}: {fault.strerror or fault}"]) from fault
    listener.setblocking(False)
    return listener


def _bind_both(listen: Listen) -> tuple[socket.socket, socket.socket]:
    """The same port for TCP and UDP."""
    stream = _bind(listen, "syslog")
    try:
        return stream, _bind(replace(listen, port=stream.getsockname()[1]), "syslog", socket.SOCK_DGRAM)
    except ConfigError:
        stream.close()
        raise


def _tls(listen: Listen) -> ssl.SSLContext | None:
    if listen.certificate is None or listen.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(listen.certificate, listen.key)
    return context
