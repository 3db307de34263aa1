"""What every HTTP receiver does with a request: who sends it, unpack only to check and count, hand to the intake, refuse.

Between the routes (receive, elastic, local) and the intake.
"""
from __future__ import annotations

import asyncio
import base64
import binascii
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from soc.errors import DiskFullError, InputRefused, OverlapError, StoreError, TooLargeError
from soc.event import FrameContext, Lane
from soc.ingest.accounting import Accounting, StoredThrough
from soc.ingest.batch import Batch, Encoding, Intake, Receipt
from soc.ingest.lanes import LaneGate
from soc.ingest.problem import Refusal, problem
from soc.ingest.request import Budget, Disconnected, GatewayLimits, coding_of, declared_length, drain, encoding_of, read_body
from soc.ingest.sender import Sender, SenderCache
from soc.ingest.unpack import Bounds, Unpacked, unpack

__all__ = ["BEARER", "LOCAL_HEADERS", "Front", "Handler", "Numbered", "jitter", "problem_handlers", "problems", "sender_of"]

BEARER = frozenset(("bearer",))
"""The one way our own receivers take a token."""

LOCAL_HEADERS = ("soc-import", "soc-agency", "soc-origin", "soc-path", "soc-timezone", "soc-year", "soc-lane", "soc-source",
                 "soc-file-time", "soc-retention", "soc-replay", "soc-peer")
"""Headers that only the local socket believes; over the network they are refused, not ignored."""

_CHALLENGES = {"bearer": "Bearer", "basic": 'Basic realm="soc"', "apikey": "ApiKey"}
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
        self.refuse_when_congested(lane)
        body = await read_body(request, self.limits, self.budget, asyncio.get_running_loop().time)
        try:
            unpacked = await self.unpack(body, coding, encoding)
            if said is not None and said != unpacked.count:
                raise Refusal(400, "count", f"Soc-Count says {said} records and the body holds {unpacked.count}",
                              "count what you send: empty lines are no records", more={"records": unpacked.count})
            if not unpacked.count:
                raise Refusal(400, "empty", "the body holds no record", "send at least one")
            made = context(first, unpacked.count)
            receipt = await self.accept(Batch(made, encoding, unpacked.compression, unpacked.payload), lane)
        finally:
            self.budget.give_back(len(body))
        self.accounting.accepted(made.source, receipt.lane, receipt.count, len(body), duplicate=receipt.duplicate)
        return self._answer(receipt, made, name)

    async def unpack(self, body: bytes, coding: str, encoding: Encoding, bounds: Bounds | None = None) -> Unpacked:
        """Check and count a body. Raises Refusal (400, 413)."""
        bounds = bounds or self.limits.bounds
        try:
            if coding == "gzip" or len(body) > _INLINE:
                return await asyncio.to_thread(unpack, body, coding, encoding, bounds)
            return unpack(body, coding, encoding, bounds)
        except TooLargeError as fault:
            raise Refusal(413, "too_large", fault.message, fault.remedy) from fault
        except InputRefused as fault:
            raise Refusal(400, "payload", fault.message, fault.remedy) from fault

    async def accept(self, batch: Batch, lane: Lane) -> Receipt:
        """Have the intake keep a batch. Raises Refusal."""
        try:
            async with self.gate.turn(lane):
                self.refuse_when_congested(lane)
                return await self.intake.accept(batch, lane)
        except OverlapError as fault:
            raise Refusal(409, "overlap", fault.message, fault.remedy, more={"received": fault.ranges}) from fault
        except InputRefused as fault:
            raise Refusal(410, "undone", fault.message, fault.remedy) from fault
        except DiskFullError as fault:
            raise Refusal(503, "disk_full", fault.message, fault.remedy, retry=jitter(30)) from fault
        except StoreError as fault:
            raise Refusal(503, "store", fault.message, fault.remedy, retry=jitter(5)) from fault

    def refuse_when_congested(self, lane: Lane) -> None:
        """Raises Refusal (429) while the lane is full."""
        congestion = self.intake.congestion(lane)
        if lane is Lane.BULK and self.gate.waiting[Lane.LIVE]:
            congestion = max(congestion, 2 * self.intake.congestion(Lane.LIVE))  # bulk gives way at half of what live may fill
        if congestion >= 1.0:
            raise Refusal(429, "congested", f"the {lane.value} lane is full for now", "send again after Retry-After",
                          retry=jitter(min(60, int(2 * congestion) + 1)))

    def _answer(self, receipt: Receipt, context: FrameContext, name: str) -> Response:
        through = self._through.note(context.stream, context.epoch, receipt)
        return Response(orjson.dumps({
            "stream": name, "first": receipt.first, "count": receipt.count, "duplicate": receipt.duplicate,
            "lane": receipt.lane.value, "stored_through": through,
        }), media_type="application/json")


def problems(accounting: Accounting, answer: Callable[[Refusal], Response] = problem) -> Callable[[Handler], Handler]:
    """Makes a handler answer its refusals, counted, once the sender is done sending (so that it can hear)."""

    def wrap(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except Refusal as refusal:
                peer = request.client.host if request.client is not None else ""
                accounting.refused(refusal.reason, request.scope.get("soc.source", ""), peer=peer)
                if refusal.status == 408 or not await drain(request, 32 << 20, 2.0):
                    refusal.headers["connection"] = "close"
                return answer(refusal)
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


async def sender_of(request: Request, senders: SenderCache, schemes: Collection[str] = BEARER) -> Sender:
    """The source that the token is bound to. Raises Refusal: one 401 for whatever is wrong with a token, 403, 503."""
    try:
        token = _token(request.headers.get("authorization", ""), schemes)
        found = await senders.by_token(token) if token else None
    except StoreError as fault:
        raise Refusal(503, "sources", "the list of sources cannot be read", fault.remedy, retry=jitter(5)) from fault
    if found is None:
        raise Refusal(401, "token", "no valid ingest token", "Authorization: Bearer TOKEN, from `soc source add` or `rotate`",
                      headers={"www-authenticate": ", ".join(_CHALLENGES[scheme] for scheme in sorted(schemes))})
    request.scope["soc.source"] = found.id
    if request.client is not None and not found.takes_from(request.client.host):
        raise Refusal(403, "address", "this token is bound to other addresses", "see `soc source list`")
    for name in LOCAL_HEADERS:
        if name in request.headers:
            raise Refusal(400, "header", f"{name} is not taken over the network", "leave it out; the source says it")
    return found


def _token(said: str, schemes: Collection[str]) -> str:
    """The token of an Authorization header: itself (Bearer), the password (Basic), or what stands behind the id (ApiKey)."""
    scheme, _, text = said.partition(" ")
    scheme, text = scheme.lower(), text.strip()
    if scheme not in schemes or not 0 < len(text) <= 512:
        return ""
    if scheme == "bearer":
        return text
    try:
        pair = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return text if scheme == "apikey" else ""
    return pair.partition(":")[2] if ":" in pair else text if scheme == "apikey" else ""


def jitter(seconds: int) -> int:
    """`seconds` and up to as many again, so that senders do not come back together."""
    return seconds + random.randint(0, seconds)
