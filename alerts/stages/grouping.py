"""The stage `group`: matches into alerts. Sets of keys are read and written at once, so that a storm stays cheap.

Which alerts result is decided by `alerts/sessions.py`; here are only the rows.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, update

from alerts.model import Alert, key_of
from alerts.sessions import EARLIEST, GAP, LATEST, Key, join, key_tuple, link, merged, raise_alerts, sample
from alerts.tables import ALERTS, EVIDENCE, FORMER, MATCHES, alert_of, plain, row_of
from soc.detect.match import Match

if TYPE_CHECKING:
    from alerts.pipeline import Delivery

__all__ = ["group"]

_CHUNK = 2000


@dataclass(slots=True)
class _Change:
    """One alert to write: what it is now, the stored alerts it was made of, its new matches in order."""

    alert: Alert
    stored: list[Alert]
    matches: Sequence[Match]


def group(delivery: Delivery) -> None:
    """Fold `delivery.matches` into alerts and write them; `delivery.alerts` are those that changed."""
    connection = delivery.connection
    fresh = _unseen(connection, delivery.matches)
    if not fresh:
        delivery.matches = ()
        return
    by_key: dict[Key, list[Match]] = defaultdict(list)
    for match in fresh:
        by_key[key_tuple(match)].append(match)
    raised = {key_of(*key): raise_alerts(matches, delivery.now) for key, matches in by_key.items()}
    stored = _stored(connection, raised.keys(), min(m.event_time for m in fresh), max(m.event_time for m in fresh))
    changes = [change for key, alerts in raised.items() for change in _changes(alerts, stored.get(key, []), delivery.now)]
    _write_alerts(connection, changes)
    _write_matches(connection, changes)
    _write_evidence(connection, changes)
    delivery.alerts = [change.alert for change in changes]
    delivery.matches = fresh


def _unseen(connection: Connection, matches: Sequence[Match]) -> list[Match]:
    """Each match once, without those counted before."""
    found = {(m.event_id, m.rule_id): m for m in reversed(matches)}
    events = list({event for event, _ in found})
    for part in _chunks(events):
        for row in connection.execute(select(MATCHES.c.event_id, MATCHES.c.rule_id).where(MATCHES.c.event_id.in_(part))):
            found.pop((row.event_id, row.rule_id), None)
    return list(found.values())


def _stored(connection: Connection, keys: Iterable[str], first: int, last: int) -> dict[str, list[Alert]]:
    """Of these keys every touched alert, and the untouched ones that matches of [first, last] can reach."""
    near = and_(ALERTS.c.last_seen >= first - GAP, ALERTS.c.first_seen <= last + GAP)
    found: dict[str, list[Alert]] = defaultdict(list)
    for part in _chunks(list(keys)):
        query = select(ALERTS).where(ALERTS.c.key.in_(part), or_(ALERTS.c.touched, near))
        for row in connection.execute(query):
            found[row.key].append(alert_of(row))
    return found


def _changes(raised: Sequence[tuple[Alert, Sequence[Match]]], stored: Sequence[Alert], now: int) -> Iterator[_Change]:
    """The alerts of one key that new alerts and stored ones make together."""
    touched = [alert for alert in stored if alert.touched]
    matches = {alert.id: run for alert, run in raised}
    for members in join([*(alert for alert, _ in raised), *(alert for alert in stored if not alert.touched)]):
        new = [alert for alert in members if not alert.number]
        if not new:
            continue
        alert = replace(merged(members), updated_at=now)
        run = [match for one in new for match in matches[one.id]]
        yield _Change(replace(alert, linked_to=link(alert, touched)), [a for a in members if a.number], run)


def _write_alerts(connection: Connection, changes: Sequence[_Change]) -> None:
    _forget_absorbed(connection, changes)
    free = int(connection.execute(select(func.coalesce(func.max(ALERTS.c.number), 0))).scalar_one())
    inserts, updates, former = [], [], []
    for change in changes:
        if change.alert.number:
            updates.append({f"new_{name}": value for name, value in row_of(change.alert).items()})
        else:
            free += 1
            change.alert = replace(change.alert, number=free)
            inserts.append(row_of(change.alert))
        former += [{"id": old.id, "alert": change.alert.number} for old in change.stored if old.id != change.alert.id]
    if updates:
        names = [column.name for column in ALERTS.columns if column.name != "number"]
        values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
        connection.execute(update(ALERTS).where(ALERTS.c.number == bindparam("new_number")).values(values), updates)
    if inserts:
        connection.execute(insert(ALERTS), inserts)
    if former:
        connection.execute(insert(FORMER), former)


def _forget_absorbed(connection: Connection, changes: Sequence[_Change]) -> None:
    """Stored alerts that became part of another give it their matches, evidence and former ids, and their rows go."""
    absorbed = [{"old": old.number, "new": change.alert.number}
                for change in changes for old in change.stored if old.number != change.alert.number]
    if not absorbed:
        return
    for table in (MATCHES, EVIDENCE, FORMER):
        connection.execute(update(table).where(table.c.alert == bindparam("old")).values(alert=bindparam("new")), absorbed)
    connection.execute(delete(ALERTS).where(ALERTS.c.number == bindparam("old")), absorbed)


def _write_matches(connection: Connection, changes: Sequence[_Change]) -> None:
    connection.execute(insert(MATCHES), [
        {"event_id": m.event_id, "rule_id": m.rule_id, "alert": change.alert.number, "event_time": m.event_time}
        for change in changes for m in change.matches
    ])


def _write_evidence(connection: Connection, changes: Sequence[_Change]) -> None:
    kept: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for part in _chunks([change.alert.number for change in changes if change.stored]):
        query = select(EVIDENCE.c.alert, EVIDENCE.c.event_time, EVIDENCE.c.event_id).where(EVIDENCE.c.alert.in_(part))
        for row in connection.execute(query):
            kept[row.alert].append((row.event_time, row.event_id))
    gone: list[dict[str, Any]] = []
    new: list[dict[str, Any]] = []
    for change in changes:
        number, old = change.alert.number, kept.get(change.alert.number, [])
        candidates = _ends(change.matches)
        wanted = sample([*old, *((m.event_time, m.event_id) for m in candidates)])
        gone += [{"of": number, "id": event} for _, event in old if event not in wanted]
        new += [_evidence(number, m) for m in candidates if m.event_id in wanted]
    if gone:
        this = and_(EVIDENCE.c.alert == bindparam("of"), EVIDENCE.c.event_id == bindparam("id"))
        connection.execute(delete(EVIDENCE).where(this), gone)
    if new:
        connection.execute(insert(EVIDENCE), new)


def _ends(matches: Sequence[Match]) -> Sequence[Match]:
    """Of matches in order of (event time, event id), all that could become evidence."""
    return matches if len(matches) <= EARLIEST + LATEST else [*matches[:EARLIEST], *matches[-LATEST:]]


def _evidence(number: int, match: Match) -> dict[str, Any]:
    return {
        "alert": number, "event_id": match.event_id, "event_time": match.event_time, "rule_version": plain(match.rule_version),
        "event": _json(match.event), "atoms": _json([[atom.field, atom.test, atom.literal] for atom in match.atoms]),
        "related": _json(list(match.related)),
    }


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer over 64 bits or a lone surrogate
        return orjson.dumps(_spelt(value)).decode()


def _spelt(value: object) -> object:
    """`value` with everything JSON cannot carry written as text."""
    if isinstance(value, dict):
        return {str(_spelt(str(k))): _spelt(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_spelt(v) for v in value]
    if isinstance(value, bool | float) or (isinstance(value, int) and -(2**63) <= value < 2**64):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
