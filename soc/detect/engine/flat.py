"""Flat Windows JSON straight into the matcher: an event is built only where a rule could match.

Of each line msgspec reads what says its kind, and the few fields that rest rules ask for; all else is skipped. A kind's
lines are sieved as they are (`sieve.py`): where the needles of a rule are found, that rule is asked. What is not plain
enough for that (another shape, odd types or escapes) is left to the caller: `match` says which lines.
"""
from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import orjson
from msgspec import UNSET, UnsetType

from soc.detect.engine.alone import Alone, EventLookup, Lookup
from soc.detect.engine.atoms import PreparedRule
from soc.detect.engine.engine import Engine, Hit
from soc.detect.engine.fieldtests import FieldTests, Value
from soc.detect.engine.kind import Ids, Kind
from soc.detect.engine.lines import Record, Text
from soc.detect.engine.sieve import SAMPLE, Sieve, needles_of
from soc.detect.engine.values import compare_fields
from soc.detect.pipelines import Names
from soc.event import Event
from soc.normalise.flatwindows import CHANNEL, ECHOES, EVENT_ID, LARGEST, MADE, PROVIDERS, keys_of, odd_key, text_of_number
from soc.normalise.logsources import log_sources

__all__ = ["Flat", "FlatMatcher", "Head", "read_heads"]

_MOST_PLANS: Final = 10_000
_HEADS: Final = {EVENT_ID: "number", CHANNEL: "channel", PROVIDERS[0]: "provider0", PROVIDERS[1]: "provider1"}
_ORIGIN: Final = attrgetter("number", "channel", "provider0", "provider1")
_PLAIN: Final = str | int | None | UnsetType
_HEAD: Final = msgspec.json.Decoder(msgspec.defstruct("Head", [
    (attribute, int, msgspec.field(name=key)) if key == EVENT_ID else (attribute, _PLAIN, msgspec.field(name=key, default=UNSET))
    for key, attribute in _HEADS.items()
], gc=False, eq=False))
Head = Any
"""The few values of a record that say its kind."""
Origin = tuple[int, Any, Any, Any]
"""Event id, channel and the two places of the provider."""


@dataclass(slots=True)
class Flat:
    """What came of lines: hits (`row` is the line's place), the places left to the caller, records that no parser takes."""

    hits: list[Hit]
    left: list[int]
    dead: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """How lines of one origin are matched: `kind` None means no rule asks for them; without a sieve they are left."""

    kind: Kind | None = None
    sieve: Sieve | None = None
    rest: Kind | None = None
    reader: _Reader | None = None
    """Reads what the rest rules ask for."""


