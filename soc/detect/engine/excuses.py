"""Why a rule cannot hold for a record, read off the bytes of one value: for rules that nearly every record would be asked of.

``not filter`` is how most rules keep quiet: where a value holds what its filter looks for, the rule is excused.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from soc.detect.engine.atoms import Atoms
from soc.detect.engine.lines import Piece, Places
from soc.detect.engine.tree import NEVER, Node
from soc.detect.pipelines import Names

__all__ = ["Excuse", "Grounds", "excuses_of"]

_BACKSLASH, _BRACE, _QUOTE = b'\\{"'
_BEFORE: Final = b":[,"
_SPACE: Final = b" \t\r"
_MAYBE_BEFORE: Final = np.isin(np.arange(256), list(_BEFORE + _SPACE))
_MAYBE_BEHIND: Final = np.isin(np.arange(256), list(b'"' + _SPACE))
_PROVING: Final = frozenset({"is", "startswith", "contains"})


@dataclass(frozen=True, slots=True)
class Excuse:
    """Lower-case JSON texts of which any one makes a rule false, where the value under a key is it, begins with it or holds it."""

    key: str
    whole: frozenset[bytes]
    starts: tuple[bytes, ...]
    inside: tuple[bytes, ...]

    @property
    def sign(self) -> str:
        """What stands in a record before the value, whatever that is."""
        return f'"{self.key}":'

    def holds(self, text: bytes, at: int) -> bool:
        """Whether the value at `at` excuses the rule: a string, of which only what stands before the first quote in it is looked at."""
        if text[at] != _QUOTE:
            return False
        value = text[at + 1 : text.find(b'"', at + 1)].lower()
        if (self.whole and value in self.whole) or value.startswith(self.starts):
            return True
        for one in self.inside:
            found = value.find(one)
            if found == 0 or (found > 0 and value[found - 1] != _BACKSLASH):  # behind one, its first sign is half of an escape
                return True
        return False

    def tried(self, sample: Sequence[bytes]) -> tuple[float, Excuse]:
        """The share of records that it excuses the rule of, and the same excuse with the texts that are found there in front."""
        sign = self.sign.encode()
        values = [(record, at + len(sign)) for record in sample if (at := record.find(sign)) >= 0]
        share = sum(self.holds(record, at) for record, at in values) / len(sample) if sample else 0.0
        lowered = [record[at + 1 : record.find(b'"', at + 1)].lower() for record, at in values]
        often = sorted(self.inside, key=lambda text: -sum(text in value for value in lowered))
        return share, Excuse(self.key, self.whole, self.starts, tuple(often))


def excuses_of(tree: Node, atoms: Atoms, plain: Callable[[int], bool], key_of: Callable[[Names], str | None]) -> list[Excuse]:
    """What excuses a rule, by key. `plain` and `key_of` say of which atoms, and under which key, a record's text is the value."""
    found: dict[str, dict[str, set[bytes]]] = {}
    for atom in set(tree.every_atom()):
        spec = atoms.specs[atom]
        if spec.test not in _PROVING or spec.cased or not spec.field or not spec.literal or not spec.literal.isascii() or not plain(atom):
            continue
        key = key_of(atoms.names[atom])
        if key is not None and tree.assume({atom: True}) is NEVER:
            found.setdefault(key, {}).setdefault(spec.test, set()).add(json.dumps(spec.literal)[1:-1].lower().encode())
    return [Excuse(key, frozenset(texts.get("is", ())), tuple(sorted(texts.get("startswith", ()))), tuple(sorted(texts.get("contains", ()))))
            for key, texts in found.items()]


class Grounds:
    """Where in a piece the values stand that may excuse: under keys that stand once, in records without objects in them."""

    def __init__(self, piece: Piece, signs: Sequence[str], numbers: Places, places: Places, ends: Places) -> None:
        """`numbers` are those of the signs found, `places` of their records, `ends` where the values begin."""
        self._text = piece.text
        height = len(piece.places)
        nested = _nested(piece)
        self._columns: dict[str, list[int]] = {}
        for number, sign in enumerate(signs):
            of_sign = numbers == number
            column = np.zeros(height, np.int64)
            column[places[of_sign]] = ends[of_sign]
            column[np.bincount(places[of_sign], minlength=height) > 1] = 0
            column[nested] = 0
            self._columns[sign] = column.tolist()

    def excused(self, excuse: Excuse, place: int) -> bool:
        """Whether a record's value excuses."""
        at = self._columns[excuse.sign][place]
        return at > 0 and excuse.holds(self._text, at)

    def others(self, excuse: Excuse) -> list[int]:
        """The records that nothing excuses."""
        text, holds = self._text, excuse.holds
        return [place for place, at in enumerate(self._columns[excuse.sign]) if not at or not holds(text, at)]


def _nested(piece: Piece) -> list[int]:
    """The records that may have objects in them: with an opening brace that stands before a key and behind what may precede a value."""
    signs = np.frombuffer(piece.text, np.uint8)
    braces = np.flatnonzero(signs[:-1] == _BRACE)[1:]
    braces = braces[_MAYBE_BEFORE[signs[braces - 1]] & _MAYBE_BEHIND[signs[braces + 1]]]
    places = np.searchsorted(piece.borders, braces, "right").tolist()
    return [place for place, brace in zip(places, braces.tolist(), strict=True)
            if brace > piece.start(place) and _opens(piece.text, brace)]


def _opens(text: bytes, at: int) -> bool:
    before, behind = at - 1, at + 1
    while text[before] in _SPACE:
        before -= 1
    while text[behind] in _SPACE:
        behind += 1
    return text[before] in _BEFORE and text[behind] == _QUOTE
