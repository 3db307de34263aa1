"""What shippers that know Elasticsearch find here: `_bulk`, and the answers that they ask for before they send.

Each item is acknowledged once the journal has it on disk. There are no indices, mappings or policies: what would set
one up is answered as done with a Warning that says so, so that shippers go on to send; what is asked for is not there.
"""
from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace

import orjson
import zstandard
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from soc.errors import InputRefused
from soc.event import FrameContext
from soc.ingest.batch import ASSIGN, Batch, Compression, Encoding, Receipt
from soc.ingest.bulk import Item, read_bulk
from soc.ingest.front import Front, problems, sender_of
from soc.ingest.problem import Refusal
from soc.ingest.request import coding_of, declared_length, read_body
from soc.ingest.sender import Sender, SenderCache

__all__ = ["VERSION", "elastic_routes"]

VERSION = "8.19.0"
"""The version of Elasticsearch whose bulk protocol is spoken: shippers refuse an older server than themselves by it."""

SCHEMES = frozenset(("apikey", "basic", "bearer"))
_BODIES = ("application/x-ndjson", "application/json", "application/vnd.elasticsearch+x-ndjson", "application/vnd.elasticsearch+json")
_COMPATIBLE = re.compile(r"vnd\.elasticsearch\+json; ?compatible-with=(\d)")
_TYPES = {401: "security_exception", 403: "security_exception", 413: "content_too_large_exception",
          415: "media_type_header_exception", 429: "es_rejected_execution_exception", 503: "unavailable_shards_exception"}
_NOTHING_SET_UP = f'299 Elasticsearch-{VERSION}-soc "this is no Elasticsearch: templates, pipelines and policies are not kept"'
_SETTINGS = ("/_alias/{name:path}", "/_index_template/{name:path}", "/_component_template/{name:path}", "/_template/{name:path}",
             "/_ilm/policy/{name:path}", "/_ingest/pipeline/{name:path}", "/_data_stream/{name:path}")
_WORTH_PACKING = 4096


def elastic_routes(front: Front, senders: SenderCache, node: str) -> list[Route]:
    """The routes at the root of the gateway. All need a source's token, as ApiKey, Basic (its password) or Bearer."""
    reported = problems(front.accounting, _fault)
    packer = zstandard.ZstdCompressor(level=1)

    async def bulk(request: Request) -> Response:
        source = await sender_of(request, senders, SCHEMES)
        began = time.monotonic()
        media = request.headers.get("content-type", _BODIES[0]).partition(";")[0].strip().lower()
        if media not in _BODIES:
            raise Refusal(415, "media_type", f"Content-Type [{media[:80]}] is not supported", f"send {_BODIES[0]}")
        coding = coding_of(request.headers)
        declared_length(request.headers)
        front.refuse_when_congested(source.lane)
        body = await read_body(request, front.limits, front.budget, time.monotonic)
        try:
            items = await _items(front, body, coding, request.path_params.get("index", ""))
            records = [item.record for item in items if item.record is not None]
            receipt = await front.accept(_batch(front, request, source, records, packer), source.lane) if records else None
        finally:
            front.budget.give_back(len(body))
        if receipt is not None:
            front.accounting.accepted(source.id, receipt.lane, receipt.count, len(body))
        for _ in range(len(items) - len(records)):
            front.accounting.refused("bulk_item", source.id)
        return _answer(request, {
            "took": int((time.monotonic() - began) * 1000), "errors": len(records) < len(items), "items": _told(items, receipt)})

    async def root(request: Request) -> Response:
        await sender_of(request, senders, SCHEMES)
        return _answer(request, {
            "name": "soc", "cluster_name": "soc", "cluster_uuid": node, "tagline": "You Know, for Search",
            "version": {"number": VERSION, "build_flavor": "default", "build_type": "soc", "build_hash": "soc", "build_snapshot": False,
                        "build_date": "2025-01-01T00:00:00.000Z", "lucene_version": "9.12.2", "minimum_wire_compatibility_version": "7.17.0",
                        "minimum_index_compatibility_version": "7.0.0"}})

    async def license_(request: Request) -> Response:
        await sender_of(request, senders, SCHEMES)
        licence = {"status": "active", "uid": node, "type": "basic", "mode": "basic"}
        if request.url.path == "/_license":
            return _answer(request, {"license": licence})
        there, absent = {"available": True, "enabled": True}, {"available": False, "enabled": False}
        return _answer(request, {"build": {"hash": "soc"}, "license": licence, "tagline": "",
                                 "features": {"ilm": there, "monitoring": absent, "security": there}})

    async def health(request: Request) -> Response:
        await sender_of(request, senders, SCHEMES)
        full = front.intake.congestion() >= 1.0
        return _answer(request, {"cluster_name": "soc", "status": "yellow" if full else "green", "timed_out": False, "number_of_nodes": 1,
                                 "number_of_data_nodes": 1, "active_primary_shards": 0, "active_shards": 0, "unassigned_shards": 0})

    async def setting(request: Request) -> Response:
        await sender_of(request, senders, SCHEMES)
        if request.method == "PUT":
            return _answer(request, {"acknowledged": True}, {"warning": _NOTHING_SET_UP})
        return _answer(request, {}, {"warning": _NOTHING_SET_UP}, 404)

    async def index(request: Request) -> Response:
        await sender_of(request, senders, SCHEMES)
        name = request.path_params["name"]
        return _answer(request, {"acknowledged": True, "shards_acknowledged": True, "index": name}, {"warning": _NOTHING_SET_UP})

    return [
        Route("/", reported(root), methods=["GET"]),
        Route("/_bulk", reported(bulk), methods=["POST", "PUT"]),
        Route("/{index}/_bulk", reported(bulk), methods=["POST", "PUT"]),
        Route("/_license", reported(license_), methods=["GET"]),
        Route("/_xpack", reported(license_), methods=["GET"]),
        Route("/_cluster/health", reported(health), methods=["GET"]),
        *(Route(path, reported(setting), methods=["GET", "PUT"]) for path in _SETTINGS),
        _Only("/<{name:path}>", reported(index), methods=["PUT"]),
        _Only("/{name}", reported(index), methods=["PUT"]),
    ]


