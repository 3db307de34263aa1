"""The HTTP receiver: authenticate, bound, unpack only to check and count, hand to the intake, answer.

First stop of the data path. A 200 means on disk; whatever is refused says why and was not stored (docs/ingest.md).
"""
from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from soc.errors import DiskFullError, InputRefused, OverlapError, StoreError, TooLargeError
from soc.event import FrameContext, Lane
from soc.ingest.accounting import Accounting, StoredThrough
from soc.ingest.batch import ASSIGN, Batch, Encoding, Intake, Receipt
from soc.ingest.lanes import LaneGate
from soc.ingest.problem import Refusal, problem
from soc.ingest.request import (
    Budget,
    Disconnected,
    GatewayLimits,
    coding_of,
    declared_length,
    drain,
    encoding_of,
    number,
    read_body,
    stream_name,
    time_of,
    word,
)
from soc.ingest.sender import Sender, SenderCache, Senders
from soc.ingest.unpack import Unpacked, unpack

__all__ = ["LOCAL_HEADERS", "Front", "create_gateway", "problems"]

LOCAL_HEADERS = ("soc-import", "soc-agency", "soc-origin", "soc-path", "soc-timezone", "soc-year", "soc-lane", "soc-source",
                 "soc-file-time", "soc-retention", "soc-replay", "soc-peer")
"""Headers that only the local socket believes; over the network they are refused, not ignored."""

_INLINE = 256 * 1024
"""Bodies up to this many bytes are unpacked in the event loop (about a millisecond), larger ones in a thread."""

Handler = Callable[[Request], Awaitable[Response]]


class Numbered(Protocol):
    """What the front makes a context from, once the number of records is known."""

    def __call__(self, first: int, count: int) -> FrameContext: ...


class Front:
    """What the network's and the local receiver share: from a request whose sender is known to its answer."""

    def __init__(self, intake: Intake, *, limits: GatewayLimits, clock: Callable[[], float], accounting: Accounting,
                 gate: LaneGate, stored: Callable[[Lane], int] | None = None) -> None:
        self.intake, self.limits, self.clock, self.accounting, self.gate = intake, limits, clock, accounting, gate
        self.budget = Budget(limits.buffered)
        self._through = StoredThrough(stored, clock)

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        return int(self.clock() * 1e6)

    async def take(self, request: Request, lane: Lane, *, said: int | None, first: int, sized: bool, name: str,
                   context: Numbered) -> Response:
        """Read, check, count, keep and answer one batch of `said` records (None: not said). Raises Refusal, Disconnected."""
        encoding, coding = encoding_of(request.headers, sized=sized), coding_of(request.headers)
        declared_length(request.headers)
        self._refuse_when_congested(lane)
        body = await read_body(request, self.limits, self.budget, asyncio.get_running_loop().time)
        try:
            unpacked = await self._unpack(body, coding, encoding)
            if said is not None and said != unpacked.count:
                raise Refusal(400, "count", f"Soc-Count says {said} records and the body holds {unpacked.count}",
                              "count what you send: empty lines are no records", more={"records": unpacked.count})
            if not unpacked.count:
                raise Refusal(400, "empty", "the body holds no record", "send at least one")
            made = context(first, unpacked.count)
            receipt = await self._accept(Batch(made, encoding, unpacked.compression, unpacked.payload), lane)
        finally:
            self.budget.give_back(len(body))
        self.accounting.accepted(made.source, receipt.lane, receipt.count, len(body), duplicate=receipt.duplicate)
        return self._answer(receipt, made, name)

    async def _unpack(self, body: bytes, coding: str, encoding: Encoding) -> Unpacked:
        try:
            if coding == "gzip" or len(body) > _INLINE:
                return await asyncio.to_thread(unpack, body, coding, encoding, self.limits.bounds)
            return unpack(body, coding, encoding, self.limits.bounds)
        except TooLargeError as fault:
            raise Refusal(413, "too_large", fault.message, fault.remedy) from fault
        except InputRefused as fault:
            raise Refusal(400, "payload", fault.message, fault.remedy) from fault

    async def _accept(self, batch: Batch, lane: Lane) -> Receipt:
        try:
            async with self.gate.turn(lane):
                self._refuse_when_congested(lane)
                return await self.intake.accept(batch, lane)
        except OverlapError as fault:
            raise Refusal(409, "overlap", fault.message, fault.remedy, more={"received": fault.ranges}) from fault
        except InputRefused as fault:
            raise Refusal(410, "undone", fault.message, fault.remedy) from fault
        except DiskFullError as fault:
            raise Refusal(503, "disk_full", fault.message, fault.remedy, retry=_jitter(30)) from fault
        except StoreError as fault:
            raise Refusal(503, "store", fault.message, fault.remedy, retry=_jitter(5)) from fault

    def _refuse_when_congested(self, lane: Lane) -> None:
        congestion = self.intake.congestion(lane)
        if lane is Lane.BULK and self.gate.waiting[Lane.LIVE]:
            congestion = max(congestion, 2 * self.intake.congestion(Lane.LIVE))  # bulk gives way at half of what live may fill
        if congestion >= 1.0:
            raise Refusal(429, "congested", f"the {lane.value} lane is full for now", "send again after Retry-After",
                          retry=_jitter(min(60, int(2 * congestion) + 1)))

    def _answer(self, receipt: Receipt, context: FrameContext, name: str) -> Response:
        through = self._through.note(context.stream, context.epoch, receipt)
        return Response(orjson.dumps({
            "stream": name, "first": receipt.first, "count": receipt.count, "duplicate": receipt.duplicate,
            "lane": receipt.lane.value, "stored_through": through,
        }), media_type="application/json")


