"""Flat Windows JSON straight into the matcher: an event is built only where a rule could match.

Of each line msgspec reads what says its kind, and the few fields that rest rules ask for; all else is skipped. A kind's
lines are sieved as they are (`sieve.py`): where the needles of a rule are found, that rule is asked. What is not plain
enough for that (another shape, odd types or escapes) is left to the caller: `match` says which lines.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
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
from soc.detect.engine.lines import Piece, Places, Text, grouped
from soc.detect.engine.sieve import SAMPLE, Sieve, needles_of
from soc.detect.engine.values import compare_fields
from soc.detect.pipelines import Names
from soc.event import Event
from soc.normalise.flatwindows import CHANNEL, ECHOES, EVENT_ID, LARGEST, MADE, PROVIDERS, keys_of, odd_key, text_of_number
from soc.normalise.logsources import log_sources

__all__ = ["Flat", "FlatFrame", "FlatMatcher"]

_MOST_ORIGINS: Final = 10_000
_AT_ONCE: Final = 24 << 20
"""Bytes of lines that are sieved together: the more, the fewer times a kind's scanner has to come into the cache."""
_MOST_OF_REST: Final = 8_192
"""Lines that rest rules are matched on at once."""
_HEADS: Final = {EVENT_ID: "number", CHANNEL: "channel", PROVIDERS[0]: "provider0", PROVIDERS[1]: "provider1"}
_PLAIN: Final = str | int | None | UnsetType
_HEAD: Final = msgspec.json.Decoder(msgspec.defstruct("Head", [
    (attribute, int, msgspec.field(name=key)) if key == EVENT_ID else (attribute, _PLAIN, msgspec.field(name=key, default=UNSET))
    for key, attribute in _HEADS.items()
], gc=False, frozen=True))
Head = Any
"""The few values of a record that say its kind: event id, channel, and the two places of the provider. Equal heads are one origin."""


@dataclass(slots=True)
class Flat:
    """What came of lines: hits (`row` is the line's place), those left to the caller by place, how many no parser takes."""

    hits: list[Hit]
    left: dict[int, bytes]
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
    """Matches lines against an engine's rules. Keeps what it learned of event ids and of the data between frames."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._origins = _Origins()
        self._plans: dict[int, _Plan] = {}
        self._sieves: dict[int, Sieve] = {}
        self._alone: dict[str, Alone] = {}

    def frame(self, parse: Callable[[list[bytes]], list[Event | None]]) -> FlatFrame:
        """Begin with lines that are matched together; `parse` gives a record's event, None where it is a dead letter. One frame at a time."""
        self._engine.forget_if_full()
        if len(self._origins) > _MOST_ORIGINS:
            self._origins, self._plans = _Origins(), {}
        return FlatFrame(self, parse)

    def origins(self, heads: Sequence[Head]) -> Places:
        """The number of each record's origin; 0 if it has none."""
        return np.fromiter(map(self._origins.__getitem__, heads), np.int64, len(heads))

    def plan(self, origin: int, piece: Piece) -> _Plan:
        """How lines of an origin are matched, of which `piece` are some."""
        if not origin:
            return _LEFT
        plan = self._plans.get(origin)
        if plan is not None and plan.sieve is not None:
            plan.sieve.learn()
        if plan is None or (plan.sieve is not None and plan.sieve.rest is not plan.rest):
            sample = list(map(piece.record, range(min(SAMPLE, len(piece.places)))))
            plan = self._plans[origin] = self._plan(sample, self._origins.heads[origin])
        return plan

    def is_unasked(self, origin: int) -> bool:
        """Whether it is known that no rule asks for lines of an origin."""
        plan = self._plans.get(origin)
        return plan is not None and plan.kind is None

    def of_rest(self, rest: _Rest) -> Iterator[Hit]:
        """The hits of the rest rules."""
        for hit in self._engine.match_rows(rest.kind, _Structs(rest.reader.sources, rest.records), None):
            yield Hit(hit.rule_id, rest.places[hit.row], hit.atoms)

    def asked(self, line: bytes, place: int, rules: list[PreparedRule]) -> list[Hit] | None:
        """The hits of rules by the line's own keys; None if only the parser can say what it means."""
        try:
            return self.judged(_LineLookup(orjson.loads(line)), place, rules)
        except (_NotPlainError, orjson.JSONDecodeError):
            return None

    def judged(self, event: Lookup, place: int, rules: list[PreparedRule]) -> list[Hit]:
        """The hits of rules on one event."""
        hits: list[Hit] = []
        for rule in rules:
            alone = self._alone.get(rule.rule_id)
            if alone is None:
                alone = self._alone[rule.rule_id] = Alone(rule, self._engine.atoms)
            atoms = alone.judge(event)
            if atoms is not None:
                hits.append(Hit(rule.rule_id, place, atoms))
        return hits

    def _plan(self, sample: Sequence[bytes], head: Head) -> _Plan:
        """The plan for lines of one origin, made anew where its kind's sieve was."""
        named = [one for one in (head.provider0, head.provider1) if isinstance(one, str)]
        if not isinstance(head.channel, str) or len(named) != 1 or None in (head.provider0, head.provider1):
            return _LEFT
        number = str(head.number)
        kind = self._engine.kind_of(log_sources().windows(head.channel, number, named[0]), number)
        if kind is None:
            return _Plan()
        sieve = self._sieves.get(id(kind))
        if sieve is None:
            sieve = self._sieves[id(kind)] = Sieve(
                kind, self._engine.atoms, sample, plain=self._is_plain, keys=_every_key, odd=_odd_keys, key=_first_key)
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


