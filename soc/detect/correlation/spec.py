"""A correlation as it is kept and evaluated: plain data, and its packed form. Reading it from YAML is `reading`.

Sigma correlation rules specification 2.1; the choices where it is silent are in docs/correlations.md.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

__all__ = ["FORMAT", "MAX_COUNT", "TEMPORAL", "VALUED", "Correlation", "leaves"]

FORMAT: Final = 1
MAX_COUNT: Final = 50_000
"""The largest number a count may be compared with: so many rows of one group and window are kept at most."""
TEMPORAL: Final = frozenset({"temporal", "temporal_ordered"})
VALUED: Final = frozenset({"value_count", "value_sum", "value_avg", "value_percentile", "value_median"})


class Correlation(msgspec.Struct, frozen=True, array_like=True):
    """What one `correlation:` section says.

    `rules` are references as written (an id or a name); `timespan` is in microseconds; `aliases` maps an alias to
    {reference: field}. `op` and `count` are the condition, or `tree` is the extended one: a reference's place in `rules`,
    or ["!", tree], ["&" or "|", tree, tree, …]. `fields` are counted or reckoned with by the value types. `province` lets a group span
    agencies; `entity` names the field that alerts are kept by ("": the first of `group_by`).
    """

    type: str
    rules: tuple[str, ...]
    timespan: int
    group_by: tuple[str, ...]
    aliases: dict[str, dict[str, str]]
    op: str
    count: int
    tree: Any = None
    fields: tuple[str, ...] = ()
    percentile: int = 0
    generate: bool = False
    province: bool = False
    entity: str = ""
    format: int = FORMAT

    def pack(self) -> bytes:
        """As MessagePack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, packed: bytes) -> Correlation:
        """From `pack`. Raises ValueError if it is of another format."""
        found = msgspec.msgpack.decode(packed, type=cls)
        if found.format != FORMAT:
            raise ValueError(f"correlation of format {found.format}, this is {FORMAT}")
        return found

    @property
    def grows(self) -> bool:
        """Whether more events can only make it true: a match once made is then never taken back."""
        if self.tree is not None:
            return not _negated(self.tree)
        return self.op in ("gt", "gte") and self.type in {"event_count", "value_count", *TEMPORAL}


def leaves(tree: Any, negated: bool = False) -> Iterator[tuple[int, bool]]:
    """(place in `rules`, whether under an odd number of nots) of every mention in an extended condition."""
    if isinstance(tree, int):
        yield tree, negated
        return
    for part in tree[1:]:
        yield from leaves(part, negated != (tree[0] == "!"))


def _negated(tree: Any) -> bool:
    return any(negated for _, negated in leaves(tree))
