"""Plays the past of the demonstration into an empty centre, by the way every record takes, and judges some of what it raises."""
from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from alerts.model import State
from alerts.store import AlertFilters, AlertStore
from soc.access.agencies import AgencyStore
from soc.database import Database
from soc.demo import pack
from soc.demo.line import AGENCIES, FORMATS, SOURCES
from soc.demo.plots import PLOTS
from soc.demo.record import ACTOR, story_of
from soc.detect.ledger import Ledger
from soc.errors import DuplicateError
from soc.event import Lane, Origin, Scope
from soc.ingest.deliver import Delivery, Shipment, cut
from soc.ingest.imports import DONE, READ, Import, ImportFile, ImportStore
from soc.store.manifest import Manifest

__all__ = ["close_judged", "finish_past", "judged", "make_agencies", "play_past", "shipment"]

_MINUTE: Final = 60_000_000


def make_agencies(access: Database, since: int, now: int) -> None:
    """The two invented agencies, valid from `since` (µs UTC), if they are not there."""
    store = AgencyStore(access)
    for agency, (vi, en) in AGENCIES.items():
        with suppress(DuplicateError):
            store.add(agency, vi, en, actor=ACTOR, now=now, valid_from=since)


def shipment(found: Import, source: str, *, lane: Lane, read_at: int, epoch: int = 0) -> Shipment:
    """What is true of the records of one invented source; `epoch` tells apart what a later process plays."""
    stream = f"demonstration/{found.id}/{source}" + (f"/{epoch}" if epoch else "")
    return Shipment(
        stream, found.id, read_at, agency=SOURCES[source], format=FORMATS[source], source=source, path=source,
        origin=Origin.DEMONSTRATION, lane=lane)


def play_past(found: Import, store: ImportStore, delivery: Delivery) -> int:
    """Deliver the past; how many records it has. Safe to repeat: what arrived before is known by its number."""
    lines = story_of(found).lines
    known = {file.name: file for file in store.files(found.id, Scope.everything())}
    for source in SOURCES:
        records = [line.raw for line in lines if line.source == source]
        what = shipment(found, source, lane=Lane.BULK, read_at=found.started)
        first = 0
        for batch in cut(records, most=500):
            delivery.send(what, first, batch)
            first += len(batch)
        file = known.get(source) or store.begin_file(ImportFile(found.id, source, READ, kind="demonstration", stream=what.stream))
        store.end_file(replace(file, bytes=sum(map(len, records)), records=first, sent=first))
    return len(lines)


def judged(found: Import, records: int, manifest: Manifest, state: Database) -> bool:
    """Whether the rules have seen so many of its records."""
    seen = manifest.import_seen(found.id)
    return seen is not None and seen.records >= records and Ledger(state).positions().get(Lane.BULK, 0) >= seen.last


def close_judged(found: Import, state: Database, language: str) -> int:
    """Close the alerts that the people of the past had judged, in their words; how many. The others stay open."""
    store, verdicts = AlertStore(state), {rule: plot.verdict for plot in PLOTS for rule in plot.rules if plot.verdict}
    closed = 0
    for alert in store.list(Scope.everything(), AlertFilters(import_id=found.id, state=[State.NEW.value]), 1000).alerts:
        verdict = verdicts.get(alert.rule_id)
        if verdict is not None:
            disposition, vi, en = verdict
            store.close(Scope.everything(), alert.id, disposition=disposition, reason=vi if language == "vi" else en, actor=ACTOR,
                        now=min(alert.last_seen + 40 * _MINUTE, found.started))
            closed += 1
    return closed


def finish_past(found: Import, records: int, *, store: ImportStore, manifest: Manifest, state: Database, language: str,
                wait: Callable[[float], bool], now: Callable[[], int], patience: float = 600.0) -> bool:
    """Wait until the past is judged, then close what had been judged, resume the rule that was held meanwhile, and say that the import is done.

    False if `wait` says to stop. Safe to repeat.
    """
    until = time.monotonic() + patience
    while not judged(found, records, manifest, state) and time.monotonic() < until:
        if wait(0.5):
            return False
    close_judged(found, state, language)
    pack.resume(state)
    store.end(found.id, DONE, now())
    return True