class FlatMatcher:
    """Matches lines against an engine's rules. Keeps what it learned of event ids and of the data between calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._plans: dict[Origin, _Plan] = {}
        self._sieves: dict[int, Sieve] = {}
        self._alone: dict[str, Alone] = {}

    def match(self, lines: Sequence[Record], heads: Sequence[Head], parse: Callable[[list[bytes]], list[Event | None]]) -> Flat:
        """Match records; `heads` are what `read_heads` read of them, `parse` gives a record's event, None where it is a dead letter."""
        self._engine.forget_if_full()
        for sieve in self._sieves.values():
            sieve.learn()
        groups, left = self._grouped(lines, heads)
        found = Flat([], left)
        asked: dict[int, list[PreparedRule]] = {}
        for plan, places in groups:
            if plan.kind is None:
                continue
            if plan.sieve is None:
                left += places
                continue
            candidates, unclear = plan.sieve.sift(list(map(lines.__getitem__, places)))
            if unclear:
                left += [places[at] for at in unclear]
                candidates = {at: rules for at, rules in candidates.items() if at not in unclear}
            asked |= {places[at]: rules for at, rules in candidates.items()}
            if plan.rest is not None and plan.reader is not None:
                chosen = [place for at, place in enumerate(places) if at not in unclear] if unclear else places
                refused = self._match_rest(plan.rest, plan.reader, lines, chosen, found.hits)
                left += refused
                for place in refused:
                    asked.pop(place, None)
        self._ask(lines, asked, parse, found)
        left.sort()
        return found

    def _ask(self, lines: Sequence[Record], asked: dict[int, list[PreparedRule]], parse: Callable[[list[bytes]], list[Event | None]],
             found: Flat) -> None:
        """Ask of the lines that rules could match; where a line is not plain enough, of its event."""
        harder: dict[int, list[PreparedRule]] = {}
        for place, rules in asked.items():
            hits = self._asked_plainly(lines[place], place, rules)
            if hits is None:
                harder[place] = rules
            else:
                found.hits += hits
        if not harder:
            return
        for (place, rules), event in zip(harder.items(), parse([bytes(lines[place]) for place in harder]), strict=True):
            if event is None:
                found.dead += 1
            else:
                found.hits += self._judged(EventLookup(event), place, rules)

    def _asked_plainly(self, line: Record, place: int, rules: list[PreparedRule]) -> list[Hit] | None:
        """The hits by the line's own keys; None if only the parser can say what it means."""
        try:
            return self._judged(_LineLookup(orjson.loads(line)), place, rules)
        except (_NotPlainError, orjson.JSONDecodeError):
            return None

    def _judged(self, event: Lookup, place: int, rules: list[PreparedRule]) -> list[Hit]:
        hits: list[Hit] = []
        for rule in rules:
            alone = self._alone.get(rule.rule_id)
            if alone is None:
                alone = self._alone[rule.rule_id] = Alone(rule, self._engine.atoms)
            atoms = alone.judge(event)
            if atoms is not None:
                hits.append(Hit(rule.rule_id, place, atoms))
        return hits

    def _match_rest(self, rest: Kind, reader: _Reader, lines: Sequence[Record], places: list[int], hits: list[Hit]) -> list[int]:
        """Match the rest rules the ordinary way; returns the places of lines that are left after all."""
        records, refused = reader.read(lines, places)
        if refused:
            gone = set(refused)
            places = [place for place in places if place not in gone]
        hits += [Hit(hit.rule_id, places[hit.row], hit.atoms) for hit in self._engine.match_rows(rest, _Structs(reader.sources, records), None)]
        return refused

    def _grouped(self, lines: Sequence[Record], heads: Sequence[Head]) -> tuple[list[tuple[_Plan, list[int]]], list[int]]:
        """Places by plan, and the places of lines that are left."""
        left: list[int] = []
        places: Iterable[int] = range(len(heads))
        if None in heads:
            left = [place for place, head in enumerate(heads) if head is None]
            places = [place for place, head in enumerate(heads) if head is not None]
            heads = [head for head in heads if head is not None]
        groups: defaultdict[Origin, list[int]] = defaultdict(list)
        for place, origin in zip(places, map(_ORIGIN, heads), strict=True):
            groups[origin].append(place)
        found: list[tuple[_Plan, list[int]]] = []
        large = max(map(len, lines), default=0) > LARGEST
        for origin, group in groups.items():
            if large and any(len(lines[place]) > LARGEST for place in group):
                left += [place for place in group if len(lines[place]) > LARGEST]
                group = [place for place in group if len(lines[place]) <= LARGEST]
            found.append((self._planned(origin, [bytes(lines[place]) for place in group[:SAMPLE]]), group))
        return found, left

    def _planned(self, origin: Origin, sample: Sequence[bytes]) -> _Plan:
        """The plan for an origin, made anew where its kind's sieve was."""
        plan = self._plans.get(origin)
        if plan is None or (plan.sieve is not None and plan.sieve.rest is not plan.rest):
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[origin] = self._plan(sample, *origin)
        return plan

    def _plan(self, sample: Sequence[bytes], number: int, channel: object, *providers: object) -> _Plan:
        named = [one for one in providers if isinstance(one, str)]
        if not isinstance(channel, str) or len(named) != 1 or None in providers:
            return _LEFT
        kind = self._engine.kind_of(log_sources().windows(channel, str(number), named[0]), str(number))
        if kind is None:
            return _Plan()
        sieve = self._sieves.get(id(kind))
        if sieve is None:
            sieve = self._sieves[id(kind)] = Sieve(kind, self._engine.atoms, sample, plain=self._is_plain, keys=_every_key, odd=_odd_keys)
        if sieve.rest is None:
            return _Plan(kind, sieve)
        if sieve.rest.matching.keywords is not None or any(_sources(names) is None for names in sieve.rest.matching.asked()):
            return _LEFT
        return _Plan(kind, sieve, sieve.rest, _Reader(sieve.rest))

    def _is_plain(self, atom: int) -> bool:
        """Whether the text that an atom tests stands in the line as it is."""
        spec, names = self._engine.atoms.specs[atom], self._engine.atoms.names[atom]
        if not spec.field:
            return not any(needle in made for one in needles_of(spec) for needle in one for made in MADE)
        return "winlog.keywords" not in names.fields and _sources(names) is not None


