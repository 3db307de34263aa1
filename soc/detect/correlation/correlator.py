"""Correlations over new matches, inside the detector's transaction: in go base matches, out come those and the correlations' own.

A correlation matches at each base match e whose window (e - timespan, e] satisfies it. Every pass judges the windows that its new rows
can reach, older ones included, so late events, restarts and several detectors come to the same set.
"""
from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import Connection

from soc.detect.assembly import RuleSet, RunningCorrelation
from soc.detect.correlation.keys import Arrival, Keys, entity_kind
from soc.detect.correlation.rows import Base, Kept, Writes, expire, load, load_events, still_matched, write
from soc.detect.correlation.spec import TEMPORAL
from soc.detect.correlation.windows import judge, seen_agencies, thin
from soc.detect.match import Atom, Match, MatchSink
from soc.event import Event

__all__ = ["LATENESS", "RELATED", "Correlator"]

LATENESS: Final = 7 * 86_400 * 1_000_000
"""How late an event may be for its windows to be judged in full, microseconds."""
RELATED: Final = 10
"""How many other events of its window a match carries."""
_SHOWN: Final = 10
"""Of the matches of one group in one pass, so many of each end carry related events: no more can become evidence."""
_AHEAD: Final = 30 * 86_400 * 1_000_000
_EXPIRE_EVERY: Final = 60 * 1_000_000
_NOBODY: Final = "-"
"""Whose a match without an agency is, in a column where "" says that there is none."""


@dataclass(slots=True)
class _Group:
    """A group that a pass touches."""

    digest: str
    values: Mapping[str, str]
    new: dict[tuple[str, int], tuple[Kept, Arrival]] = field(default_factory=dict)
    gone: set[tuple[str, int]] = field(default_factory=set)
    times: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Made:
    """A row whose window has come to satisfy the condition, and the rows of that window that its match shows."""

    group: _Group
    row: Kept
    agency: str
    related: tuple[str, ...] = ()


class Correlator:
    """Stands before the alerts as their `MatchSink`: evaluates the correlations of the rule set, hands on what is to be shown.

    `version` names the rule set in force, `load` reads it. `ancestor` gives the agency that a province-wide match belongs to, of
    those of its events at that time (µs UTC); `fallback` the entity of a match whose correlation groups by nothing.
    """

    def __init__(self, sink: MatchSink, *, version: Callable[[], str], load: Callable[[], RuleSet],
                 ancestor: Callable[[Iterable[str], int], str], fallback: Callable[[Event], tuple[str, str]]) -> None:
        self._sink, self._version, self._load, self._ancestor, self._fallback = sink, version, load, ancestor, fallback
        self._passes: list[_Pass] = []
        self._wanted: dict[str, list[tuple[int, int]]] = {}
        self._silent: frozenset[str] = frozenset()
        self._loaded = ""
        self._expired = 0

    def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> None:
        """Observe `matches` and hand on what is to be shown of them and made of them."""
        shown = self.observe(connection, matches, now)
        if shown:
            self._sink.deliver(connection, shown, now)

    def withdraw(self, connection: Connection, matches: Sequence[tuple[str, str]], now: int) -> None:
        """Hand on."""
        self._sink.withdraw(connection, matches, now)

    def observe(self, connection: Connection, matches: Sequence[Match], now: int) -> list[Match]:
        """The matches to deliver: those given, without the silent, and those that correlations make of them.

        Observing a match again (same rule and event id) makes nothing new. `now` is µs UTC.
        """
        self._refresh()
        shown = [match for match in matches if match.rule_id not in self._silent] if self._silent else list(matches)
        if not self._passes:
            return shown
        came: dict[int, list[Arrival]] = defaultdict(list)
        left: dict[int, list[Arrival]] = defaultdict(list)
        for match in matches:
            if not match.excepted_by:
                for place, ref in self._wanted.get(match.rule_id, ()):
                    came[place].append(Arrival(ref, match))
        withdrawn: list[tuple[str, str]] = []
        for place, one in enumerate(self._passes):
            if place not in came and place not in left:
                continue
            made, taken = one.run(connection, came.pop(place, []), left.pop(place, []), now)
            for parent, ref in self._wanted.get(one.rule_id, ()):
                left[parent] += [replace(arrival, ref=ref) for arrival in taken]
                came[parent] += [replace(arrival, ref=ref) for arrival in made]
            if one.rule_id not in self._silent:
                withdrawn += [(one.rule_id, arrival.match.event_id) for arrival in taken]
                shown += [arrival.match for arrival in made]
        if withdrawn:
            self._sink.withdraw(connection, withdrawn, now)
        if now - self._expired > _EXPIRE_EVERY:
            self._expired = now
            expire(connection, now)
        return shown

    def _refresh(self) -> None:
        """Take the rule set as it is now, if it is another one."""
        version = self._version()
        if version == self._loaded:
            return
        found = self._load()
        self._loaded = version
        self._silent = found.silent
        self._passes = [_Pass(one, self._ancestor, self._fallback) for one in found.correlations]
        self._wanted = defaultdict(list)
        for place, correlation in enumerate(found.correlations):
            for ref, member in enumerate(correlation.members):
                rule_id = member.rule.rule_id if isinstance(member, RunningCorrelation) else member.rule_id
                self._wanted[rule_id].append((place, ref))


