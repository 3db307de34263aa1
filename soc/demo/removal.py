"""Takes the demonstration away: its events, dead letters, alerts, rules and agencies, and nothing else."""
from __future__ import annotations

from dataclasses import dataclass

from alerts.store import AlertStore
from soc.access.agencies import AgencyStore
from soc.access.audit import Audit
from soc.access.sources import SourceStore
from soc.access.users import UserStore
from soc.database import Database
from soc.demo import pack
from soc.demo.line import AGENCIES
from soc.demo.record import demonstrations
from soc.event import Scope
from soc.ingest.deliver import Delivery
from soc.ingest.imports import UNDONE, ImportStore
from soc.store.manifest import Manifest

__all__ = ["Removed", "invented", "left_behind", "remove"]


@dataclass(frozen=True, slots=True)
class Removed:
    """What went. `kept` are invented agencies that somebody has given users, senders or imports of their own."""

    events: int
    alerts: int
    rules: int
    agencies: tuple[str, ...]
    kept: tuple[str, ...]


def remove(*, state: Database, access: Database, manifest: Manifest, gateway: Delivery | None, actor: str, now: int) -> Removed:
    """Remove it; `gateway` is that of a running centre. Safe to repeat after an interruption. Raises InputRefused, StoreError.

    Each is marked first, so that nothing is raised for it any more and what is still on its way is dropped where it would be stored.
    """
    store = ImportStore(state)
    events = alerts = rules = 0
    for found in demonstrations(store):
        if found.state == UNDONE:
            continue
        store.undoing(found.id, Scope.everything())
        events += manifest.undo_import(found.id, actor, now)
        with state.write() as connection:
            alerts += AlertStore(state).delete_import(connection, found.id)
        rules += pack.take_away(state, now)
        if gateway is not None:
            gateway.forget(found.id)
        store.undone(found.id, now)
    rules += left_behind(state, now)
    gone, kept = _agencies(state, access, actor, now)
    Audit(access).record(actor, "demonstration.remove", "", {"events": events, "alerts": alerts, "rules": rules}, now=now)
    return Removed(events, alerts, rules, gone, kept)


def left_behind(state: Database, now: int) -> int:
    """Take away the rules that were on their way in while the demonstration was removed; returns how many."""
    past = demonstrations(ImportStore(state))
    return pack.take_away(state, now) if past and all(one.state == UNDONE for one in past) else 0


def invented(access: Database, now: int) -> list[str]:
    """The invented agencies that are there."""
    return [one.id for one in AgencyStore(access).list(Scope.everything(), at=now, closed=True) if one.id in AGENCIES]


def _agencies(state: Database, access: Database, actor: str, now: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    store = AgencyStore(access)
    there = invented(access, now)
    used = {agency for user in UserStore(access).list(Scope.everything(), limit=100_000) for agency in user.agencies}
    used |= {agency for source in SourceStore(state).list(Scope.everything(), limit=100_000) for agency in (source.agency, *source.agencies)}
    used |= {one.parent for one in store.list(Scope.everything(), at=now, closed=True) if one.parent}
    used |= {each for each in there if ImportStore(state).list(Scope.everything(), agency=each, limit=1)}
    gone = tuple(each for each in there if each not in used)
    for agency in gone:
        store.remove(agency, actor=actor, now=now)
    return gone, tuple(each for each in there if each in used)
