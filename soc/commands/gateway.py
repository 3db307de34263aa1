"""A gateway for commands that bring records in: the running server's, or one that is started for them."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from soc.commands.centre import Centre, Options
from soc.commands.output import say
from soc.errors import StoreError
from soc.ingest.deliver import GatewayClient

__all__ = ["answering_gateway", "socket_of"]

_START = 30.0


def socket_of(centre: Centre) -> Path:
    """Where a centre's gateway listens for local users."""
    return centre.data / "run" / "gateway.sock"


@contextmanager
def answering_gateway(options: Options, centre: Centre, waiting: Callable[[str, float], None]) -> Iterator[GatewayClient]:
    """A client of a gateway that answers; `waiting` hears when it does not for a while.

    If no server runs, gateway, normaliser and detector are started without listeners, and stopped at the end.
    Raises StoreError and LockedError.
    """
    with ExitStack() as stack:
        client = stack.enter_context(closing(GatewayClient(socket_of(centre), waiting=waiting)))
        if not client.answers():
            if not centre.running:
                from soc.app import running_centre

                say("No server is running: starting what this needs.")
                stack.enter_context(running_centre(options.data, options.config, say=say))
            until = time.monotonic() + _START
            while not client.answers():
                if time.monotonic() > until:
                    raise StoreError("the gateway does not answer on its local socket", remedy="see `soc doctor`")
                time.sleep(0.05)
        yield client
