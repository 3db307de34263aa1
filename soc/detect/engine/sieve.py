"""Which raw records of a kind which rules could match: by texts that a record must hold, found in one scan.

A rule that holds needs some of its tests to be true, and most tests need a text in the record: its *needles*. Of a rule's
sets of needles (one of each set must be there) the rarest is scanned for, the others are looked at where it is found. How
rare a needle is shows in the data: sieves are made anew as it becomes known. Rules without rare needles are the *rest*:
they are matched the ordinary way.
"""
from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import ahocorasick_rs
import numpy as np

from soc.detect.compiled import AtomSpec
from soc.detect.engine.atoms import Atoms, PreparedRule
from soc.detect.engine.excuses import Excuse, Grounds, excuses_of
from soc.detect.engine.kind import Kind
from soc.detect.engine.lines import Piece
from soc.detect.engine.needles import needle_sets
from soc.detect.engine.scan import FOLDING_TO_ASCII, LONGEST, ODD_ESCAPES, Scanner, is_escaped
from soc.detect.engine.tree import ALWAYS, Node
from soc.detect.engine.values import glob_parts
from soc.detect.pipelines import Names
from soc.normalise.flatwindows import NESTED

__all__ = ["SAMPLE", "Sieve", "anchored_needles", "needles_of"]

SAMPLE: Final = 200
"""Records of a kind that its sieve is first made from."""
_COMMON: Final = 0.05
"""Share of records in which a rule's needles may be found for it to be worth looking at them one by one."""
_AS_A_REST: Final = 0.2
_WORTHWHILE: Final = 0.5
"""Share of records that an excuse is to speak for."""
_FEW: Final = 6
"""Needles of a set that is looked at where another one of the rule's was found: larger sets cost more than asking the rule."""
_MOST_PATTERNS: Final = 1_000_000
_LOOK_AGAIN: Final = (2_000, 10_000, 100_000)
"""Records after each of which, the last again and again, a kind's sieve is made anew from what was found since the last time."""
_LOUD: Final = 1_000
"""Findings of a needle at which the sieve is made anew sooner, if it was taken for rare and is not."""
_SHORTEST: Final = 2
"""Bytes of a needle."""
_ANCHORED: Final = frozenset({"is", "startswith", "endswith"})
_SPACES: Final = tuple(sign for space in " \t\r\n" for sign in (f'":{space}', f'"{space}:'))
"""What stands where a key and its value have a space between them (or in a text with quotes)."""
_SPACED: Final = re.compile(rb'[^\\](?:\\\\)*"(?:\s+:|:\s)')
_BARE: Final = "-+.0123456789truefalsn"
"""What numbers, truth values and null are written with."""


@dataclass(frozen=True, slots=True)
class _Sifted:
    """A rule with its sets of needles: the one that is scanned for is not among `others`."""

    rule: PreparedRule
    others: tuple[tuple[bytes, ...], ...]
    excuse: Excuse | None


