"""What a search means once it is read: frozen clauses that every store evaluates alike."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "EVERYTHING", "FREE_TEXT", "TEXT_FIELDS", "Addresses", "And", "Between", "Clause", "Everything", "Exists", "Identity",
    "Not", "Or", "Pattern", "Phrase", "Query", "Term", "Wild", "leaves",
]

FREE_TEXT = ("message", "event.original")
"""Where words without a field are looked for; the token index covers exactly these."""

TEXT_FIELDS = frozenset(FREE_TEXT)
"""Fields that hold prose: their values are looked for as words inside the text, not compared whole."""


class Wild(Enum):
    """A wildcard inside a pattern."""

    MANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Literal stretches and wildcards in order; no two neighbours are both literal or both MANY."""

    parts: tuple[str | Wild, ...]

    @property
    def literal(self) -> str | None:
        """The text, if there is no wildcard in it."""
        if not self.parts:
            return ""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], str) else None


@dataclass(frozen=True, slots=True)
class Everything:
    """Every event."""


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there."""

    field: str


@dataclass(frozen=True, slots=True)
class Term:
    """One of the field's values is, as a whole, this pattern (case and spelling apart)."""

    field: str
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Phrase:
    """One of the fields' folded texts holds these words, one behind the other."""

    fields: tuple[str, ...]
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Between:
    """One of a numeric field's or a date's values lies in [low, high]; None is open. Dates in microseconds."""

    field: str
    low: int | float | None
    high: int | float | None


@dataclass(frozen=True, slots=True)
class Addresses:
    """One of an address field's values lies in [low, high], as integers of IP version 4 or 6.

    `prefix` is the network's length for a CIDR (else None).
    """

    field: str
    version: int
    low: int
    high: int
    prefix: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """The event of this id: read time in milliseconds, stream hash, ordinal, sub-index."""

    read_ms: int
    stream_hash: str
    n: int
    sub: int


@dataclass(frozen=True, slots=True)
class Not:
    """What the clause does not match, events without its field included."""

    clause: Clause


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them."""

    clauses: tuple[Clause, ...]


Clause = Everything | Exists | Term | Phrase | Between | Addresses | Identity | Not | And | Or

EVERYTHING = Everything()


@dataclass(frozen=True, slots=True)
class Query:
    """A search that was read: its text and its meaning."""

    text: str
    root: Clause


def leaves(clause: Clause) -> Iterator[Clause]:
    """Every clause without clauses in it, in order."""
    if isinstance(clause, And | Or):
        for inner in clause.clauses:
            yield from leaves(inner)
    elif isinstance(clause, Not):
        yield from leaves(clause.clause)
    else:
        yield clause
