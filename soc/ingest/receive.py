"""The HTTP receiver: authenticate, bound, unpack only to check and count, hand to the intake, answer.

First stop of the data path. A 200 means on disk; whatever is refused says why and was not stored (docs/ingest.md).
"""
from __future__ import annotations

from collections.abc import Callable, Collection

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from soc.event import FrameContext, Lane
from soc.ingest.accounting import Accounting
from soc.ingest.batch import ASSIGN, Intake
from soc.ingest.elastic import elastic_routes
from soc.ingest.front import Front, Numbered, problem_handlers, problems, sender_of
from soc.ingest.lanes import LaneGate
from soc.ingest.problem import Refusal
from soc.ingest.request import GatewayLimits, number, stream_name, time_of, word
from soc.ingest.sender import Sender, SenderCache, Senders

__all__ = ["create_gateway"]


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
        source = await sender_of(request, senders)
        headers = request.headers
        name = stream_name(headers.get("soc-stream"))
        epoch, first, said = number(headers, "Soc-Epoch", 0), number(headers, "Soc-First"), number(headers, "Soc-Count")
        make = _context(front, request, source, f"{source.id}:{name}", epoch, formats)
        return await front.take(request, source.lane, said=said, first=first, sized=True, name=name, context=make)

    async def events(request: Request) -> Response:
        """Lines without numbers: nothing is lost, a blind retry may double."""
        source = await sender_of(request, senders)
        said = number(request.headers, "Soc-Count", -1)
        make = _context(front, request, source, f"{source.id}:ndjson", 0, formats)
        return await front.take(request, source.lane, said=None if said < 0 else said, first=ASSIGN, sized=False,
                                name="ndjson", context=make)

    async def stream(request: Request) -> Response:
        """What was received of one of the sender's own streams."""
        source = await sender_of(request, senders)
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
        *elastic_routes(front, senders, node),
    ], exception_handlers=problem_handlers(accounting))


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