class FlatFrame:
    """Lines on their way through the matcher: those of an origin wait for one another until there are enough, or no more."""

    def __init__(self, matcher: FlatMatcher, parse: Callable[[list[bytes]], list[Event | None]]) -> None:
        self._matcher, self._parse = matcher, parse
        self._texts: list[Text] = []
        self._heads: list[Head] = []
        self._before = self._size = 0
        self._rests: dict[int, _Rest] = {}
        self._harder: list[tuple[int, bytes, list[PreparedRule]]] = []
        self._found = Flat([], {})

    def add(self, text: Text) -> None:
        """More lines."""
        self._texts.append(text)
        self._heads += _read_heads(text)
        self._size += len(text.text)
        if self._size >= _AT_ONCE:
            self._deal()

    def _deal(self) -> None:
        """Lay every line to those of its origin."""
        if not self._heads:
            return
        matcher = self._matcher
        origins = matcher.origins(self._heads)
        origins[np.concatenate([one.ends - one.starts for one in self._texts]) > LARGEST] = 0
        for origin, piece in grouped(self._texts, origins):
            if not matcher.is_unasked(origin):
                self._sift(origin, piece())
        self._before += len(self._heads)
        self._texts, self._heads, self._size = [], [], 0

    @property
    def left(self) -> int:
        """How many lines are left to the caller so far."""
        return len(self._found.left)

    def finish(self) -> Flat:
        """What came of all lines."""
        self._deal()
        for rest in self._rests.values():
            self._found.hits += self._matcher.of_rest(rest)
        if self._harder:
            for (place, _, rules), event in zip(self._harder, self._parse([line for _, line, _ in self._harder]), strict=True):
                if event is None:
                    self._found.dead += 1
                else:
                    self._found.hits += self._matcher.judged(EventLookup(event), place, rules)
        return self._found

    def _sift(self, origin: int, piece: Piece) -> None:
        """Match lines of one origin."""
        plan = self._matcher.plan(origin, piece)
        if plan.kind is None:
            return
        if plan.sieve is None:
            self._leave(piece, range(len(piece.places)))
            return
        candidates, left = plan.sieve.sift(piece)
        if plan.reader is not None and plan.rest is not None:
            rest = self._rests.get(origin)
            if rest is None or rest.reader is not plan.reader or len(rest.places) >= _MOST_OF_REST:
                if rest is not None:
                    self._found.hits += self._matcher.of_rest(rest)
                rest = self._rests[origin] = _Rest(plan.rest, plan.reader)
            left = left | rest.add(piece, left, self._before)
        self._leave(piece, left)
        for at, rules in candidates.items():
            if at not in left:
                line, place = piece.record(at), self._before + int(piece.places[at])
                hits = self._matcher.asked(line, place, rules)
                if hits is None:
                    self._harder.append((place, line, rules))
                else:
                    self._found.hits += hits

    def _leave(self, piece: Piece, left: Iterable[int]) -> None:
        for at in left:
            self._found.left[self._before + int(piece.places[at])] = piece.record(at)


