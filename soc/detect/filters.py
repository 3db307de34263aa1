"""Sigma filters: a condition that is added to the rules it lists, when the rule set is loaded (Sigma filters specification 2.1).

As pySigma reads it: the rule's condition AND the filter's condition; so a filter that leaves something out says `not selection`.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from soc.detect.compiled import AtomSpec, CompiledRule, Detection, LogSource

__all__ = ["ANY", "MAX_FILTER_TESTS", "Filter", "covers", "filtered"]

ANY: Final = "any"
"""In place of a list of rules: every rule of the filter's log source."""
MAX_FILTER_TESTS: Final = 2_000
"""A filter is added to every rule it lists, so its tests count many times."""


class Filter(msgspec.Struct, frozen=True, array_like=True):
    """What one filter adds to whom: references as written (none: any rule), and the packed `Detection`."""

    rules: tuple[str, ...]
    detection: bytes

    def pack(self) -> bytes:
        """As MessagePack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, packed: bytes) -> Filter:
        """From `pack`."""
        return msgspec.msgpack.decode(packed, type=cls)


def covers(wide: LogSource, narrow: LogSource) -> bool:
    """Whether every part that the filter's log source names is the rule's too."""
    return all(own in ("", other) for own, other in (
        (wide.product, narrow.product), (wide.category, narrow.category), (wide.service, narrow.service)))


def filtered(rule: CompiledRule, filters: Sequence[Filter]) -> CompiledRule:
    """`rule` with the conditions of these filters added."""
    detection = rule.unpacked()
    atoms = list(detection.atoms)
    numbers = {atom: at for at, atom in enumerate(atoms)}
    trees: list[Any] = [detection.tree]
    for one in filters:
        added = msgspec.msgpack.decode(one.detection, type=Detection)
        trees.append(_renumbered(added.tree, [_number(atom, atoms, numbers) for atom in added.atoms]))
    return replace(rule, detection=Detection(atoms, ["&", *trees]).pack())


def _number(atom: AtomSpec, atoms: list[AtomSpec], numbers: dict[AtomSpec, int]) -> int:
    if atom not in numbers:
        numbers[atom] = len(atoms)
        atoms.append(atom)
    return numbers[atom]


def _renumbered(tree: Any, numbers: Sequence[int]) -> Any:
    return numbers[tree] if isinstance(tree, int) else [tree[0], *(_renumbered(part, numbers) for part in tree[1:])]
