"""Who may send: what the gateway's front asks of the sources, and its short memory of the answers."""
from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Protocol

from soc.access.relay import RelayRule
from soc.errors import StoreError
from soc.event import Lane

__all__ = ["Sender", "SenderCache", "Senders"]


class Sender(Protocol):
    """A source that may send (soc.access.sources.Source is one)."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def agency(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def timezone(self) -> str: ...
    @property
    def year(self) -> int | None: ...
    @property
    def lane(self) -> Lane: ...
    @property
    def retention(self) -> str: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def relay(self) -> tuple[RelayRule, ...]: ...

    def takes_from(self, address: str) -> bool:
        """Whether it may send from that address."""


class Senders(Protocol):
    """Finds senders; called from a worker thread, may read a database. Raises StoreError."""

    def by_token(self, token: str, /) -> Sender | None:
        """The enabled source of that token."""

    def by_address(self, address: str, /) -> Sender | None:
        """The enabled syslog source bound to that address."""


class SenderCache:
    """Answers of `Senders` for `fresh` seconds, so that a revoked token or a changed source is live in seconds.

    While the state database cannot be read, an answer serves for `stale` seconds; then StoreError is raised.
    """

    def __init__(self, senders: Senders, *, fresh: float = 2.0, stale: float = 5.0, size: int = 4096,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._senders, self._fresh, self._stale, self._size, self._clock = senders, fresh, stale, size, clock
        self._known: dict[str, tuple[float, Sender]] = {}

    async def by_token(self, token: str) -> Sender | None:
        """The enabled source of that token, or None. Raises StoreError."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        return await self._ask("t" + digest, self._senders.by_token, token)

    async def by_address(self, address: str) -> Sender | None:
        """The enabled syslog source of that address, or None. Raises StoreError."""
        return await self._ask("a" + address, self._senders.by_address, address)

    async def _ask(self, key: str, ask: Callable[[str], Sender | None], value: str) -> Sender | None:
        now = self._clock()
        known = self._known.get(key)
        if known is not None and now - known[0] < self._fresh:
            return known[1]
        try:
            found = await asyncio.to_thread(ask, value)
        except StoreError:
            if known is not None and now - known[0] < self._stale:
                return known[1]
            raise
        if found is None or not found.enabled:
            self._known.pop(key, None)
            return None
        if len(self._known) >= self._size:
            self._known.clear()
        self._known[key] = (now, found)
        return found
