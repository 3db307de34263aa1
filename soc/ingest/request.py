"""What a request says before it is believed: its headers as values, its body read under caps and a deadline."""
from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from starlette.datastructures import Headers
from starlette.requests import Request

from soc.event import to_micros
from soc.ingest.batch import Encoding
from soc.ingest.problem import Refusal
from soc.ingest.unpack import Bounds

__all__ = [
    "LINES_TYPE", "SIZED_TYPE", "Budget", "Disconnected", "GatewayLimits", "coding_of", "drain", "encoding_of",
    "number", "read_body", "stream_name", "text", "time_of", "word", "zone",
]

LINES_TYPE = "application/x-ndjson"
SIZED_TYPE = "application/vnd.soc.records"
_LINES_TYPES = frozenset({LINES_TYPE, "application/ndjson", "application/jsonl", "application/x-jsonlines", "text/plain"})
_NUMBER = re.compile(r"[0-9]{1,18}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STREAM = re.compile(r"[\x21-\x7e]{1,200}")
_WHOLE = "soc.whole"  # in a request's scope: its body was read to the end
_EARLIEST, _LATEST = 0, 7_258_118_400_000_000  # 1970 to 2200: what an event id can hold, and what any log can mean


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Caps of the receivers. Sizes in bytes, times in seconds, rate in bytes a second.

    `buffered` bounds the bodies of all requests together; a request is dropped after `deadline`, or once it is slower than
    `rate` after `grace` seconds.
    """

    body: int = 16 << 20
    bounds: Bounds = field(default_factory=Bounds)
    buffered: int = 128 << 20
    deadline: float = 30.0
    grace: float = 5.0
    rate: int = 1024
    head: int = 32 << 10
    keep_alive: int = 75
    connections: int = 512


class Budget:
    """Bytes that all requests together hold in memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """Reserve bytes. Raises Refusal (429) when there are none left."""
        if self.used + size > self._limit:
            raise Refusal(429, "busy", "too many requests are being received at once", "send again after Retry-After", retry=2)
        self.used += size

    def give_back(self, size: int) -> None:
        """Release reserved bytes."""
        self.used -= size


class Disconnected(Exception):
    """The sender went away in the middle of its body."""


async def read_body(request: Request, limits: GatewayLimits, budget: Budget, clock: Callable[[], float]) -> bytes:
    """The whole body, its size reserved in `budget` (the caller gives it back).

    Raises Refusal (400, 408, 413, 429), Disconnected; nothing is reserved then.
    """
    declared = declared_length(request.headers)
    if declared is not None and declared > limits.body:
        raise _body_too_large(limits)
    parts: list[bytes] = []
    size = 0
    began = clock()
    try:
        async with asyncio.timeout(limits.deadline):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                more = message.get("more_body", False)
                request.scope[_WHOLE] = not more
                if part := message.get("body", b""):
                    if size + len(part) > limits.body:
                        raise _body_too_large(limits)
                    budget.take(len(part))
                    size += len(part)
                    parts.append(part)
                if not more:
                    break
                elapsed = clock() - began
                if elapsed > limits.grace and size < limits.rate * elapsed:
                    raise _too_slow()
    except TimeoutError:
        budget.give_back(size)
        raise _too_slow() from None
    except (Refusal, Disconnected):
        budget.give_back(size)
        raise
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def drain(request: Request, most: int, seconds: float) -> bool:
    """Read and drop what a refused sender still sends, so that it reads the answer. True if that was all of it.

    A sender that waits for 100 Continue sends nothing and is not asked to.
    """
    if request.scope.get(_WHOLE):
        return True
    if "expect" in request.headers:
        return False
    try:
        async with asyncio.timeout(seconds):
            while most > 0:
                message = await request.receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return True
                most -= len(message.get("body", b""))
    except TimeoutError:
        pass
    return False


def declared_length(headers: Headers) -> int | None:
    """Content-Length. Raises Refusal if it is no number, said twice, or said beside Transfer-Encoding (F33)."""
    said = headers.getlist("content-length")
    if not said:
        return None
    if len(said) > 1 or not _NUMBER.fullmatch(said[0]) or "transfer-encoding" in headers:
        raise Refusal(400, "malformed", "the length of the body is not said clearly", "one Content-Length, or chunked")
    return int(said[0])


def encoding_of(headers: Headers, *, sized: bool) -> Encoding:
    """How records lie in the body, by Content-Type (none: lines). Raises Refusal (415)."""
    said = headers.get("content-type", LINES_TYPE).partition(";")[0].strip().lower()
    if said in _LINES_TYPES:
        return Encoding.LINES
    if said == SIZED_TYPE and sized:
        return Encoding.SIZED
    raise Refusal(415, "media_type", f"bodies of type {said[:80]!r} are not taken here",
                  f"send one record a line as Content-Type: {LINES_TYPE}" + (f", or {SIZED_TYPE}" if sized else ""))


def coding_of(headers: Headers) -> str:
    """Content-Encoding as '', 'zstd' or 'gzip'. Raises Refusal: 400 if several, 415 if another."""
    said = [part.strip().lower() for line in headers.getlist("content-encoding") for part in line.split(",")]
    said = [part for part in said if part not in ("", "identity")]
    if not said:
        return ""
    if len(said) > 1:
        raise Refusal(400, "encoding", "the body is encoded more than once", "compress once: Content-Encoding: zstd or gzip")
    coding = {"x-gzip": "gzip"}.get(said[0], said[0])
    if coding not in ("zstd", "gzip"):
        raise Refusal(415, "encoding", f"Content-Encoding {said[0][:40]!r} is not taken", "zstd, gzip or none",
                      headers={"accept-encoding": "zstd, gzip"})
    return coding


def number(headers: Headers, name: str, default: int | None = None) -> int:
    """A header that is a count from 0. Raises Refusal (400) if it is missing without a default, or none."""
    said = headers.get(name)
    if said is None:
        if default is None:
            raise _bad(name, "is missing", "a number from 0")
        return default
    if not _NUMBER.fullmatch(said):
        raise _bad(name, "is no number", "a number from 0, at most 18 digits")
    return int(said)


def word(headers: Headers, name: str, default: str) -> str:
    """A header that is a short name. Raises Refusal (400)."""
    said = headers.get(name, default)
    if said and not _WORD.fullmatch(said):
        raise _bad(name, "is no name", "letters, digits, dot, dash and underscore, at most 64")
    return said


def stream_name(said: str | None) -> str:
    """A stream's name. Raises Refusal (400)."""
    if said is None or not _STREAM.fullmatch(said):
        raise _bad("Soc-Stream", "is missing or no name", "1 to 200 printable ASCII characters without spaces")
    return said


def text(headers: Headers, name: str, most: int = 4096) -> str:
    """A header of any text, percent-encoded UTF-8. Raises Refusal (400) if it is longer than `most` characters."""
    said = unquote(headers.get(name, ""), errors="replace")
    if len(said) > most:
        raise _bad(name, "is too long", f"at most {most} characters")
    return said


def time_of(headers: Headers, name: str, default: int) -> int:
    """A header that is a time, RFC 3339 with zone or microseconds since 1970 UTC, as microseconds. Raises Refusal (400)."""
    said = headers.get(name)
    if said is None:
        return default
    try:
        micros = int(said) if _NUMBER.fullmatch(said) else to_micros(datetime.fromisoformat(said))
    except (ValueError, OverflowError):
        micros = -1
    if not _EARLIEST <= micros <= _LATEST:
        raise _bad(name, "is no time", "RFC 3339 such as 2026-01-31T08:00:00Z, or microseconds since 1970 UTC")
    return micros


def zone(headers: Headers, name: str, default: str) -> str:
    """A header that is an IANA time zone. Raises Refusal (400)."""
    said = headers.get(name, default)
    if not _is_zone(said):
        raise _bad(name, "is no time zone", "an IANA name such as Asia/Ho_Chi_Minh")
    return said


@lru_cache(maxsize=1024)
def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _bad(name: str, what: str, remedy: str) -> Refusal:
    return Refusal(400, "header", f"{name} {what}", f"{name}: {remedy}")


def _body_too_large(limits: GatewayLimits) -> Refusal:
    return Refusal(413, "too_large", f"the body is larger than {limits.body} bytes", "send smaller batches")


def _too_slow() -> Refusal:
    return Refusal(408, "too_slow", "the body did not arrive in time", "send again, smaller batches over a slow line",
                   headers={"connection": "close"})