_LEFT: Final = _Plan(kind=Kind.__new__(Kind))


@functools.cache
def _every_key(names: Names) -> list[str]:
    """The keys under which a rule's field may stand."""
    return [spelled for _, keys in _sources(names) or () for key in keys for spelled in (key, odd_key(key)) if spelled]


def _odd_keys(names: Names) -> list[str]:
    return [odd for _, keys in _sources(names) or () for key in keys if (odd := odd_key(key))]


@functools.cache
def _sources(names: Names) -> list[tuple[str, tuple[str, ...]]] | None:
    """(our field, its keys) of a rule's field, in the order in which they count; None if only the parser can say."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for field in names.fields:
        if ECHOES.get(field) in names.fields:
            continue
        keys = keys_of(field)
        if keys is None or names.every:
            return None
        found.append((field, keys))
    return found


def read_heads(records: Text | Sequence[Record]) -> Sequence[Head]:
    """What says the kind of each record; None if it is none we know. Lines that came together are read together, if they can be."""
    if isinstance(records, Text):
        try:
            heads: list[Head] = _HEAD.decode_lines(records.text) if records.is_tidy else []
        except (msgspec.MsgspecError, UnicodeDecodeError):
            heads = []
        if len(heads) == len(records.lines):
            return heads
        records = records.lines
    return list(map(_head, records))


def _head(line: Record) -> Head:
    try:
        return _HEAD.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class _NotPlainError(Exception):
    """A line of which only the parser can say what it means."""


class _LineLookup:
    """A line's values by its own keys (`soc.detect.engine.alone.Lookup`). Raises _NotPlainError for what the parser must read."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._known: dict[Names, Value | None] = {}

    def value(self, names: Names) -> Value | None:
        """The value of the first of our fields that a key gives."""
        if names not in self._known:
            self._known[names] = self._value(names)
        return self._known[names]

    def _value(self, names: Names) -> Value | None:
        for field, keys in _sources_or_raise(names):
            found = [value for key in keys if (value := self._document.get(key)) is not None]
            if len(found) > 1:
                raise _NotPlainError
            if found:
                value = found[0]
                if value.__class__ is str:
                    return value
                if value.__class__ is not int:
                    raise _NotPlainError
                return text_of_number(field, value)
        return None

    def is_null(self, names: Names) -> bool:
        """Whether one of its keys is there, without a value."""
        return any(key in self._document for _, keys in _sources_or_raise(names) for key in keys)

    def searched(self) -> Iterable[Value]:
        """Only the parser knows all that keywords are looked for in."""
        raise _NotPlainError


def _sources_or_raise(names: Names) -> list[tuple[str, tuple[str, ...]]]:
    sources = _sources(names)
    if sources is None:
        raise _NotPlainError
    return sources


