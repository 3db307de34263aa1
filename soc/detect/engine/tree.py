"""A rule's condition over numbered atoms: what holds, what could still hold, and what it takes at least."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from soc.detect.compiled import AtomSpec

__all__ = ["ALWAYS", "NEVER", "Node", "node_of", "witness"]

_AND, _OR, _NOT = "&", "|", "!"


@dataclass(frozen=True, slots=True)
class Node:
    """Atoms and subtrees under one sign: all of them, any of them, or (`!`) none of them."""

    sign: str
    atoms: frozenset[int]
    parts: tuple[Node, ...]

    def holds(self, true: frozenset[int]) -> bool:
        """Whether it holds where just these atoms are true."""
        if self.sign == _AND:
            return self.atoms <= true and all(part.holds(true) for part in self.parts)
        if self.sign == _OR:
            return not self.atoms.isdisjoint(true) or any(part.holds(true) for part in self.parts)
        return self.atoms.isdisjoint(true) and not any(part.holds(true) for part in self.parts)

    def settle(self, true: Set[int], unknown: Set[int]) -> bool | None:
        """The same where the truth of `unknown` is not known yet: None if it depends on them (Kleene's logic)."""
        if self.sign == _AND:
            missing = self.atoms - true
            if not missing <= unknown:
                return False
            open_ = bool(missing)
            for part in self.parts:
                settled = part.settle(true, unknown)
                if settled is False:
                    return False
                open_ = open_ or settled is None
            return None if open_ else True
        if not self.atoms.isdisjoint(true):
            return self.sign == _OR
        open_ = not self.atoms.isdisjoint(unknown)
        for part in self.parts:
            settled = part.settle(true, unknown)
            if settled:
                return self.sign == _OR
            open_ = open_ or settled is None
        return None if open_ else self.sign == _NOT

    def assume(self, known: Mapping[int, bool]) -> Node:
        """What is left of it once the truth of `known` is known; ALWAYS or NEVER if nothing is."""
        deciding = self.sign != _AND  # the truth value that decides a node of this sign at once
        atoms: list[int] = []
        for atom in self.atoms:
            truth = known.get(atom)
            if truth is None:
                atoms.append(atom)
            elif truth == deciding:
                return ALWAYS if self.sign == _OR else NEVER
        parts: list[Node] = []
        for part in self.parts:
            left = part.assume(known)
            if left is ALWAYS or left is NEVER:
                if (left is ALWAYS) == deciding:
                    return ALWAYS if self.sign == _OR else NEVER
            else:
                parts.append(left)
        if not atoms and not parts:
            return NEVER if self.sign == _OR else ALWAYS
        return Node(self.sign, frozenset(atoms), tuple(parts))

    def every_atom(self) -> Iterable[int]:
        """The atoms it speaks of."""
        yield from self.atoms
        for part in self.parts:
            yield from part.every_atom()

    def reasons(self, true: frozenset[int]) -> Iterable[int]:
        """The true atoms that speak for it (none from below a `not`)."""
        if self.sign != _NOT:
            yield from sorted(self.atoms & true)
            for part in self.parts:
                if part.holds(true):
                    yield from part.reasons(true)


ALWAYS: Final = Node(_AND, frozenset(), ())
NEVER: Final = Node(_OR, frozenset(), ())


def node_of(tree: Any, numbers: Sequence[int]) -> Node:
    """The packed tree of a rule, its atoms renumbered."""
    if isinstance(tree, int):
        return Node(_AND, frozenset((numbers[tree],)), ())
    sign, *parts = tree
    atoms = frozenset(numbers[part] for part in parts if isinstance(part, int))
    return Node(sign, atoms, tuple(node_of(part, numbers) for part in parts if not isinstance(part, int)))


def witness(node: Node, specs: Sequence[AtomSpec]) -> tuple[float, frozenset[int]] | None:
    """(cost, atoms) of which at least one is true whenever the node holds; None if it can hold without any."""
    if node.sign == _NOT:
        return None
    found = [witness(part, specs) for part in node.parts]
    if node.sign == _AND:
        able = [one for one in found if one is not None] + [(_cost(specs[atom]), frozenset((atom,))) for atom in node.atoms]
        return min(able, key=lambda one: one[0]) if able else None
    if any(one is None for one in found):
        return None
    cost = sum(one[0] for one in found if one) + sum(_cost(specs[atom]) for atom in node.atoms)
    return cost, node.atoms.union(*(one[1] for one in found if one))


_COMMON: Final = frozenset({"EventID", "Channel", "Provider_Name", "type", "eventSource", "cs-method", "sc-status", "Initiated"})


def _cost(spec: AtomSpec) -> float:
    """How often an atom is likely to be true, as a guess: only speed depends on it."""
    if spec.test in ("is", "contains", "startswith", "endswith"):
        size = max(len(spec.literal), 1)
        return (8.0 if spec.field in _COMMON else 1.0) / size + 0.001
    return {"re": 0.3, "like": 0.1, "cidr": 0.5, "fieldref": 0.5}.get(spec.test, 4.0)