class Sieve:
    """The sieve of one kind."""

    def __init__(self, kind: Kind, atoms: Atoms, sample: Sequence[bytes], *, plain: Callable[[int], bool],
                 keys: Callable[[Names], Sequence[str]], odd: Callable[[Names], Iterable[str]], key: Callable[[Names], str | None]) -> None:
        """`sample` are a few records of the kind, for a first idea of what is common. Raises RuntimeError where nothing can be scanned with.

        `plain` says of an atom whether the parser copies what it tests as it is; `keys` gives all keys under which a field's
        value may stand, `odd` those of them that records seldom have, `key` the one whose text is the value wherever it is there.
        """
        self._kind, self._atoms, self._plain, self._keys, self._odd, self._key = kind, atoms, plain, keys, odd, key
        self._packed = bool(sample) and not any(map(_is_spaced, sample))
        """Whether keys stand beside their values without spaces, so that a needle may hold both: other records are unclear."""
        self._shares: dict[str, float] = {}
        self._seen = 0
        self._counts: dict[str, int] = {}
        self._sample: list[bytes] = []
        """A few records for the next time it is made: there are some once it is due."""
        self._due = list(_LOOK_AGAIN)
        self._is_loud = False
        self._choice: object = None
        self._sets: dict[str, list[frozenset[str]]] = {}
        self._by_atom = {atom: self._needles(atom) for tree in kind.trees for atom in set(tree.every_atom())}
        self._excuses: dict[str, list[Excuse]] = {}
        self._excused: dict[str, Excuse] = {}
        """The excuse that is tried, by rule."""
        self._try(sample)
        self._make(sample)

    def _try(self, sample: Sequence[bytes]) -> None:
        """Count every needle there is in a few records."""
        texts = list({text for sets in self._by_atom.values() for one in sets for text in one})
        if not texts or not sample:
            return
        automaton = ahocorasick_rs.BytesAhoCorasick([text.encode() for text in texts])
        counts = [0] * len(texts)
        for record in sample:
            for number in {found[0] for found in automaton.find_matches_as_indexes(record.lower(), overlapping=True)}:
                counts[number] += 1
        self._shares |= {text: count / len(sample) for text, count in zip(texts, counts, strict=True)}

    def _make(self, sample: Sequence[bytes]) -> None:
        for rule, tree in zip(self._kind.rules, self._kind.trees, strict=True):
            known = self._sets.get(rule.rule_id)
            if known is None or (known and min(map(self._share, known)) > _COMMON):
                self._sets[rule.rule_id] = self._needed(tree)
        rest, sieved = self._split(sample)
        choice = [rule.order for rule in rest], [sets[:1] for _, sets in sieved], [self._excused.get(rule.rule_id) for rule, _ in sieved]
        if choice == self._choice:
            return
        self._choice = choice
        owners: dict[str, list[_Sifted]] = {}
        self._everywhere: list[_Sifted] = []
        """Those without needles, of which most records are excused."""
        for rule, sets in sieved:
            others = [one for one in sets[1:] if len(one) <= _FEW][:2]
            sifted = _Sifted(rule, tuple(tuple(needle.encode() for needle in sorted(one)) for one in others), self._excused.get(rule.rule_id))
            if not sets:
                self._everywhere.append(sifted)
            for needle in sets[0] if sets else ():
                owners.setdefault(needle, []).append(sifted)
        self.rest = Kind(rest, self._atoms, self._kind.known) if rest else None
        """The rules that no needle speaks for."""
        self._texts = list(owners)
        self._owners = list(owners.values())
        excused = [one.excuse for sifted in (*owners.values(), self._everywhere) for one in sifted]
        self._signs = tuple(sorted({excuse.sign for excuse in excused if excuse is not None}))
        self._exact = (*self._unclear([rule for rule, _ in sieved]), *FOLDING_TO_ASCII, *ODD_ESCAPES)
        self._scanner = _scanner(tuple(self._texts), self._exact + self._signs)

    def _unclear(self, sieved: Sequence[PreparedRule]) -> Sequence[str]:
        """What stands in records whose bytes are not their values: odd keys, objects, spaces or lists where needles hold keys."""
        read = set(self.rest.matching.asked()) if self.rest is not None else set()
        for rule in sieved:
            if rule.rule_id in self._excused:
                read.update(self._atoms.names[atom] for atom in rule.atoms if self._atoms.specs[atom].field)
        found = {f'"{key}"' for names in read for key in self._odd(names)}
        found.update(f'"{key}":' if self._packed else f'"{key}"' for key in NESTED)
        if self._packed:
            found.update(_SPACES)
            named = {self._atoms.names[atom] for rule in sieved for atom in rule.atoms if self._anchors(atom)}
            found.update(f'"{key}":{sign}' for names in named for key in self._keys(names) for sign in "[{")
        return sorted(found)

    def _split(self, sample: Sequence[bytes]) -> tuple[list[PreparedRule], list[tuple[PreparedRule, list[frozenset[str]]]]]:
        """The rest, and the rules that are sieved, each with its sets of needles, the rarest first.

        Having a rest at all costs a second reading of every record, as much as asking rules of a fifth of them.
        """
        rest: list[PreparedRule] = []
        common: list[tuple[PreparedRule, list[frozenset[str]]]] = []
        sieved: list[tuple[PreparedRule, list[frozenset[str]]]] = []
        asked = 0.0
        for rule, tree in zip(self._kind.rules, self._kind.trees, strict=True):
            sets = sorted(self._sets.get(rule.rule_id, ()), key=self._share)
            share = self._share(sets[0]) if sets else 1.0
            worthwhile = sets and (share <= _COMMON or self._has_keywords(rule))
            self._excused.pop(rule.rule_id, None)
            excused = None if worthwhile else self._excuse(rule, tree, sample)
            if worthwhile:
                sieved.append((rule, sets))
            elif excused is not None and excused <= _COMMON:
                sieved.append((rule, []))
            elif excused is not None and share * excused <= _AS_A_REST:
                common.append((rule, sets))
                asked += share * excused
            elif sets:
                common.append((rule, sets))
                asked += share
            else:
                rest.append(rule)
        if rest or asked > _AS_A_REST:
            return rest + [rule for rule, _ in common], sieved
        return [], sieved + common

    def _excuse(self, rule: PreparedRule, tree: Node, sample: Sequence[bytes]) -> float | None:
        """Choose what excuses most records of a rule. Returns the share of them left to ask it of; None if nothing excuses one in two."""
        if not self._packed:
            return None
        if rule.rule_id not in self._excuses:
            self._excuses[rule.rule_id] = excuses_of(tree, self._atoms, self._plain, self._key)
        able = [one.tried(sample) for one in self._excuses[rule.rule_id]]
        share, best = max(able, key=lambda one: one[0], default=(0.0, None))
        if best is None or share < _WORTHWHILE:
            return None
        self._excused[rule.rule_id] = best
        return 1 - share

    def _has_keywords(self, rule: PreparedRule) -> bool:
        """Such a rule is sieved whatever it costs: matching keywords the ordinary way takes every field of every record."""
        return any(not self._atoms.specs[atom].field for atom in rule.atoms)

    def sift(self, piece: Piece) -> tuple[dict[int, list[PreparedRule]], set[int]]:
        """By place in the piece the rules that a record could match, and the places whose escapes or characters need the parser."""
        self._seen += len(piece.places)
        if not self._sample and (self._seen >= self._due[0] or self._is_loud):
            self._sample = list(map(piece.record, range(min(SAMPLE, len(piece.places)))))
        found = self._scanner.found(piece.text)
        candidates: dict[int, list[PreparedRule]] = {}
        if not found and not self._everywhere:
            return candidates, set()
        numbers, ends = np.array(found, np.int64).reshape(-1, 2).T
        places = np.searchsorted(piece.borders, ends)
        signs = len(self._texts) + len(self._exact)
        grounds = None
        if self._signs:
            is_sign = numbers >= signs
            grounds = Grounds(piece, self._signs, numbers[is_sign] - signs, places[is_sign], ends[is_sign])
            for sifted in self._everywhere:
                assert sifted.excuse is not None
                for place in grounds.others(sifted.excuse):
                    candidates.setdefault(place, []).append(sifted.rule)
            numbers, ends, places = numbers[~is_sign], ends[~is_sign], places[~is_sign]
        is_escape = numbers >= signs - len(ODD_ESCAPES)
        odd = _escaped(piece, places[is_escape].tolist(), ends[is_escape].tolist())
        lowered: tuple[int, bytes] = (-1, b"")
        for pair in np.unique((places * _MOST_PATTERNS + numbers)[~is_escape]).tolist():
            place, number = divmod(pair, _MOST_PATTERNS)
            if number >= len(self._texts):
                if self._exact[number - len(self._texts)] not in _SPACES or _SPACED.search(piece.record(place)) is not None:
                    odd.add(place)
                continue
            self._count(self._texts[number])
            for sifted in self._owners[number]:
                if sifted.others and place != lowered[0]:
                    lowered = place, piece.record(place).lower()
                if ((not sifted.others or all(any(needle in lowered[1] for needle in one) for one in sifted.others))
                        and (grounds is None or sifted.excuse is None or not grounds.excused(sifted.excuse, place))):
                    waiting = candidates.setdefault(place, [])
                    if sifted.rule not in waiting:
                        waiting.append(sifted.rule)
        return candidates, odd

    def _count(self, text: str) -> None:
        self._counts[text] = count = self._counts.get(text, 0) + 1
        if count == _LOUD and self._shares.get(text, 0.0) <= _COMMON < count / self._seen:
            self._is_loud = True

    def learn(self) -> None:
        """Make the sieve, and so `rest`, anew once enough was seen to know which needles are common here."""
        if not self._sample:
            return
        if self._seen >= self._due[0] and len(self._due) > 1:
            del self._due[0]
        self._shares |= {text: self._counts.get(text, 0) / self._seen for text in self._texts}
        self._make(self._sample)
        self._seen, self._counts, self._sample, self._is_loud = 0, {}, [], False

    def _share(self, texts: Iterable[str]) -> float:
        """The share of records that hold one of these texts, as far as is known; shorter ones count as a little more common."""
        return sum(self._shares.get(text, 0.0) + 1e-6 / len(text) for text in texts)

    def _needed(self, node: Node) -> list[frozenset[str]]:
        """Sets of texts of each of which a record must hold one for the node to hold."""
        if node is ALWAYS or node.sign == "!":
            return []
        if node.sign == "&":
            return [one for atom in node.atoms for one in self._by_atom[atom]] + [one for part in node.parts for one in self._needed(part)]
        together: set[str] = set()
        for sets in (*map(self._by_atom.__getitem__, node.atoms), *map(self._needed, node.parts)):
            if not sets:
                return []
            together |= min(sets, key=self._share)
        return [frozenset(together)]

    def _needles(self, atom: int) -> Sequence[frozenset[str]]:
        if not self._plain(atom):
            return ()
        spec = self._atoms.specs[atom]
        anchored = anchored_needles(spec, self._keys(self._atoms.names[atom])) if self._anchors(atom) else frozenset()
        return (anchored,) if anchored else needles_of(spec)

    def _anchors(self, atom: int) -> bool:
        """Whether the needles of an atom may hold its field's key, or the end of the value."""
        return self._packed and bool(self._atoms.specs[atom].field) and self._atoms.specs[atom].test in _ANCHORED