class _Pass:
    """One correlation over the base matches of one transaction."""

    def __init__(self, correlation: RunningCorrelation, ancestor: Callable[[Iterable[str], int], str],
                 fallback: Callable[[Event], tuple[str, str]]) -> None:
        self._it, self._spec, self._keys = correlation, correlation.spec, Keys(correlation)
        self._ancestor, self._fallback = ancestor, fallback
        self._ordered = self._spec.type in TEMPORAL
        self._told_apart = self._ordered or any(isinstance(member, RunningCorrelation) for member in correlation.members)
        """Whether an event is a row per rule that it matches: those of correlations can be taken back one by one."""
        self.rule_id = correlation.rule.rule_id

    def run(self, connection: Connection, came: Sequence[Arrival], left: Sequence[Arrival], now: int) -> tuple[list[Arrival], list[Arrival]]:
        """(matches made, matches taken back), each as a base match for the correlations above."""
        groups = self._grouped(came, left)
        if not groups:
            return [], []
        stored = load(connection, self._it.state, {g.digest: self._spans(g.times) for g in groups.values()})
        writes = Writes.none()
        made: list[_Made] = []
        taken: list[_Made] = []
        for group in groups.values():
            self._judge(group, stored[group.digest], now, writes, made, taken)
        needed = {one.row.event_id for one in (*made, *taken)} | {identity for one in made for identity in one.related}
        needed -= {identity for group in groups.values() for identity, _ in group.new}
        bases = load_events(connection, needed)
        for group in groups.values():
            for row, arrival in group.new.values():
                bases[row.event_id] = _base(arrival.match)
        write(connection, writes)
        if taken:
            standing = still_matched(connection, self._it.state, {one.row.event_id for one in taken} - {one.row.event_id for one in made})
            taken = [one for one in taken if one.row.event_id not in standing]
        return self._arrivals(made, bases), self._arrivals(taken, bases)

    # ---- rows in

    def _grouped(self, came: Sequence[Arrival], left: Sequence[Arrival]) -> dict[str, _Group]:
        groups: dict[str, _Group] = {}
        for arrivals, going in ((left, True), (came, False)):
            for arrival in arrivals:
                values = self._keys.group(arrival)
                value = self._keys.value(arrival.match.event)
                if values is None or value is None:
                    continue
                digest = self._keys.digest(arrival, values)
                group = groups.setdefault(digest, _Group(digest, values))
                match, ref = arrival.match, arrival.ref if self._told_apart else 0
                group.times.append(match.event_time)
                if going:
                    group.gone.add((match.event_id, ref))
                else:
                    row = Kept(match.event_time, match.event_id, ref, value, match.agency, "", arrival.via, stored=False)
                    group.new.setdefault((match.event_id, ref), (row, arrival))
        return groups

    def _spans(self, times: list[int]) -> list[tuple[int, int]]:
        """Where the rows lie that new ones at these times can reach or be reached by: open intervals, apart from each other."""
        span = self._spec.timespan
        found: list[tuple[int, int]] = []
        times.sort()
        begin = end = times[0]
        for time in times:
            if time - end > 2 * span:
                found.append((begin - span, end + span))
                begin = time
            end = time
        return [*found, (begin - span, end + span)]

    # ---- windows

    def _judge(self, group: _Group, stored: Sequence[Kept], now: int, writes: Writes, made: list[_Made], taken: list[_Made]) -> None:
        out = [row for row in stored if (row.event_id, row.ref) in group.gone]
        rows = [row for row in stored if (row.event_id, row.ref) not in group.gone]
        known = {(row.event_id, row.ref) for row in rows}
        fresh = [row for identity, (row, _) in group.new.items() if identity not in known]
        if not fresh and not out:
            return
        rows = sorted([*rows, *fresh], key=lambda row: (row.time, row.ref, row.event_id))
        touched = sorted({row.time for row in (*fresh, *out)})
        agencies = seen_agencies(self._spec, rows) if self._spec.province else {}
        begin = len(made)
        for row, holds in zip(rows, self._verdicts(rows), strict=True):
            at = bisect_right(touched, row.time)
            if at and row.time - touched[at - 1] < self._spec.timespan:
                agency = self._ancestor(agencies[row.time], row.time) if holds and agencies else row.agency
                self._settle(group, row, (agency or _NOBODY) if holds else "", writes, made, taken)
        taken += [_Made(group, row, row.matched) for row in out if row.matched]
        self._relate(made[begin:], rows)
        self._keep(group, rows, fresh, out, now, writes)

    def _counted(self, rows: Sequence[Kept]) -> Sequence[Kept]:
        """The rows that a window is reckoned from: one per event, but where rules are told apart."""
        return rows if self._ordered or not self._told_apart else list({row.event_id: row for row in rows}.values())

    def _verdicts(self, rows: Sequence[Kept]) -> list[bool]:
        """Whether each row's window holds; rows of one event share it."""
        counted = self._counted(rows)
        holds = judge(self._spec, counted)
        if counted is rows:
            return holds
        by_time = {row.time: verdict for row, verdict in zip(counted, holds, strict=True)}
        return [by_time[row.time] for row in rows]

    def _settle(self, group: _Group, row: Kept, verdict: str, writes: Writes, made: list[_Made], taken: list[_Made]) -> None:
        """Note what a window's verdict (whose match it is, "" none) changes."""
        if verdict == row.matched:
            return
        if row.matched:
            taken.append(_Made(group, row, row.matched))
        if verdict:
            made.append(_Made(group, row, verdict))
        row.matched = verdict
        if row.stored:
            writes.changed.append((self._it.state, group.digest, row))

    def _window(self, rows: Sequence[Kept], row: Kept) -> Sequence[Kept]:
        begin = bisect_right(rows, row.time - self._spec.timespan, key=lambda one: one.time)
        return rows[begin : bisect_right(rows, row.time, key=lambda one: one.time)]

    def _relate(self, made: Sequence[_Made], rows: Sequence[Kept]) -> None:
        """Choose the other events that the earliest and latest of these matches are shown with."""
        ordered = sorted(made, key=lambda one: (one.row.time, one.row.event_id))
        for one in ordered if len(ordered) <= 2 * _SHOWN else [*ordered[:_SHOWN], *ordered[-_SHOWN:]]:
            window = [row for row in self._window(rows, one.row) if row.event_id != one.row.event_id]
            latest = {row.ref: row for row in window}
            first = list(latest.values()) if self._ordered else window[: RELATED // 2]
            chosen = list({row.event_id: row for row in (*first, *reversed(window))}.values())[:RELATED]
            chosen.sort(key=lambda row: (row.time, row.event_id))
            via = [identity for row in (*chosen, one.row) for identity in row.via]
            one.related = tuple(dict.fromkeys([*via[-RELATED:], *(row.event_id for row in chosen)]))

    def _keep(self, group: _Group, rows: Sequence[Kept], fresh: Sequence[Kept], out: Sequence[Kept], now: int, writes: Writes) -> None:
        """Decide which rows stay: all, but where a stretch of one timespan holds too many."""
        span, state = self._spec.timespan, self._it.state
        stretches: dict[int, list[Kept]] = defaultdict(list)
        grown = {row.time // span for row in fresh}
        for row in rows:
            if row.time // span in grown:
                stretches[row.time // span].append(row)
        dropped: set[int] = set()
        for stretch, members in stretches.items():
            over = self._over(members)
            dropped |= {id(row) for row in over}
            writes.removed += [(state, group.digest, row) for row in over if row.stored]
            if over:
                writes.dropped[(state, group.digest, stretch)] = (len(over), self._expiry((stretch + 1) * span, now))
        if dropped:
            writes.changed = [one for one in writes.changed if id(one[2]) not in dropped]
        writes.removed += [(state, group.digest, row) for row in out]
        for row in fresh:
            if id(row) not in dropped:
                match = group.new[(row.event_id, row.ref)][1].match
                expires = self._expiry(row.time, now)
                writes.added.append((state, group.digest, row, match.import_id, expires))
                writes.events[row.event_id] = (_base(match), expires)

    def _over(self, members: Sequence[Kept]) -> Sequence[Kept]:
        """The rows of one stretch that are too many: all of an event's, but where rules are told apart."""
        counted = self._counted(members)
        over = thin(self._spec, counted)
        if counted is members or not over:
            return over
        events = {row.event_id for row in over}
        return [row for row in members if row.event_id in events]

    def _expiry(self, time: int, now: int) -> int:
        """When no event that is at most `LATENESS` late can need the row any more: reckoned from what is later, its time or its arrival."""
        return max(now, min(time, now + _AHEAD)) + self._spec.timespan + LATENESS

    # ---- matches out

    def _arrivals(self, made: Sequence[_Made], bases: Mapping[str, Base]) -> list[Arrival]:
        """Matches of these rows, once per event."""
        found = {one.row.event_id: one for one in made if one.row.event_id in bases}
        return [Arrival(0, self._match(one, bases), one.group.values, one.related[-RELATED:]) for one in found.values()]

    def _match(self, one: _Made, bases: Mapping[str, Base]) -> Match:
        base, rule = bases[one.row.event_id], self._it.rule
        entity, kind = self._entity(one.group.values, base.event)
        span = self._spec.timespan // 1_000_000
        asked = "condition" if self._spec.tree is not None else f"{self._spec.op} {self._spec.count}"
        return Match(
            rule_id=rule.rule_id, rule_version=rule.version, title=rule.title, level=rule.level, tags=tuple(rule.tags),
            event_id=one.row.event_id, event_time=one.row.time, event=base.event, position=base.position,
            agency="" if one.agency == _NOBODY else one.agency, origin=base.origin, import_id=base.import_id, entity=entity, entity_kind=kind,
            atoms=(Atom("correlation", self._spec.type, f"{asked} in {span} s"), *(Atom(n, "group-by", v) for n, v in one.group.values.items())),
            related=tuple(bases[identity].event for identity in one.related if identity in bases))

    def _entity(self, values: Mapping[str, str], event: Event) -> tuple[str, str]:
        """What alerts are kept by: the field that the rule names, else the first it groups by, else as for any rule."""
        name = self._spec.entity or next(iter(values), "")
        value = values.get(name) or (str(event[name]) if name in event else "")
        return (value[:256], entity_kind(name, value)) if value else self._fallback(event)


def _base(match: Match) -> Base:
    return Base(match.event, match.agency, match.position, match.origin, match.import_id)
