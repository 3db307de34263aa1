"""The process that plays the demonstration beside the roles of a centre. It begins on an empty data folder only, and ends when it is removed."""
from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlalchemy import select

from alerts.store import AlertFilters, AlertStore
from soc.access.setup import Setup
from soc.database import Database
from soc.demo import pack
from soc.demo.line import HOUR, SECOND
from soc.demo.live import Live
from soc.demo.past import finish_past, make_agencies, play_past
from soc.demo.plots import PLOTS, Plot
from soc.demo.record import begin, demonstrations, playing
from soc.demo.removal import left_behind
from soc.detect.packlist import packs
from soc.detect.ruletables import RULES
from soc.errors import SocError, StoreError
from soc.event import Lane, Scope
from soc.ingest.deliver import GatewayClient
from soc.ingest.imports import RUNNING, Import, ImportStore
from soc.store.manifest import Manifest

__all__ = ["SEED", "Player"]

SEED: Final = 2026
"""The seed of every demonstration: what one newcomer sees, the next sees too."""
_PAST: Final = 72 * HOUR
_OWN_PACK: Final = "soc"
_LOOK: Final = 3.0

_log = logging.getLogger(__name__)


class Player:
    """`wait` sleeps so many seconds and says whether to stop; `now` is µs UTC; `rules` are the words of the command that brings a pack in."""

    def __init__(self, *, data: Path, state: Database, access: Database, manifest: Manifest, language: str, rules: Sequence[str],
                 wait: Callable[[float], bool], now: Callable[[], int]) -> None:
        self._data, self._state, self._access, self._manifest = data, state, access, manifest
        self._language, self._rules, self._wait, self._now = language, list(rules), wait, now
        self._store = ImportStore(state)
        self.decided = threading.Event()
        """Set once it is clear whether there is a demonstration here: from then on other records may come."""

    def run(self) -> None:
        """Play until it is told to stop or the demonstration is removed; then only wait."""
        with closing(GatewayClient(self._data / "run" / "gateway.sock", patience=30.0, sleep=self._pause)) as client:
            while not client.answers():
                if self._wait(0.2):
                    return
            while not self._wait(0.0):
                try:
                    found = self._found()
                    self.decided.set()
                    if found is None:
                        left_behind(self._state, self._now())
                        break
                    if found.state == RUNNING and not self._past(found, client):
                        continue
                    self._present(found, client)
                except (SocError, OSError) as fault:  # a full disk, a gateway that restarts: the demonstration waits, and goes on
                    _log.warning("the demonstration waits", extra={"fault": str(fault)})
                    self._wait(5.0)
        while not self._wait(1.0):
            pass

    def _pause(self, seconds: float) -> None:
        """The pause before a batch is tried again. Raises StoreError when it is time to end."""
        if self._wait(seconds):
            raise StoreError("the demonstration ends")

    def _found(self) -> Import | None:
        """The demonstration that is here, or a new one if nothing else is."""
        found = playing(self._store)
        if found is not None or demonstrations(self._store) or any(self._manifest.cursor(lane) for lane in Lane):
            return found
        end = self._now() // SECOND * SECOND
        return begin(self._store, seed=SEED, start=end - _PAST, end=end, pid=os.getpid(), now=self._now())

    def _past(self, found: Import, client: GatewayClient) -> bool:
        """Play the past to its end; False when it is time to stop, or the demonstration is gone meanwhile."""
        if _OWN_PACK not in {one.name for one in packs(self._state)}:
            self._bring("--builtin")
        if pack.wanted(self._state):
            self._bring(str(pack.folder()), "--name", pack.PACK)
        if self._over(0.0):
            return False
        pack.hold(self._state, self._now())
        make_agencies(self._access, found.started - _PAST, self._now())
        records = play_past(found, self._store, client)
        return finish_past(found, records, store=self._store, manifest=self._manifest, state=self._state, language=self._language,
                           wait=self._over, now=self._now)

    def _bring(self, *words: str) -> None:
        """Bring a rule pack in, by the command that people type."""
        done = subprocess.run([sys.executable, "-m", "soc.cli", *self._rules, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False)
        if done.returncode:
            _log.warning("rules were not brought in", extra={"pack": words[-1], "said": done.stderr[-500:]})

    def _over(self, seconds: float) -> bool:
        """Wait; whether it is time to stop, or the demonstration has been removed."""
        return self._wait(seconds) or playing(self._store) is None

    def _present(self, found: Import, client: GatewayClient) -> None:
        live, setup = Live(found, client, self._now()), Setup(self._access)
        look, watched = 0.0, False
        while not self._wait(1.0):
            look -= 1.0
            if look <= 0:
                look = _LOOK
                if playing(self._store) is None:
                    return
                if not watched and not setup.needed():
                    watched = True
                    live.watched(self._now())
                live.soon(self._unseen(found), self._now())
            live.step(self._now())

    def _unseen(self, found: Import) -> list[Plot]:
        """The attacks that only public rules find, and that these have not found though they are on: they came later than the past."""
        wanted = {rule for plot in PLOTS if plot.public for rule in plot.rules}
        with self._state.read() as connection:
            on = set(connection.execute(select(RULES.c.rule_id).where(RULES.c.rule_id.in_(sorted(wanted)), RULES.c.enabled)).scalars())
        alerts = AlertStore(self._state)
        return [plot for plot in PLOTS if plot.public and on.issuperset(plot.rules) and not any(
            alerts.count(Scope.everything(), AlertFilters(rule_id=rule, import_id=found.id)) for rule in plot.rules)]