def _escaped(piece: Piece, places: list[int], ends: list[int]) -> set[int]:
    """The places of records with an odd escape, of those where one seems to end."""
    return {place for place, end in zip(places, ends, strict=True) if not is_escaped(piece.record(place), end - 2 - piece.start(place))}


@lru_cache(maxsize=1024)
def _scanner(texts: tuple[str, ...], exact: tuple[str, ...]) -> Scanner:
    """Many kinds have the same few needles: those of the rules that ask every event."""
    return Scanner(texts, exact)


@lru_cache(maxsize=100_000)
def needles_of(spec: AtomSpec) -> Sequence[frozenset[str]]:
    """Sets of lower-case texts, JSON-escaped, of each of which a record must hold one (case ignored) for the test to be true.

    A number is looked for as it prints: one that a record writes with an exponent is not found.
    """
    if spec.test in ("is", "contains", "startswith", "endswith"):
        literals: Iterable[Iterable[str]] = [(spec.literal,)]
    elif spec.test == "like":
        literals = [(max((part for part in glob_parts(spec.literal) if isinstance(part, str)), key=len, default=""),)]
    elif spec.test == "re":
        literals = needle_sets(spec.literal)
    else:
        return ()
    return tuple(found for one in literals if (found := _spelled(one)))


def _spelled(literals: Iterable[str]) -> frozenset[str]:
    found: set[str] = set()
    for literal in literals:
        longest = max(_plain_parts(literal), key=len)[:LONGEST]
        if len(longest.encode()) < _SHORTEST:
            return frozenset()
        found.add(_as_json(longest))
    return frozenset(found)