class _Only(Route):
    """Is there for its methods only: with any other, nothing is at that address. Names of indices do not begin with _."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the route takes that request."""
        found, child = super().matches(scope)
        named = found is Match.FULL and not child["path_params"]["name"].startswith("_")
        return (found, child) if named else (Match.NONE, {})


async def _items(front: Front, body: bytes, coding: str, index: str) -> list[Item]:
    """The items of a body; its caps are those of other bodies, for two lines a record. Raises Refusal."""
    bounds = replace(front.limits.bounds, records=2 * front.limits.bounds.records)
    unpacked = await front.unpack(body, coding, Encoding.LINES, bounds)
    payload = unpacked.payload
    if unpacked.compression is Compression.ZSTD:
        with zstandard.ZstdDecompressor().stream_reader(payload, read_across_frames=True) as reader:
            payload = reader.read(unpacked.size)
    try:
        items = read_bulk(payload, index)
    except InputRefused as fault:
        raise Refusal(400, "payload", fault.message) from fault
    if not items:
        raise Refusal(400, "empty", "request body is required")
    return items


def _batch(front: Front, request: Request, source: Sender, records: list[bytes], packer: zstandard.ZstdCompressor) -> Batch:
    payload, compression = b"\n".join(records), Compression.NONE
    if len(payload) >= _WORTH_PACKING:
        payload, compression = packer.compress(payload), Compression.ZSTD
    now = front.now()
    context = FrameContext(
        source=source.id, stream=f"{source.id}:bulk", first=ASSIGN, count=len(records), read_at=now, ingested=now, agency=source.agency,
        format=source.format, timezone=source.timezone, year=source.year, peer=request.client.host if request.client else "",
        retention=source.retention)
    return Batch(context, Encoding.LINES, compression, payload)


def _told(items: list[Item], receipt: Receipt | None) -> list[dict[str, object]]:
    """What is said of each item; an item without id is told its place in the journal as one."""
    told: list[dict[str, object]] = []
    sequence = receipt.sequence if receipt is not None and receipt.sequence is not None else 0
    lane = receipt.lane.value if receipt is not None else ""
    for item in items:
        one: dict[str, object] = {"_index": item.index, "_id": item.id or None}
        if item.record is None:
            one |= {"status": 400, "error": {"type": item.fault[0], "reason": item.fault[1]}}
        else:
            one |= {"_id": item.id or f"{lane}-{sequence}", "_version": 1, "result": "created", "status": 201, "_seq_no": sequence,
                    "_primary_term": 1, "_shards": {"total": 1, "successful": 1, "failed": 0}}
            sequence += 1
        told.append({item.action: one})
    return told


def _answer(request: Request, body: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """JSON with the header by which clients know whom they talk to; of the media type of the version they ask for."""
    asked = _COMPATIBLE.search(request.headers.get("accept", ""))
    media = f"application/vnd.elasticsearch+json;compatible-with={asked[1]}" if asked else "application/json"
    return Response(orjson.dumps(body), status, {"x-elastic-product": "Elasticsearch", **(headers or {})}, media)


def _fault(refusal: Refusal) -> Response:
    """A refusal in the shape of Elasticsearch's errors."""
    kind = _TYPES.get(refusal.status, "illegal_argument_exception")
    reason = f"{refusal}; {refusal.remedy}" if refusal.remedy else str(refusal)
    cause = {"type": kind, "reason": reason}
    body = {"error": {"root_cause": [cause], **cause}, "status": refusal.status}
    return Response(orjson.dumps(body), refusal.status, {"x-elastic-product": "Elasticsearch", **refusal.headers}, "application/json")
