"""Alerts as people read and work on them. Every method takes the caller's scope; what lies outside is not found.

An alert that was merged or got an earlier match is still found by each id it ever had.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, and_, delete, false, func, insert, or_, select, update

from alerts import model
from alerts.model import Alert, Disposition, State
from alerts.tables import ALERTS, EVIDENCE, EXCEPTED, FORMER, HISTORY, MATCHES, alert_of, plain, row_of
from soc.database import Database
from soc.detect.correlation.rows import forget_import
from soc.detect.match import Atom
from soc.errors import InputRefused, NotFoundError, QueryError
from soc.event import Event, Scope

__all__ = ["AlertFilters", "AlertPage", "AlertStore", "Evidence", "HistoryEntry"]

LONGEST_COMMENT = 10_000
"""Characters of a comment or reason."""


@dataclass(frozen=True, slots=True)
class AlertFilters:
    """What a list is narrowed to; None does not narrow. `since` <= last seen, first seen < `until` (microseconds UTC)."""

    state: Sequence[str] | None = None
    rule_id: str | None = None
    agency: str | None = None
    entity: str | None = None
    level: Sequence[str] | None = None
    origin: str | Sequence[str] | None = None
    import_id: str | None = None
    assignee: str | None = None
    escalated: bool | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Alerts, the latest seen first, and the cursor of the next page."""

    alerts: tuple[Alert, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What somebody did to an alert; `action` is transition, assign, escalate or comment. `at` in microseconds UTC."""

    at: int
    actor: str
    action: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One matched event in full, and why it matched. `event_time` in microseconds UTC.

    Of a correlation it is the event that completed it; `related` are others of its window, a capped sample, oldest first.
    """

    event_id: str
    event_time: int
    rule_version: str
    event: Event
    atoms: tuple[Atom, ...]
    related: tuple[Event, ...] = ()


class AlertStore:
    """The alerts in the state database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, scope: Scope, filters: AlertFilters = AlertFilters(), limit: int = 100, after: str | None = None) -> AlertPage:
        """One page, the latest seen first. Raises QueryError for a cursor that is none."""
        query = select(ALERTS).where(_within(scope), *_narrowed(filters))
        if after is not None:
            seen, identity = _cursor(after)
            query = query.where(or_(ALERTS.c.last_seen < seen, and_(ALERTS.c.last_seen == seen, ALERTS.c.id < identity)))
        query = query.order_by(ALERTS.c.last_seen.desc(), ALERTS.c.id.desc()).limit(limit + 1)
        with self._database.read() as connection:
            found = [alert_of(row) for row in connection.execute(query)]
        more = len(found) > limit
        found = found[:limit]
        return AlertPage(tuple(found), f"{found[-1].last_seen}:{found[-1].id}" if more and found else None)

    def count(self, scope: Scope, filters: AlertFilters = AlertFilters()) -> int:
        """How many alerts there are."""
        query = select(func.count()).select_from(ALERTS).where(_within(scope), *_narrowed(filters))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def counts(self, scope: Scope, origin: Sequence[str] | None = None) -> Mapping[str, Mapping[str, int]]:
        """How many alerts (of these origins) by `state` and, of those not closed, by `level`."""
        query = select(ALERTS.c.state, ALERTS.c.level, func.count()).where(_within(scope), *_narrowed(AlertFilters(origin=origin)))
        query = query.group_by(ALERTS.c.state, ALERTS.c.level)
        states = {state.value: 0 for state in State}
        levels: dict[str, int] = {}
        with self._database.read() as connection:
            for state, level, count in connection.execute(query):
                states[state] += count
                if state != State.CLOSED:
                    levels[level] = levels.get(level, 0) + count
        return {"state": states, "level": levels}

    def over_time(self, scope: Scope, start: int, width: int, spans: int, origin: Sequence[str] | None = None) -> Sequence[Mapping[str, int]]:
        """How many alerts (of these origins) were first seen in each of `spans` spans of `width` microseconds from `start`, by level."""
        span = ((ALERTS.c.first_seen - start) // width).label("span")
        query = select(span, ALERTS.c.level, func.count()).where(
            _within(scope), *_narrowed(AlertFilters(origin=origin)), ALERTS.c.first_seen >= start, ALERTS.c.first_seen < start + width * spans)
        found: list[dict[str, int]] = [{} for _ in range(spans)]
        with self._database.read() as connection:
            for at, level, count in connection.execute(query.group_by(span, ALERTS.c.level)):
                found[at][level] = count
        return found

    def get(self, scope: Scope, alert_id: str) -> Alert:
        """The alert of that id, or that once had it. Raises NotFoundError."""
        with self._database.read() as connection:
            return _get(connection, scope, alert_id)

    def history(self, scope: Scope, alert_id: str) -> Sequence[HistoryEntry]:
        """What was done to the alert, in order. Raises NotFoundError."""
        with self._database.read() as connection:
            number = _get(connection, scope, alert_id).number
            rows = connection.execute(select(HISTORY).where(HISTORY.c.alert == number).order_by(HISTORY.c.id)).all()
        return [HistoryEntry(row.at, row.actor, row.action, orjson.loads(row.detail)) for row in rows]

    def evidence(self, scope: Scope, alert_id: str) -> Sequence[Evidence]:
        """The kept sample of matched events, in order of event time. Raises NotFoundError."""
        with self._database.read() as connection:
            number = _get(connection, scope, alert_id).number
            query = select(EVIDENCE).where(EVIDENCE.c.alert == number).order_by(EVIDENCE.c.event_time, EVIDENCE.c.event_id)
            rows = connection.execute(query).all()
        return [
            Evidence(row.event_id, row.event_time, row.rule_version, orjson.loads(row.event),
                     tuple(Atom(*atom) for atom in orjson.loads(row.atoms)), tuple(orjson.loads(row.related)))
            for row in rows
        ]

    def event_ids(self, scope: Scope, alert_id: str, limit: int = 1000) -> Sequence[str]:
        """Ids of matched events, the earliest first: all that counted, not only the kept sample. Raises NotFoundError."""
        with self._database.read() as connection:
            number = _get(connection, scope, alert_id).number
            query = select(MATCHES.c.event_id).where(MATCHES.c.alert == number)
            return list(connection.execute(query.order_by(MATCHES.c.event_time, MATCHES.c.event_id).limit(limit)).scalars())

    def transition(self, scope: Scope, alert_id: str, to: State, *, actor: str, now: int,
                   disposition: str = "", reason: str = "") -> Alert:
        """Move an alert to another state. Raises NotFoundError, TransitionRefused, InputRefused."""
        _bounded(reason)
        return self._change(
            scope, alert_id, actor, now, "transition",
            lambda alert: model.transition(alert, to, at=now, disposition=disposition, reason=plain(reason, LONGEST_COMMENT)),
            lambda old, new: {
                "from": old.state.value, "to": new.state.value, "disposition": new.disposition, "reason": reason.strip(),
            },
        )

    def close(self, scope: Scope, alert_id: str, *, disposition: Disposition | str, reason: str, actor: str, now: int) -> Alert:
        """Close an alert. Raises NotFoundError, TransitionRefused, InputRefused."""
        return self.transition(scope, alert_id, State.CLOSED, actor=actor, now=now, disposition=str(disposition), reason=reason)

    def assign(self, scope: Scope, alert_id: str, assignee: str, *, actor: str, now: int) -> Alert:
        """Put an alert into somebody's hands ("": nobody's). Raises NotFoundError, InputRefused."""
        if len(assignee) > 200:
            raise InputRefused("an assignee has at most 200 characters")
        return self._change(
            scope, alert_id, actor, now, "assign",
            lambda alert: model.assign(alert, assignee, at=now),
            lambda old, new: {"from": old.assignee, "to": new.assignee},
        )

    def escalate(self, scope: Scope, alert_id: str, escalated: bool, *, actor: str, now: int) -> Alert:
        """Set or clear the flag. Raises NotFoundError."""
        return self._change(
            scope, alert_id, actor, now, "escalate",
            lambda alert: model.escalate(alert, escalated, at=now),
            lambda old, new: {"from": old.escalated, "to": new.escalated},
        )

    def comment(self, scope: Scope, alert_id: str, text: str, *, actor: str, now: int) -> Alert:
        """Say something about an alert. Raises NotFoundError, InputRefused."""
        _bounded(text)
        if not text.strip():
            raise InputRefused("a comment says something")
        return self._change(
            scope, alert_id, actor, now, "comment",
            lambda alert: model.touch(alert, at=now),
            lambda old, new: {"text": text.strip()},
        )

    def delete_import(self, connection: Connection, import_id: str) -> int:
        """Delete what an import raised or left with correlations, worked on or not, in the caller's transaction; returns how many alerts.

        Raises InputRefused without an id: that would be everything that no import raised.
        """
        if not import_id:
            raise InputRefused("no import has an empty id")
        numbers = select(ALERTS.c.number).where(ALERTS.c.import_id == import_id)
        for table in (MATCHES, EVIDENCE, HISTORY, FORMER):
            connection.execute(delete(table).where(table.c.alert.in_(numbers)))
        connection.execute(delete(EXCEPTED).where(EXCEPTED.c.import_id == import_id))
        forget_import(connection, import_id)
        return connection.execute(delete(ALERTS).where(ALERTS.c.import_id == import_id)).rowcount

    def excepted(self, scope: Scope) -> Mapping[str, int]:
        """How many matches each exception has kept from alerting."""
        within = EXCEPTED.c.agency.in_(sorted(scope.agencies)) if scope.agencies is not None else None
        query = select(EXCEPTED.c.excepted_by, func.count()).group_by(EXCEPTED.c.excepted_by)
        if within is not None:
            query = query.where(within)
        if scope.hosts is not None:
            query = query.where(EXCEPTED.c.entity.in_(sorted(scope.hosts)))
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def _change(self, scope: Scope, alert_id: str, actor: str, now: int, action: str, step: Callable[[Alert], Alert],
                detail: Callable[[Alert, Alert], Mapping[str, object]]) -> Alert:
        with self._database.write() as connection:
            old = _get(connection, scope, alert_id)
            new = step(old)
            stored = row_of(replace(new, reason=""))
            stored["reason"] = new.reason
            connection.execute(update(ALERTS).where(ALERTS.c.number == old.number).values(stored))
            facts = detail(old, new).items()
            said = {name: plain(value, LONGEST_COMMENT) if isinstance(value, str) else value for name, value in facts}
            connection.execute(insert(HISTORY).values(
                alert=old.number, at=now, actor=plain(actor), action=action, detail=orjson.dumps(said).decode()))
        return new


def _get(connection: Connection, scope: Scope, alert_id: str) -> Alert:
    wanted = plain(alert_id, 100)
    row = connection.execute(select(ALERTS).where(ALERTS.c.id == wanted, _within(scope))).first()
    if row is None:
        former = select(FORMER.c.alert).where(FORMER.c.id == wanted).scalar_subquery()
        row = connection.execute(select(ALERTS).where(ALERTS.c.number == former, _within(scope))).first()
    if row is None:
        raise NotFoundError(f"no alert {wanted!r}", remedy="`soc alerts list` shows them")
    return alert_of(row)


def _within(scope: Scope) -> ColumnElement[bool]:
    """Only what the scope allows; one bound to hosts sees the alerts about these hosts."""
    parts: list[ColumnElement[bool]] = []
    if scope.agencies is not None:
        parts.append(ALERTS.c.agency.in_(sorted(scope.agencies)) if scope.agencies else false())
    if scope.hosts is not None:
        hosts = ALERTS.c.entity.in_(sorted(scope.hosts)) if scope.hosts else false()
        parts.append(and_(ALERTS.c.entity_kind == "host", hosts))
    return and_(*parts) if parts else ALERTS.c.number > 0


def _narrowed(filters: AlertFilters) -> list[ColumnElement[bool]]:
    parts: list[ColumnElement[bool]] = []
    for field in fields(filters):
        value = getattr(filters, field.name)
        if value is None:
            continue
        if field.name == "since":
            parts.append(ALERTS.c.last_seen >= value)
        elif field.name == "until":
            parts.append(ALERTS.c.first_seen < value)
        elif field.name in ("state", "level") or (field.name == "origin" and not isinstance(value, str)):
            parts.append(ALERTS.c[field.name].in_([str(one) for one in value]))
        elif isinstance(value, str):
            parts.append(ALERTS.c[field.name] == plain(value))
        else:
            parts.append(ALERTS.c[field.name] == value)
    return parts


def _cursor(text: str) -> tuple[int, str]:
    seen, _, identity = text.partition(":")
    try:
        number = int(seen)
    except ValueError:
        number = 2**63
    if not -(2**63) <= number < 2**63 or len(identity) != 32 or not identity.isalnum():
        raise QueryError("not a cursor of a list of alerts", remedy="give `after` the `next` of the page before")
    return number, identity


def _bounded(text: str) -> None:
    if len(text) > LONGEST_COMMENT:
        raise InputRefused(f"that is longer than {LONGEST_COMMENT} characters")
