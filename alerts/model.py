"""An alert: something for an analyst, made of matches of one key. Values and pure functions; nothing here touches a database.

While nobody has touched it an alert is a *session* of matches (`alerts/sessions.py`) and may still grow, merge and change its
id; from the first touch on it is frozen, and what would have joined it becomes an alert of its own, linked to it.
"""
from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from soc.errors import InputRefused

__all__ = [
    "TRANSITIONS", "Alert", "Disposition", "State", "TransitionRefused", "alert_id", "assign", "escalate", "key_of", "merge",
    "touch", "transition",
]


class State(StrEnum):
    """Where an alert stands in somebody's work."""

    NEW = "new"
    IN_PROGRESS = "in_progress"
    WAITING = "waiting"
    CLOSED = "closed"
    REOPENED = "reopened"


class Disposition(StrEnum):
    """What a closed alert turned out to be."""

    TRUE_POSITIVE = "true_positive"
    BENIGN = "benign"
    FALSE_POSITIVE = "false_positive"
    UNDETERMINED = "undetermined"


TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType({
    State.NEW: frozenset({State.IN_PROGRESS, State.WAITING, State.CLOSED}),
    State.IN_PROGRESS: frozenset({State.WAITING, State.CLOSED}),
    State.WAITING: frozenset({State.IN_PROGRESS, State.CLOSED}),
    State.CLOSED: frozenset({State.REOPENED}),
    State.REOPENED: frozenset({State.IN_PROGRESS, State.WAITING, State.CLOSED}),
})
"""From where to where an alert may go. `escalated` is a flag beside the state."""


class TransitionRefused(InputRefused):
    """An alert cannot go there from where it is."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. Times are microseconds since 1970 UTC; `count` is exact: distinct matched events.

    `number` is the row's own number (0: not stored yet) and never leaves the store. `first_event` and
    `last_event` are the ids of the earliest and latest match by (event time, event id); `rule_version`,
    `title`, `level`, `tags` and `entity_kind` are those of the latest. `late` is how long after it was received the most
    belated match was judged, microseconds; 0 if all were judged when they came.
    """

    id: str
    key: str
    rule_id: str
    rule_version: str
    title: str
    level: str
    tags: tuple[str, ...]
    agency: str
    entity: str
    entity_kind: str
    origin: str
    import_id: str
    first_seen: int
    first_event: str
    last_seen: int
    last_event: str
    count: int
    created_at: int
    updated_at: int
    state: State = State.NEW
    disposition: str = ""
    reason: str = ""
    assignee: str = ""
    escalated: bool = False
    touched: bool = False
    linked_to: str = ""
    late: int = 0
    number: int = 0


def key_of(rule_id: str, agency: str, entity: str, origin: str, import_id: str) -> str:
    """The alert key as 128 bits in hex."""
    return _digest(rule_id, agency, entity, origin, import_id)


def alert_id(key: str, first_event: str) -> str:
    """The id of the session of `key` whose earliest match is `first_event`: 128 bits in hex."""
    return _digest(key, first_event)


def merge(old: Alert, new: Alert) -> Alert:
    """Two untouched alerts of one key, with no match in common, as one. It keeps the row of `old` if that has one.

    Commutative and associative in all that matches alone decide. Raises ValueError if either is touched or the keys differ.
    """
    if old.key != new.key or old.touched or new.touched:
        raise ValueError("only untouched alerts of one key merge")
    first = min(old, new, key=lambda a: (a.first_seen, a.first_event))
    last = max(old, new, key=lambda a: (a.last_seen, a.last_event))
    return replace(
        old, id=first.id, first_seen=first.first_seen, first_event=first.first_event,
        last_seen=last.last_seen, last_event=last.last_event,
        rule_version=last.rule_version, title=last.title, level=last.level, tags=last.tags, entity_kind=last.entity_kind,
        count=old.count + new.count, created_at=min(old.created_at, new.created_at),
        updated_at=max(old.updated_at, new.updated_at), late=max(old.late, new.late), number=old.number or new.number,
    )


def transition(alert: Alert, to: State, *, at: int, disposition: str = "", reason: str = "") -> Alert:
    """The alert in state `to`. Closing needs a disposition and a reason; reopening clears both.

    Raises TransitionRefused if that is not the way, InputRefused for what is missing or too much.
    """
    if to not in TRANSITIONS[alert.state]:
        ways = ", ".join(sorted(TRANSITIONS[alert.state]))
        raise TransitionRefused(f"an alert that is {alert.state} cannot become {to}", remedy=f"it can become: {ways}")
    if to is State.CLOSED:
        if disposition not in set(Disposition):
            raise InputRefused(f"closing needs a disposition, not {disposition!r}", remedy=f"one of: {', '.join(Disposition)}")
        if not reason.strip():
            raise InputRefused("closing needs a reason", remedy="say in a sentence why")
    elif disposition:
        raise InputRefused("only closing takes a disposition", remedy="leave it out, or close the alert")
    closing = to is State.CLOSED
    return replace(
        touch(alert, at=at), state=to, disposition=disposition if closing else "", reason=reason.strip() if closing else "")


def assign(alert: Alert, assignee: str, *, at: int) -> Alert:
    """The alert in the hands of `assignee` ("" takes it out of anybody's)."""
    return replace(touch(alert, at=at), assignee=assignee)


def escalate(alert: Alert, escalated: bool, *, at: int) -> Alert:
    """The alert with its flag set or cleared."""
    return replace(touch(alert, at=at), escalated=escalated)


def touch(alert: Alert, *, at: int) -> Alert:
    """The alert as a person has now touched it: from here on it is closed to merging."""
    return replace(alert, touched=True, updated_at=max(at, alert.updated_at))


def _digest(*parts: str) -> str:
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
