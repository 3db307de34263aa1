"""The console's connections, bounded: nobody who is not even logged in can use up its descriptors or its patience."""
from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["bounded_http"]


def bounded_http(*, connections: int = 256, deadline: float = 20.0) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol for at most `connections` at once; one that has not sent a whole request within `deadline` s ends.

    Open connections cost descriptors that the search needs for the store's files.
    """

    class BoundedHttp(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > connections:
                transport.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 5\r\nconnection: close\r\n\r\n")
                transport.close()
                return
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._came()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._timer is None and (self.cycle is None or self.cycle.response_complete):
                self._wait()
            super().data_received(data)

        def on_message_complete(self) -> None:
            self._came()
            super().on_message_complete()

        def _wait(self) -> None:
            self._timer = self.loop.call_later(deadline, self._late)

        def _came(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            self._timer = None
            self.transport.close()

    return BoundedHttp