class _Origins(dict[Head, int]):
    """A number for each origin met so far; 0 where there is no head."""

    def __init__(self) -> None:
        super().__init__({None: 0})
        self.heads: list[Head] = [None]

    def __missing__(self, head: Head) -> int:
        number = self[head] = len(self.heads)
        self.heads.append(head)
        return number


@functools.cache
def _every_key(names: Names) -> list[str]:
    """The keys under which a rule's field may stand."""
    return [spelled for _, keys in _sources(names) or () for key in keys for spelled in (key, odd_key(key)) if spelled]


def _odd_keys(names: Names) -> list[str]:
    return [odd for _, keys in _sources(names) or () for key in keys if (odd := odd_key(key))]


def _first_key(names: Names) -> str | None:
    """The key whose text, where it is there, is the value of a rule's field; None if there may be several."""
    sources = [keys for _, keys in _sources(names) or () if keys]
    return sources[0][0] if sources and len(sources[0]) == 1 else None


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


def _read_heads(text: Text) -> Sequence[Head]:
    """What says the kind of each record; None if it is none we know. They are read together, if they can be."""
    try:
        heads: list[Head] = _HEAD.decode_lines(text.text) if text.is_tidy else []
    except (msgspec.MsgspecError, UnicodeDecodeError):
        heads = []
    return heads if len(heads) == len(text) else list(map(_head, text))


def _head(line: memoryview) -> Head:
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
        self._decoder = msgspec.json.Decoder(msgspec.defstruct("Line", fields, gc=False, eq=False))

    def read(self, piece: Piece) -> tuple[list[Any], set[int]]:
        """The structs, and the places in the piece of lines that have none: odd types, or one field under two names."""
        refused: set[int] = set()
        try:
            records = self._decoder.decode_lines(piece.text)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            records = []
            for at in range(len(piece.places)):
                try:
                    records.append(self._decoder.decode(piece.record(at)))
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    refused.add(at)
        if self._seldom and (clashing := self._clashing(records)):
            read = [at for at in range(len(piece.places)) if at not in refused]
            refused.update(read[at] for at in clashing)
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


class _Rest:
    """Lines of one origin as the rest rules are to see them: `records` as they were read, with their places among all."""

    def __init__(self, kind: Kind, reader: _Reader) -> None:
        self.kind, self.reader = kind, reader
        self.records: list[Any] = []
        self.places: list[int] = []

    def add(self, piece: Piece, unclear: Set[int], before: int) -> Set[int]:
        """Read a piece but for `unclear`; its places count on from `before`. Returns the places in it of lines that cannot be read so."""
        records, refused = self.reader.read(piece)
        places = (piece.places + before).tolist()
        if unclear or refused:
            read = [at for at in range(len(places)) if at not in refused]
            kept = [(record, places[at]) for record, at in zip(records, read, strict=True) if at not in unclear]
            self.records += [record for record, _ in kept]
            self.places += [place for _, place in kept]
        else:
            self.records += records
            self.places += places
        return refused


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
