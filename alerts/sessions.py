"""Matches of one key as sessions: what makes the set of untouched alerts a function of the matches alone.

Two matches of a key belong together when a chain of matches, each at most `GAP` from the next, joins them.
So alerts are the connected runs on the axis of event time, whatever the order of arrival.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from alerts.model import Alert, alert_id, key_of, merge
from soc.detect.match import Match

__all__ = ["EARLIEST", "GAP", "LATEST", "Key", "join", "key_tuple", "link", "merged", "raise_alerts", "sample"]

GAP = 24 * 3600 * 1_000_000
"""The longest pause within a session, microseconds of event time."""

EARLIEST = LATEST = 10
"""How many matches of an alert are kept as evidence from each end."""

Key = tuple[str, str, str, str, str]


def key_tuple(match: Match) -> Key:
    """(rule, agency, entity, origin, import id): whose alert this match is."""
    return (match.rule_id, match.agency, match.entity, match.origin.value, match.import_id)


def raise_alerts(matches: Iterable[Match], now: int) -> list[tuple[Alert, Sequence[Match]]]:
    """New alerts of distinct matches of one key, each with its matches sorted by (event time, event id)."""
    ordered = sorted(matches, key=_order)
    if not ordered:
        return []
    cuts = [at for at, (one, next_) in enumerate(pairwise(ordered), 1) if next_.event_time - one.event_time > GAP]
    runs = [ordered[start:end] for start, end in pairwise([0, *cuts, len(ordered)])]
    return [(_alert(run, now), run) for run in runs]


def join(alerts: Iterable[Alert]) -> list[list[Alert]]:
    """Untouched alerts of one key in groups to be merged: those at most `GAP` apart, through each other if need be."""
    groups: list[list[Alert]] = []
    end = 0
    for alert in sorted(alerts, key=lambda a: (a.first_seen, a.first_event)):
        if groups and alert.first_seen - end <= GAP:
            groups[-1].append(alert)
            end = max(end, alert.last_seen)
        else:
            groups.append([alert])
            end = alert.last_seen
    return groups


def merged(group: Sequence[Alert]) -> Alert:
    """One group of `join` as one alert; it keeps the lowest row number among them."""
    result, *others = sorted(group, key=lambda a: (a.number == 0, a.number))
    for other in others:
        result = merge(result, other)
    return result


def link(alert: Alert, touched: Iterable[Alert]) -> str:
    """The id of the touched alert of the same key that `alert` would have joined: the nearest, then the latest; "" if none."""
    near = [(_distance(alert, other), -other.last_seen, other.id) for other in touched]
    distance, _, found = min(near, default=(GAP + 1, 0, ""))
    return found if distance <= GAP else ""


def sample(matches: Iterable[tuple[int, str]]) -> set[str]:
    """Of (event time, event id) pairs, the ids kept as evidence: the earliest and the latest."""
    ordered = sorted(matches)
    if len(ordered) > EARLIEST + LATEST:
        ordered = ordered[:EARLIEST] + ordered[-LATEST:]
    return {event for _, event in ordered}


def _alert(run: Sequence[Match], now: int) -> Alert:
    first, last = run[0], run[-1]
    key = key_of(*key_tuple(first))
    return Alert(
        id=alert_id(key, first.event_id), key=key, rule_id=last.rule_id, rule_version=last.rule_version, title=last.title,
        level=last.level, tags=last.tags, agency=last.agency, entity=last.entity, entity_kind=last.entity_kind,
        origin=last.origin.value, import_id=last.import_id, first_seen=first.event_time, first_event=first.event_id,
        last_seen=last.event_time, last_event=last.event_id, count=len(run), created_at=now, updated_at=now,
        late=max(match.late for match in run),
    )


def _order(match: Match) -> tuple[int, str]:
    return (match.event_time, match.event_id)


def _distance(one: Alert, other: Alert) -> int:
    return max(0, one.first_seen - other.last_seen, other.first_seen - one.last_seen)