def create_gateway(
    intake: Intake, sources: Senders, *, limits: GatewayLimits, clock: Callable[[], float], node: str,
    accounting: Accounting | None = None, gate: LaneGate | None = None, stored: Callable[[Lane], int] | None = None,
    formats: Collection[str] | None = None,
) -> Starlette:
    """The receiver for the network, as an ASGI app. `clock` gives seconds since 1970 UTC.

    `stored(lane)` is the sequence before which a lane is stored (for `stored_through`); `formats` are the parser names
    that `Soc-Format` may ask for (None: any).
    """
    accounting = accounting or Accounting(clock, node)
    front = Front(intake, limits=limits, clock=clock, accounting=accounting, gate=gate or LaneGate(), stored=stored)
    senders = SenderCache(sources)

    async def batches(request: Request) -> Response:
        """Numbered batches: exact, however often they are sent."""
        source = await _sender(request, senders)
        headers = request.headers
        name = stream_name(headers.get("soc-stream"))
        epoch, first, said = number(headers, "Soc-Epoch", 0), number(headers, "Soc-First"), number(headers, "Soc-Count")
        make = _context(front, request, source, f"{source.id}:{name}", epoch, formats)
        return await front.take(request, source.lane, said=said, first=first, sized=True, name=name, context=make)

    async def events(request: Request) -> Response:
        """Lines without numbers: nothing is lost, a blind retry may double."""
        source = await _sender(request, senders)
        said = number(request.headers, "Soc-Count", -1)
        make = _context(front, request, source, f"{source.id}:ndjson", 0, formats)
        return await front.take(request, source.lane, said=None if said < 0 else said, first=ASSIGN, sized=False,
                                name="ndjson", context=make)

    async def stream(request: Request) -> Response:
        """What was received of one of the sender's own streams."""
        source = await _sender(request, senders)
        name = stream_name(request.path_params["stream"])
        epoch = request.query_params.get("epoch", "0")
        if not epoch.isascii() or not epoch.isdigit() or len(epoch) > 18:
            raise Refusal(400, "header", "epoch is no number", "epoch: a number from 0")
        ranges = intake.received(f"{source.id}:{name}", int(epoch))
        return Response(orjson.dumps({"stream": name, "epoch": int(epoch), "received": ranges}), media_type="application/json")

    async def health(request: Request) -> Response:
        """Whether batches are taken now: for load balancers and senders, so it names nobody."""
        congestion = {lane.value: round(intake.congestion(lane), 3) for lane in Lane}
        full = congestion[Lane.LIVE.value] >= 1.0
        return Response(orjson.dumps({"status": "congested" if full else "ok", "node": node, "congestion": congestion}),
                        429 if full else 200, media_type="application/json")

    reported = problems(accounting)
    return Starlette(routes=[
        Route("/ingest/v1/batches", reported(batches), methods=["POST"]),
        Route("/ingest/v1/events", reported(events), methods=["POST"]),
        Route("/ingest/v1/streams/{stream:path}", reported(stream), methods=["GET"]),
        Route("/ingest/v1/health", reported(health), methods=["GET"]),
    ], exception_handlers=problem_handlers(accounting))


