"""Which raw records of a kind which rules could match: by texts that a record must hold, found in one scan.

A rule that holds needs some of its tests to be true, and most tests need a text in the record: its *needles*. Of a rule's
sets of needles (one of each set must be there) the rarest is scanned for, the others are looked at where it is found. How
rare a needle is shows in the data: sieves are made anew as it becomes known. Rules without rare needles are the *rest*:
they are matched the ordinary way.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import ahocorasick_rs
import numpy as np

from soc.detect.compiled import AtomSpec
from soc.detect.engine.atoms import Atoms, PreparedRule
from soc.detect.engine.kind import Kind
from soc.detect.engine.needles import needles
from soc.detect.engine.scan import Scanner, available, unclear
from soc.detect.engine.tree import ALWAYS, Node
from soc.detect.engine.values import glob_parts
from soc.detect.pipelines import Names

__all__ = ["SAMPLE", "Sieve", "needles_of"]

SAMPLE: Final = 200
"""Records of a kind that its sieve is first made from."""
_COMMON: Final = 0.05
"""Share of records in which a rule's needles may be found for it to be worth looking at them one by one."""
_AS_A_REST: Final = 0.2
_FEW: Final = 6
"""Needles of a set that is looked at where another one of the rule's was found: larger sets cost more than asking the rule."""
_MOST_UNCLEAR: Final = 100_000
_LOOK_AGAIN: Final = (2_000, 10_000, 100_000)
"""Records after each of which a kind's sieve is made anew from what was found since the last time."""
_SHORTEST: Final = 2


@dataclass(frozen=True, slots=True)
class _Sifted:
    """A rule with its sets of needles: the one that is scanned for is not among `others`."""

    rule: PreparedRule
    others: tuple[tuple[bytes, ...], ...]


