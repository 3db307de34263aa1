"""What a search means, said as plainly as possible: slow, obviously right, and the truth for every store."""
from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address

from soc.event import UNASSIGNED, Event, Scope
from soc.store.eventstore import TimeRange
from soc.store.fold import SUFFIX, fold, lower, words
from soc.store.query_tree import (
    Addresses,
    And,
    Between,
    Clause,
    Everything,
    Exists,
    Identity,
    Not,
    Or,
    Pattern,
    Phrase,
    Query,
    Term,
    Wild,
)

__all__ = ["matches", "text_of", "texts_of", "visible"]

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def matches(query: Query, event: Event) -> bool:
    """Whether an event (as its store keeps it, `.folded` twins included) is what the search looks for."""
    return _holds(query.root, event)


def visible(event: Event, scope: Scope, within: TimeRange) -> bool:
    """Whether an event lies in the scope and the time range."""
    host = event.get("host.name")
    if not scope.allows(str(event.get("organization.id", UNASSIGNED)), host if isinstance(host, str) else None):
        return False
    at = event.get("@timestamp", 0)
    assert isinstance(at, int)
    return (within.start is None or at >= within.start) and (within.end is None or at < within.end)


def texts_of(event: Event, field: str) -> list[str]:
    """A field's values as text, none if it is absent."""
    value = event.get(field)
    if value is None:
        return []
    return [text_of(one) for one in value] if isinstance(value, list) else [text_of(value)]


def text_of(value: str | int | float | bool) -> str:
    """One value as searches see it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _holds(clause: Clause, event: Event) -> bool:
    match clause:
        case Everything():
            return True
        case And(clauses):
            return all(_holds(inner, event) for inner in clauses)
        case Or(clauses):
            return any(_holds(inner, event) for inner in clauses)
        case Not(inner):
            return not _holds(inner, event)
        case Exists(field):
            return field in event
        case Term(field, pattern):
            forms = [lower(text) for text in texts_of(event, field) + texts_of(event, field + SUFFIX)]
            return any(_glob(spelling).fullmatch(form) for form in forms for spelling in spellings(pattern))
        case Phrase(fields, pattern):
            return any(phrase(pattern).search(text) for field in fields for text in _folded(event, field))
        case Between(field, low, high):
            return any((low is None or number >= low) and (high is None or number <= high) for number in _numbers(event, field))
        case Addresses(field, version, lowest, highest, _):
            return any(kind == version and lowest <= number <= highest for kind, number in _addresses(event, field))
        case Identity(read_ms, digest, n, sub):
            created = event.get("event.created", 0)
            return (isinstance(created, int) and created // 1000 == read_ms and event.get("soc.stream_hash") == digest
                    and event.get("soc.n") == n and event.get("soc.sub", 0) == sub)


def spellings(pattern: Pattern) -> tuple[Pattern, ...]:
    """A pattern in lower case and, if that is another, folded: either may be what an event holds."""
    plain = Pattern(tuple(p if isinstance(p, Wild) else lower(p) for p in pattern.parts))
    folded = Pattern(tuple(p if isinstance(p, Wild) else fold(p) for p in pattern.parts))
    return (plain,) if plain == folded else (plain, folded)


@lru_cache(512)
def _glob(pattern: Pattern) -> re.Pattern[str]:
    return re.compile("".join(_WILD[p] if isinstance(p, Wild) else re.escape(p) for p in pattern.parts), re.DOTALL)


_WILD = {Wild.MANY: ".*", Wild.ONE: "."}


@lru_cache(512)
def phrase(pattern: Pattern) -> re.Pattern[str]:
    """A folded pattern as a search inside text: whole words, anything but letters and digits between them.

    A wildcard at an end lets the word go on there.
    """
    if len(pattern.parts) == 1 and isinstance(pattern.parts[0], str) and not words(pattern.parts[0]):
        return re.compile(re.escape(pattern.parts[0]))
    return re.compile(phrase_source(pattern, r"\W+", r"(?:^|\W)", r"(?:\W|$)"), re.DOTALL)


def phrase_source(pattern: Pattern, gap: str, start: str, end: str) -> str:
    """The regular expression of a phrase, with the given ways to say gap, start and end of a word."""
    parts = list(pattern.parts)
    source = start if parts and isinstance(parts[0], str) and words(parts[0]) else ""
    for number, part in enumerate(parts):
        if isinstance(part, Wild):
            source += _WILD[part]
            continue
        found = words(part)
        lead, tail = number > 0, number < len(parts) - 1
        if not found:
            source += re.escape(part)
            continue
        if lead and not part.startswith(found[0]):
            source += gap
        source += gap.join(re.escape(word) for word in found)
        if tail and not part.endswith(found[-1]):
            source += gap
    closed = parts and isinstance(parts[-1], str) and words(parts[-1])
    return source + (end if closed else "")


def _folded(event: Event, field: str) -> list[str]:
    """A text field's folded texts: its twin where there is one, else its values in lower case."""
    return [lower(text) for text in (texts_of(event, field + SUFFIX) or texts_of(event, field))]


def _numbers(event: Event, field: str) -> list[int | float]:
    value = event.get(field)
    values = value if isinstance(value, list) else [] if value is None else [value]
    numbers: list[int | float] = []
    for one in values:
        if isinstance(one, int | float) and not isinstance(one, bool):
            numbers.append(one)
        elif isinstance(one, str) and _WHOLE_NUMBER.fullmatch(one):
            numbers.append(int(one))
    return numbers


def _addresses(event: Event, field: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for text in texts_of(event, field):
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            continue
        found.append((address.version, int(address)))
    return found