def problems(accounting: Accounting) -> Callable[[Handler], Handler]:
    """Makes a handler answer its refusals as problems, counted, once the sender is done sending (so that it can hear)."""

    def wrap(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except Refusal as refusal:
                peer = request.client.host if request.client is not None else ""
                accounting.refused(refusal.reason, request.scope.get("soc.source", ""), peer=peer)
                if refusal.status == 408 or not await drain(request, 32 << 20, 2.0):
                    refusal.headers["connection"] = "close"
                return problem(refusal)
            except Disconnected:
                accounting.refused("disconnected", request.scope.get("soc.source", ""))
                return Response(status_code=400)  # nobody is there to read it
        return handle
    return wrap


def problem_handlers(accounting: Accounting) -> Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    """Starlette's own refusals (404, 405) and faults of ours (500) as problems."""

    async def refused(request: Request, fault: Exception) -> Response:
        status = fault.status_code if isinstance(fault, HTTPException) else 500
        headers = dict(fault.headers or {}) if isinstance(fault, HTTPException) else {}
        reason = {404: "no_such_path", 405: "method"}.get(status, "fault")
        accounting.refused(reason)
        if not await drain(request, 1 << 20, 1.0):
            headers["connection"] = "close"
        detail = {404: "there is nothing at this address", 405: "this address does not take that method"}.get(
            status, "the gateway failed on this request; it was not acknowledged")
        return problem(Refusal(status, reason, detail, "see docs/ingest.md for the addresses", headers=headers))

    return {HTTPException: refused, Exception: refused}


async def _sender(request: Request, senders: SenderCache) -> Sender:
    """The source that the token is bound to. Raises Refusal: one 401 for whatever is wrong with a token, 403, 503."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        found = await senders.by_token(token.strip()) if scheme.lower() == "bearer" and 0 < len(token) <= 512 else None
    except StoreError as fault:
        raise Refusal(503, "sources", "the list of sources cannot be read", fault.remedy, retry=_jitter(5)) from fault
    if found is None:
        raise Refusal(401, "token", "no valid ingest token", "Authorization: Bearer TOKEN, from `soc source add` or `rotate`",
                      headers={"www-authenticate": "Bearer"})
    request.scope["soc.source"] = found.id
    if request.client is not None and not found.takes_from(request.client.host):
        raise Refusal(403, "address", "this token is bound to other addresses", "see `soc source list`")
    for name in LOCAL_HEADERS:
        if name in request.headers:
            raise Refusal(400, "header", f"{name} is not taken over the network", "leave it out; the source says it")
    return found


def _context(
    front: Front, request: Request, source: Sender, stream: str, epoch: int, formats: Collection[str] | None,
) -> Numbered:
    now = front.now()
    read_at = time_of(request.headers, "Soc-Read-At", now)
    wanted = word(request.headers, "Soc-Format", source.format)
    if formats is not None and wanted != source.format and wanted not in formats:
        raise Refusal(400, "format", f"there is no parser {wanted!r}", "one of " + ", ".join(sorted(formats)))
    peer = request.client.host if request.client is not None else ""

    def make(first: int, count: int) -> FrameContext:
        return FrameContext(
            source=source.id, stream=stream, first=first, count=count, read_at=read_at, ingested=now, agency=source.agency,
            format=wanted, timezone=source.timezone, year=source.year, peer=peer, epoch=epoch, retention=source.retention)
    return make


def _jitter(seconds: int) -> int:
    """`seconds` and up to as many again, so that senders do not come back together."""
    return seconds + random.randint(0, seconds)
