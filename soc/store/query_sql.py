"""A search as a DuckDB condition over the columns that a file has: only names that exist, only bound values.

Must agree with `soc.store.reference` on every event; a property test holds them together.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from soc.ecs import kind_of
from soc.store.columns import KV
from soc.store.fold import SUFFIX, words
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
    Term,
    Wild,
    leaves,
)
from soc.store.reference import phrase_source, spellings

__all__ = ["FALSE", "TRUE", "Condition", "condition", "needed", "quoted"]

TRUE, FALSE = "TRUE", "FALSE"

_ASCII_GAP, _ASCII_START, _ASCII_END = "[^a-z0-9_]+", "(?:^|[^a-z0-9_])", "(?:$|[^a-z0-9_])"
"""Holds every gap between words, and letters beyond ASCII."""
_GAP, _START, _END = r"[^\pL\pN_]+", r"(?:^|[^\pL\pN_])", r"(?:$|[^\pL\pN_])"
_WHOLE_NUMBER = "-?[0-9]{1,18}"


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL that is TRUE, FALSE or an expression, and the values bound to its question marks, in order."""

    sql: str
    values: list[object] = field(default_factory=list)


def quoted(name: str) -> str:
    """A column's name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def needed(clause: Clause) -> set[str]:
    """Every column that could bear on a clause, whether a file has it or not."""
    found: set[str] = set()
    for leaf in leaves(clause):
        if isinstance(leaf, Identity):
            found |= {"event.created", "soc.stream_hash", "soc.n", "soc.sub"}
        elif isinstance(leaf, Phrase):
            for name in leaf.fields:
                found |= {name, name + "[]", name + SUFFIX, name + SUFFIX + "[]", KV}
        elif not isinstance(leaf, Everything | And | Or | Not):
            found |= {leaf.field, leaf.field + "[]", KV}
            if isinstance(leaf, Term):
                found |= {leaf.field + SUFFIX, leaf.field + SUFFIX + "[]"}
    return found


def condition(clause: Clause, columns: Mapping[str, str]) -> Condition:
    """The condition of a clause over a file with these columns (name -> SQL; `kv` as a list of key and value).

    What no column of the file can meet is FALSE without looking at it.
    """
    return _Compiler(columns).of(clause)


class _Compiler:
    def __init__(self, columns: Mapping[str, str]) -> None:
        self._columns = columns

    def of(self, clause: Clause) -> Condition:
        match clause:
            case Everything():
                return Condition(TRUE)
            case And(clauses):
                return _joined("AND", [self.of(inner) for inner in clauses], TRUE, FALSE)
            case Or(clauses):
                return _joined("OR", [self.of(inner) for inner in clauses], FALSE, TRUE)
            case Not(inner):
                made = self.of(inner)
                if made.sql in (TRUE, FALSE):
                    return Condition(FALSE if made.sql == TRUE else TRUE)
                return Condition(f"(({made.sql}) IS NOT TRUE)", made.values)
            case Exists(name):
                return self._exists(name)
            case Term(name, pattern):
                return self._term(name, pattern)
            case Phrase(names, pattern):
                return _joined("OR", [self._phrase(name, pattern) for name in names], FALSE, TRUE)
            case Between(name, low, high):
                return self._between(name, low, high)
            case Addresses():
                return self._each(clause.field, lambda value: _addresses(clause, value), text=True)
            case Identity(read_ms, digest, n, sub):
                return self._identity(read_ms, digest, n, sub)

    def _identity(self, read_ms: int, digest: str, n: int, sub: int) -> Condition:
        has = self._columns
        if not {"event.created", "soc.stream_hash", "soc.n"} <= has.keys() or (sub and "soc.sub" not in has):
            return Condition(FALSE)
        created = has["event.created"]
        sql = (f"{created} >= make_timestamptz(CAST(? AS BIGINT)) AND {created} <= make_timestamptz(CAST(? AS BIGINT))"
               f" AND {has['soc.stream_hash']} = ? AND {has['soc.n']} = ?")
        values: list[object] = [read_ms * 1000, read_ms * 1000 + 999, digest, n]
        if "soc.sub" in has:
            sql += f" AND coalesce({has['soc.sub']}, 0) = ?"
            values.append(sub)
        return Condition(f"({sql})", values)

    def _exists(self, name: str) -> Condition:
        parts = [f"{self._columns[column]} IS NOT NULL" for column in (name, name + "[]") if column in self._columns]
        values: list[object] = []
        if KV in self._columns and kind_of(name) == "keyword":
            parts.append(f"len(list_filter({self._columns[KV]}, lambda entry: entry.key = ?)) > 0")
            values.append(name)
        return Condition(f"({' OR '.join(parts)})", values) if parts else Condition(FALSE)

    def _term(self, name: str, pattern: Pattern) -> Condition:
        tests = spellings(pattern)

        def test(value: str) -> Condition:
            return _joined("OR", [_glob(one, f"lower({value})") for one in tests], FALSE, TRUE)

        return _joined("OR", [self._each(name, test, text=True), self._each(name + SUFFIX, test, text=True)], FALSE, TRUE)

    def _phrase(self, name: str, pattern: Pattern) -> Condition:
        """The folded twin where the event has one, else the text itself in lower case."""
        def test(value: str) -> Condition:
            return _phrase(pattern, value)

        have = self._columns
        twin_column = name + SUFFIX
        if twin_column in have and not have.keys() & {KV, name + "[]", twin_column + "[]"}:
            return test(f"coalesce({have[twin_column]}, {have[name]})" if name in have else have[twin_column])
        twin, plain = self._each(name + SUFFIX, test, text=True), self._each(name, test, text=True)
        if twin.sql == FALSE:
            return plain
        here = self._exists(name + SUFFIX)
        return Condition(f"(({twin.sql}) OR ({here.sql} IS NOT TRUE AND ({plain.sql})))", [*twin.values, *here.values, *plain.values])

    def _between(self, name: str, low: float | None, high: float | None) -> Condition:
        kind = kind_of(name)
        found: list[Condition] = []
        if name in self._columns:
            column = self._columns[name]
            bounds = [(sign, bound) for sign, bound in ((">=", low), ("<=", high)) if bound is not None]
            if kind == "date":
                bounds = [(sign, min(max(int(bound), -(2**62)), 2**62)) for sign, bound in bounds]
                tests = [f"{column} {sign} make_timestamptz(CAST(? AS BIGINT))" for sign, _ in bounds]
            else:
                tests = [f"{column} {sign} ?" for sign, _ in bounds]
            found.append(Condition(f"({' AND '.join(tests)})", [bound for _, bound in bounds]) if tests else Condition(FALSE))
        listed = name + "[]"
        if listed in self._columns:
            def test(value: str) -> Condition:
                number = f"TRY_CAST(CASE WHEN regexp_full_match({value}, '{_WHOLE_NUMBER}') THEN {value} END AS BIGINT)"
                ends = [(f"{number} {sign} ?", bound) for sign, bound in ((">=", low), ("<=", high)) if bound is not None]
                return Condition("(" + " AND ".join(sql for sql, _ in ends) + ")", [bound for _, bound in ends])
            found.append(_in_list(self._columns[listed], test))
        return _joined("OR", found, FALSE, TRUE)

    def _each(self, name: str, test: Callable[[str], Condition], *, text: bool) -> Condition:
        """`test` on any value of a field, wherever a file may hold it."""
        found: list[Condition] = []
        if name in self._columns:
            kind = kind_of(name)
            column = self._columns[name]
            if kind == "date":
                column = f"epoch_us({column})"
            found.append(test(column if kind in ("keyword", "ip") or not text else f"CAST({column} AS VARCHAR)"))
        if name + "[]" in self._columns:
            found.append(_in_list(self._columns[name + "[]"], test))
        if KV in self._columns and kind_of(name) == "keyword":
            made = test("entry.value")
            if made.sql != FALSE:
                named = f"list_filter({self._columns[KV]}, lambda entry: entry.key = ?)"  # first by name alone: twice as fast
                found.append(Condition(f"(len(list_filter({named}, lambda entry: {made.sql})) > 0)", [name, *made.values]))
        return _joined("OR", found, FALSE, TRUE)


def _in_list(column: str, test: Callable[[str], Condition]) -> Condition:
    made = test("item")
    if made.sql in (TRUE, FALSE):
        return Condition(FALSE) if made.sql == FALSE else Condition(f"len({column}) > 0")
    return Condition(f"(len(list_filter({column}, lambda item: {made.sql})) > 0)", made.values)


def _joined(word: str, parts: list[Condition], neutral: str, absorbing: str) -> Condition:
    kept = [part for part in parts if part.sql != neutral]
    if any(part.sql == absorbing for part in kept):
        return Condition(absorbing)
    if not kept:
        return Condition(neutral)
    if len(kept) == 1:
        return kept[0]
    return Condition("(" + f" {word} ".join(part.sql for part in kept) + ")", [value for part in kept for value in part.values])


def _glob(pattern: Pattern, text: str) -> Condition:
    """A whole value against a pattern that is in lower case already."""
    parts = pattern.parts
    literals = [part for part in parts if isinstance(part, str)]
    shape = "".join("a" if isinstance(part, str) else part.value for part in parts)
    if shape in ("", "a"):
        return Condition(f"{text} = ?", [literals[0] if literals else ""])
    if shape in _SIMPLE:
        return Condition(_SIMPLE[shape].format(text), [literals[0]])
    like = "".join(_LIKE[part] if isinstance(part, Wild) else re.sub(r"([%_\\])", r"\\\1", part) for part in parts)
    return Condition(f"{text} LIKE ? ESCAPE '\\'", [like])


_SIMPLE = {"a*": "starts_with({}, ?)", "*a": "ends_with({}, ?)", "*a*": "contains({}, ?)"}
_LIKE = {Wild.MANY: "%", Wild.ONE: "_"}


def _phrase(pattern: Pattern, value: str) -> Condition:
    """Words inside a text, whatever their case.

    The exact test costs up to 10 ns a byte; before it a cheap one finds the few texts that hold the words in that order, at 1 ns a byte,
    and of those the ones of ASCII alone are tested for ASCII words, at 1 ns a byte as well.
    """
    literals = [part for part in pattern.parts if isinstance(part, str)]
    found = [words(part) for part in literals]
    text = f"lower({value})"
    if literals and not any(found) and len(pattern.parts) == 1:
        return Condition(f"contains({text}, ?)", [literals[0]])
    exact = Condition(f"regexp_matches({text}, ?, 's')", [phrase_source(pattern, _GAP, _START, _END)])
    if all(map(str.isascii, literals)):
        plain = "(?is)" + phrase_source(pattern, _ASCII_GAP, _ASCII_START, _ASCII_END)
        exact = Condition(f"CASE WHEN strlen({value}) = length({value}) THEN regexp_matches({value}, ?) ELSE {exact.sql} END", [plain, *exact.values])
    before = [Condition(f"regexp_matches({value}, ?)", ["(?i)" + _ASCII_GAP.join(some)]) for some in found if some and all(map(str.isascii, some))]
    if not before and any(found):
        before = [Condition(f"contains({text}, ?)", [max((word for some in found for word in some), key=len)])]
    return _joined("AND", [*before, exact], TRUE, FALSE)


def _addresses(wanted: Addresses, value: str) -> Condition:
    """An address in its canonical form lies in a range. Lists hold text as it came, so its form is checked there."""
    if wanted.version == 4:
        return _addresses4(wanted, value)
    bare = f"split_part({value}, '%', 1)"
    digits = f"array_to_string(list_transform({_groups(bare)}, lambda g: lpad(g, 4, '0')), '')"
    sql = f"(contains({bare}, ':') AND regexp_full_match({bare}, '[0-9a-f:]+') AND length({digits}) = 32 AND {digits} BETWEEN ? AND ?)"
    return Condition(sql, [f"{wanted.low:032x}", f"{wanted.high:032x}"])


def _groups(bare: str) -> str:
    """SQL: the eight groups of an IPv6 address, the run of zeros that "::" stands for filled in."""
    left, right = (f"list_filter(string_split(split_part({bare}, '::', {side}), ':'), lambda g: g <> '')" for side in (1, 2))
    filled = f"list_resize(['0'], greatest(8 - len({left}) - len({right}), 0), '0')"
    return f"(CASE WHEN contains({bare}, '::') THEN list_concat(list_concat({left}, {filled}), {right}) ELSE string_split({bare}, ':') END)"


def _addresses4(wanted: Addresses, value: str) -> Condition:
    octets = [(wanted.low >> shift & 255, wanted.high >> shift & 255) for shift in (24, 16, 8, 0)]
    same = 0
    while same < 4 and octets[same][0] == octets[same][1]:
        same += 1
    if same == 4:
        return Condition(f"{value} = ?", [".".join(str(low) for low, _ in octets)])
    head = "".join(f"{low}." for low, _ in octets[:same])
    tests = [r"regexp_full_match(item, '\d{1,3}(\.\d{1,3}){3}')"] if value == "item" else []
    tests += [f"starts_with({value}, ?)"] if head else [f"contains({value}, '.') AND NOT contains({value}, ':')"]
    values: list[object] = [head] if head else []
    tail_is_whole = all(low == 0 and high == 255 for low, high in octets[same + 1:])
    if octets[same] != (0, 255) or not tail_is_whole:
        if tail_is_whole:
            tests.append(f"TRY_CAST(split_part({value}, '.', {same + 1}) AS INTEGER) BETWEEN ? AND ?")
            values += octets[same]
        else:
            number = " + ".join(f"TRY_CAST(split_part({value}, '.', {i + 1}) AS BIGINT) * {256 ** (3 - i)}" for i in range(4))
            tests.append(f"({number}) BETWEEN ? AND ?")
            values += [wanted.low, wanted.high]
    return Condition(f"({' AND '.join(tests)})", values)
