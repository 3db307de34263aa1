"""Matches taken back: a correlation that later events have undone. An untouched alert loses them, and may shrink, split or go.

What is left are the sessions of the remaining matches (`alerts/sessions.py`), as if the others had never come.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from alerts.model import Alert, alert_id
from alerts.sessions import GAP
from alerts.tables import ALERTS, EVIDENCE, FORMER, HISTORY, MATCHES, alert_of, row_of

__all__ = ["withdraw"]

_CHUNK = 2000


def withdraw(connection: Connection, matches: Sequence[tuple[str, str]], now: int) -> None:
    """Take back these (rule id, event id) pairs, as far as they are in alerts that nobody has touched. `now` is µs UTC."""
    lost: dict[int, list[str]] = defaultdict(list)
    wanted = set(matches)
    for part in _chunks(sorted({event for _, event in wanted})):
        query = select(MATCHES.c.alert, MATCHES.c.rule_id, MATCHES.c.event_id).join(ALERTS, ALERTS.c.number == MATCHES.c.alert)
        for row in connection.execute(query.where(MATCHES.c.event_id.in_(part), ALERTS.c.touched.is_(False))):
            if (row.rule_id, row.event_id) in wanted:
                lost[row.alert].append(row.event_id)
    gone = [{"of": number, "id": event} for number, events in lost.items() for event in events]
    if not gone:
        return
    for table in (MATCHES, EVIDENCE):
        connection.execute(delete(table).where(and_(table.c.alert == bindparam("of"), table.c.event_id == bindparam("id"))), gone)
    for part in _chunks(sorted(lost)):
        alerts = [alert_of(row) for row in connection.execute(select(ALERTS).where(ALERTS.c.number.in_(part)))]
        for alert in alerts:
            _renew(connection, alert, now)


def _renew(connection: Connection, alert: Alert, now: int) -> None:
    """Make of an alert what its remaining matches make."""
    query = select(MATCHES.c.event_time, MATCHES.c.event_id).where(MATCHES.c.alert == alert.number)
    left = [(int(row.event_time), str(row.event_id)) for row in connection.execute(query.order_by(MATCHES.c.event_time, MATCHES.c.event_id))]
    if not left:
        for table in (EVIDENCE, FORMER, HISTORY):
            connection.execute(delete(table).where(table.c.alert == alert.number))
        connection.execute(delete(ALERTS).where(ALERTS.c.number == alert.number))
        return
    cuts = [at for at, (one, next_) in enumerate(pairwise(left), 1) if next_[0] - one[0] > GAP]
    first, *others = [_of(alert, left[start:end], now) for start, end in pairwise([0, *cuts, len(left)])]
    connection.execute(delete(FORMER).where(FORMER.c.id.in_([alert.id, *(one.id for one in (first, *others))])))
    if first.id != alert.id:
        connection.execute(insert(FORMER).values(id=alert.id, alert=alert.number))
    connection.execute(update(ALERTS).where(ALERTS.c.number == alert.number).values(row_of(first)))
    for one in others:
        _split_off(connection, alert.number, one)


def _split_off(connection: Connection, number: int, alert: Alert) -> None:
    free = int(connection.execute(select(func.max(ALERTS.c.number))).scalar_one()) + 1
    connection.execute(insert(ALERTS).values(row_of(replace(alert, number=free))))
    for table in (MATCHES, EVIDENCE):
        mine = (table.c.alert == number, table.c.event_time >= alert.first_seen, table.c.event_time <= alert.last_seen)
        connection.execute(update(table).where(*mine).values(alert=free))


def _of(alert: Alert, run: Sequence[tuple[int, str]], now: int) -> Alert:
    (first_seen, first_event), (last_seen, last_event) = run[0], run[-1]
    return replace(alert, id=alert_id(alert.key, first_event), first_seen=first_seen, first_event=first_event, last_seen=last_seen,
                   last_event=last_event, count=len(run), updated_at=now)


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