class Sieve:
    """The sieve of one kind."""

    def __init__(self, kind: Kind, atoms: Atoms, sample: Sequence[bytes], *, plain: Callable[[int], bool],
                 odd: Callable[[Names], Iterable[str]]) -> None:
        """`sample` are a few records of the kind, for a first idea of what is common.

        `plain` says of an atom whether the parser copies what it tests as it is; `odd` gives spellings of a field's key
        that records seldom have.
        """
        self._kind, self._atoms, self._plain, self._odd = kind, atoms, plain, odd
        self._shares: dict[str, float] = {}
        self._seen = 0
        self._counts: dict[str, int] = {}
        self._due = list(_LOOK_AGAIN)
        self._choice: object = None
        self._sets = {rule.rule_id: self._needed(tree) for rule, tree in zip(kind.rules, kind.trees, strict=True)} if available() else {}
        self._try(sample)
        self._make()

    def _try(self, sample: Sequence[bytes]) -> None:
        """Count every needle there is in a few records."""
        texts = list({text for sets in self._sets.values() for one in sets for text in one})
        if not texts or not sample:
            return
        automaton = ahocorasick_rs.BytesAhoCorasick([text.encode() for text in texts])
        counts = [0] * len(texts)
        for record in sample:
            for number in {found[0] for found in automaton.find_matches_as_indexes(record.lower(), overlapping=True)}:
                counts[number] += 1
        self._shares |= {text: count / len(sample) for text, count in zip(texts, counts, strict=True)}

    def _make(self) -> None:
        rest, sieved = self._split()
        choice = [rule.order for rule in rest], [sets[0] for _, sets in sieved]
        if choice == self._choice:
            return
        self._choice = choice
        owners: dict[str, list[_Sifted]] = {}
        for rule, sets in sieved:
            others = [one for one in sets[1:] if len(one) <= _FEW][:2]
            sifted = _Sifted(rule, tuple(tuple(needle.encode() for needle in sorted(one)) for one in others))
            for needle in sets[0]:
                owners.setdefault(needle, []).append(sifted)
        self.rest = Kind(rest, self._atoms, self._kind.known) if rest else None
        """The rules that no needle speaks for."""
        self._texts = list(owners)
        self._owners = list(owners.values())
        odd = {f'"{key}"' for names in self.rest.matching.asked() for key in self._odd(names)} if self.rest is not None else set()
        self._scanner = _scanner(tuple(self._texts), tuple(sorted(odd))) if available() else None

    def _split(self) -> tuple[list[PreparedRule], list[tuple[PreparedRule, list[frozenset[str]]]]]:
        """The rest, and the rules that are sieved, each with its sets of needles, the rarest first.

        Having a rest at all costs a second reading of every record, as much as asking rules of a fifth of them.
        """
        rest: list[PreparedRule] = []
        common: list[tuple[PreparedRule, list[frozenset[str]]]] = []
        sieved: list[tuple[PreparedRule, list[frozenset[str]]]] = []
        asked = 0.0
        for rule in self._kind.rules:
            sets = sorted(self._sets.get(rule.rule_id, ()), key=self._share)
            share = self._share(sets[0]) if sets else 1.0
            if not sets:
                rest.append(rule)
            elif share <= _COMMON or self._has_keywords(rule):
                sieved.append((rule, sets))
            else:
                common.append((rule, sets))
                asked += share
        if rest or asked > _AS_A_REST:
            return rest + [rule for rule, _ in common], sieved
        return [], sieved + common

    def _has_keywords(self, rule: PreparedRule) -> bool:
        """Such a rule is sieved whatever it costs: matching keywords the ordinary way takes every field of every record."""
        return any(not self._atoms.specs[atom].field for atom in rule.atoms)

    def sift(self, records: Sequence[bytes]) -> tuple[dict[int, list[PreparedRule]], set[int]]:
        """By place the rules that the record could match, and the places whose escapes or characters need the parser."""
        if self._scanner is None:
            return {}, set()
        buffer = b"\n".join(records)
        self._seen += len(records)
        candidates: dict[int, list[PreparedRule]] = {}
        borders = np.cumsum(np.fromiter(map(len, records), np.int64, len(records)) + 1)
        odd = set(np.searchsorted(borders, unclear(buffer)).tolist())
        found = self._scanner.found(buffer)
        if found:
            numbers, ends = np.array(found, np.int64).T
            places = np.searchsorted(borders, ends)
            pairs = np.unique(places * (len(self._texts) + _MOST_UNCLEAR) + numbers)
            lowered: tuple[int, bytes] = (-1, b"")
            for pair in pairs.tolist():
                place, number = divmod(pair, len(self._texts) + _MOST_UNCLEAR)
                if number >= len(self._texts):
                    odd.add(place)
                    continue
                text = self._texts[number]
                self._counts[text] = self._counts.get(text, 0) + 1
                if place != lowered[0]:
                    lowered = place, records[place].lower()
                for sifted in self._owners[number]:
                    if all(any(needle in lowered[1] for needle in one) for one in sifted.others):
                        waiting = candidates.setdefault(place, [])
                        if sifted.rule not in waiting:
                            waiting.append(sifted.rule)
        return candidates, odd

    def learn(self) -> None:
        """Make the sieve, and so `rest`, anew once enough was seen to know which needles are common here."""
        if not self._due or self._seen < self._due[0]:
            return
        del self._due[0]
        self._shares |= {text: self._counts.get(text, 0) / self._seen for text in self._texts}
        self._seen, self._counts = 0, {}
        self._make()

    def _share(self, texts: Iterable[str]) -> float:
        """The share of records that hold one of these texts, as far as is known; shorter ones count as a little more common."""
        return sum(self._shares.get(text, 0.0) + 1e-6 / len(text) for text in texts)

    def _needed(self, node: Node) -> list[frozenset[str]]:
        """Sets of texts of each of which a record must hold one for the node to hold."""
        if node is ALWAYS or node.sign == "!":
            return []
        if node.sign == "&":
            own = [frozenset(texts) for atom in node.atoms if (texts := self._texts_of(atom))]
            return own + [one for part in node.parts for one in self._needed(part)]
        together: set[str] = set()
        for atom in node.atoms:
            texts = self._texts_of(atom)
            if not texts:
                return []
            together |= texts
        for part in node.parts:
            inner = self._needed(part)
            if not inner:
                return []
            together |= min(inner, key=self._share)
        return [frozenset(together)]

    def _texts_of(self, atom: int) -> frozenset[str]:
        return needles_of(self._atoms.specs[atom]) if self._plain(atom) else frozenset()


@lru_cache(maxsize=1024)
def _scanner(texts: tuple[str, ...], exact: tuple[str, ...]) -> Scanner:
    """Many kinds have the same few needles: those of the rules that ask every event."""
    return Scanner(texts, exact)


def needles_of(spec: AtomSpec) -> frozenset[str]:
    """Lower-case texts, JSON-escaped, of which a record must hold one (case ignored) for the test to be true; empty if unknown.

    A number is looked for as it prints: one that a record writes with an exponent is not found.
    """
    if spec.test in ("is", "contains", "startswith", "endswith"):
        literals: Iterable[str] = (spec.literal,)
    elif spec.test == "like":
        literals = (max((part for part in glob_parts(spec.literal) if isinstance(part, str)), key=len, default=""),)
    elif spec.test == "re":
        literals = needles(spec.literal)
    else:
        return frozenset()
    found: set[str] = set()
    for literal in literals:
        longest = max(_plain_parts(literal), key=len)
        if len(longest) < _SHORTEST:
            return frozenset()
        found.add(json.dumps(longest, ensure_ascii=False)[1:-1].lower())
    return frozenset(found)


def _plain_parts(text: str) -> list[str]:
    """The parts of a text that a record holds as they are, or in capitals: ASCII that is no control, signs without case."""
    return "".join(sign if " " <= sign <= "~" or (sign > "\xa0" and sign.casefold() == sign == sign.upper()) else "\0" for sign in text).split("\0")
