"""The demonstration as the pages and the API of a centre meet it: what was planted, and taking it away."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from soc.database import Database
from soc.demo.findings import Finding, findings
from soc.demo.record import playing
from soc.demo.removal import Removed, remove
from soc.ingest.deliver import GatewayClient
from soc.ingest.imports import ImportStore
from soc.store.manifest import Manifest

__all__ = ["Demonstration"]


class Demonstration:
    """The demonstration of one centre; `gateway` opens a client of the one that runs, None where none does."""

    def __init__(self, *, state: Database, access: Database, manifest: Manifest, gateway: Callable[[], GatewayClient] | None = None) -> None:
        self._state, self._access, self._manifest, self._gateway = state, access, manifest, gateway

    def there(self) -> bool:
        """Whether there is one."""
        return playing(ImportStore(self._state)) is not None

    def findings(self) -> Sequence[Finding]:
        """What was planted in its past and whether it was found, by time; nothing if there is no demonstration."""
        found = playing(ImportStore(self._state))
        return findings(found, self._state) if found is not None else ()

    def remove(self, *, actor: str, now: int) -> Removed:
        """Take it away. Safe to repeat, also when there is none. Raises InputRefused, StoreError."""
        if self._gateway is None:
            return remove(state=self._state, access=self._access, manifest=self._manifest, gateway=None, actor=actor, now=now)
        with closing(self._gateway()) as client:
            return remove(state=self._state, access=self._access, manifest=self._manifest, gateway=client, actor=actor, now=now)
