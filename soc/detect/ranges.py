"""Sets of positions as sorted, disjoint half-open ranges: what the ledger's arithmetic is made of."""
from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Range", "behind", "minus", "union"]

Range = tuple[int, int]
"""Positions [first, last)."""


def union(ranges: Iterable[Range]) -> list[Range]:
    """The same positions in as few ranges as there can be; empty ranges are none."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if first >= last:
            continue
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def minus(ranges: Iterable[Range], holes: Iterable[Range]) -> list[Range]:
    """The positions of `ranges` that are in none of `holes`."""
    left = union(ranges)
    for low, high in union(holes):
        cut: list[Range] = []
        for first, last in left:
            cut += [(a, b) for a, b in ((first, min(last, low)), (max(first, high), last)) if a < b]
        left = cut
    return left


def behind(ranges: Iterable[Range], at: int) -> int:
    """The first position from `at` on that is in none of `ranges`."""
    return next((last for first, last in union(ranges) if first <= at < last), at)
