"""Live first: bulk batches stand back at the gateway while live ones wait for their acknowledgement."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from soc.event import Lane

__all__ = ["LaneGate"]


class LaneGate:
    """Turns before the intake. Live passes at once; at most `bulk` bulk batches are inside at a time.

    A bulk batch stands back for `patience` seconds while live ones wait, then goes: slowed, never starved.
    """

    def __init__(self, *, bulk: int = 4, patience: float = 0.25) -> None:
        self._bulk = asyncio.Semaphore(bulk)
        self._patience = patience
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.waiting: dict[Lane, int] = dict.fromkeys(Lane, 0)

    @asynccontextmanager
    async def turn(self, lane: Lane) -> AsyncIterator[None]:
        """Hold a turn for as long as the intake takes."""
        self.waiting[lane] += 1
        try:
            if lane is Lane.LIVE:
                self._quiet.clear()
                yield
            else:
                async with self._bulk:
                    await self._stand_back()
                    yield
        finally:
            self.waiting[lane] -= 1
            if not self.waiting[Lane.LIVE]:
                self._quiet.set()

    async def _stand_back(self) -> None:
        if not self._quiet.is_set():
            try:
                await asyncio.wait_for(self._quiet.wait(), self._patience)
            except TimeoutError:
                pass