def anchored_needles(spec: AtomSpec, keys: Sequence[str]) -> frozenset[str]:
    """Texts of one of which holds, as `needles_of`, with the key or the closing quote: far rarer. Empty if there are none.

    For records that write keys and values without spaces between them, and a single value under the key.
    """
    literal = spec.literal
    if not literal or len(literal) > LONGEST or len(_plain_parts(literal)) > 1:
        return frozenset()
    text, like_number = _as_json(literal), not literal.lower().strip(_BARE)
    if spec.test == "endswith":
        return frozenset() if like_number else frozenset((f'{text}"',))
    found = {f'"{key.lower()}":"{text}' + ('"' if spec.test == "is" else "") for key in keys}
    if like_number:
        found.update(f'"{key.lower()}":{sign}{text}' for key in keys for sign in ("", "-") if not sign or literal == "0")
    return frozenset(found)


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1].lower()


def _is_spaced(record: bytes) -> bool:
    """Whether a record has a space between a key and its value."""
    return any(sign.encode() in record for sign in _SPACES) and _SPACED.search(record) is not None


def _plain_parts(text: str) -> list[str]:
    """The parts of a text that a record holds as they are, or in capitals: ASCII that is no control, signs without case."""
    if text.isascii() and text.isprintable():
        return [text]
    return "".join(sign if " " <= sign <= "~" or (sign > "\xa0" and sign.casefold() == sign == sign.upper()) else "\0" for sign in text).split("\0")