class _Reader:
    """Reads of lines what a kind's rules ask for, by msgspec: all else is skipped."""

    def __init__(self, kind: Kind) -> None:
        attributes: dict[str, str] = {}
        self.sources: dict[Names, tuple[tuple[str, str], ...]] = {}
        """Per rule field its (our field, attribute) in the order in which they count."""
        seldom: set[tuple[str, ...]] = set()
        for names in kind.matching.asked():
            found = _sources(names) or []
            for _, keys in found:
                for key in keys:
                    attributes.setdefault(key, f"f{len(attributes)}")
                if len(keys) > 1:
                    seldom.add(tuple(attributes[key] for key in keys))
            self.sources[names] = tuple((field, attributes[key]) for field, keys in found for key in keys)
        self._seldom = sorted(seldom)
        fields = [(attribute, _PLAIN, msgspec.field(name=key, default=UNSET)) for key, attribute in attributes.items()]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Line", fields, gc=False, eq=False)).decode

    def read(self, lines: Sequence[Record], places: Sequence[int]) -> tuple[list[Any], list[int]]:
        """The structs, and the places of lines that have none: odd types, or one field under two names."""
        records: list[Any] = []
        refused: list[int] = []
        decode, add = self._decode, records.append
        for place in places:
            try:
                add(decode(lines[place]))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                refused.append(place)
        clashing = self._clashing(records) if self._seldom else set()
        if clashing:
            gone = set(refused)
            read = [place for place in places if place not in gone]
            refused += [read[at] for at in clashing]
            records = [record for at, record in enumerate(records) if at not in clashing]
        return records, refused

    def _clashing(self, records: list[Any]) -> set[int]:
        found: set[int] = set()
        for first, *others in self._seldom:
            for other in others:
                column = list(map(attrgetter(other), records))
                if column.count(UNSET) != len(column):
                    found.update(at for at, value in enumerate(column) if value is not UNSET and getattr(records[at], first) is not UNSET)
        return found


class _Structs:
    """Structs of one kind as the matcher asks for them (`soc.detect.engine.kind.Values`)."""

    def __init__(self, sources: dict[Names, tuple[tuple[str, str], ...]], records: list[Any]) -> None:
        self._sources, self._records = sources, records
        self.height = len(records)

    def classes(self, names: Names, tests: FieldTests, rows: Ids | None) -> Ids | None:
        """The class of each row's value."""
        sources = self._sources[names]
        if not sources:
            return None
        column = self._column(sources, rows)
        found = list(map(tests.known.get, column))
        if None in found:
            class_of, known = tests.class_of, tests.known
            for at, number in enumerate(found):
                if number is None:
                    value = column[at]
                    number = known.get(value)
                    if number is None:
                        if isinstance(value, str):
                            number = class_of(value)
                        else:
                            number = known[value] = class_of(text_of_number(sources[0][0], value))
                    found[at] = number
        return np.fromiter(found, np.int64, len(found))

    def keyword_classes(self, tests: FieldTests, rows: Ids | None) -> Iterator[Ids]:
        """None: a kind whose rest has keywords is left to the parser."""
        return iter(())

    def compared(self, test: str, left: Names, right: Names, rows: Ids | None) -> Ids | None:
        """1 where two fields' values agree as `test` asks, else 0."""
        pairs = zip(self._texts(left, rows), self._texts(right, rows), strict=True)
        found = [one is not None and other is not None and compare_fields(test, one, other) for one, other in pairs]
        return np.array(found, np.int64) if any(found) else None

    def _texts(self, names: Names, rows: Ids | None) -> Iterable[str | None]:
        sources = self._sources[names]
        for value in self._column(sources, rows) if sources else [None] * (self.height if rows is None else len(rows)):
            if value is None or value is UNSET:
                yield None
            else:
                yield value if isinstance(value, str) else text_of_number(sources[0][0], value)

    def _column(self, sources: tuple[tuple[str, str], ...], rows: Ids | None) -> list[Any]:
        records = self._records if rows is None else list(map(self._records.__getitem__, rows.tolist()))
        (_, first), *others = sources
        column = list(map(attrgetter(first), records))
        for _, attribute in others:
            if UNSET not in column and None not in column:
                break
            more = list(map(attrgetter(attribute), records))
            if column.count(UNSET) == len(column):
                column = more
            elif more.count(UNSET) != len(more):
                column = list(map(_merged, column, more))
        return column


def _merged(mine: Any, theirs: Any) -> Any:
    """Of two places of one field what counts: the first value; an explicit null before nothing at all."""
    if mine is not UNSET and mine is not None:
        return mine
    return mine if theirs is UNSET else theirs
