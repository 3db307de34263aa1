"""Fields that a search names and no event has: most often a misspelt name, which otherwise only finds nothing."""
from __future__ import annotations

import difflib
from collections.abc import Collection

from soc.store.fold import SUFFIX
from soc.store.query import parse
from soc.store.query_tree import Addresses, Between, Exists, Phrase, Term, leaves

__all__ = ["nearest_field", "unknown_fields"]


def unknown_fields(query: str, known: Collection[str]) -> list[tuple[str, str]]:
    """(field, nearest known one or "") of each field that the search asks by name and that is not among `known`. Raises QueryError."""
    names: dict[str, None] = {}
    for leaf in leaves(parse(query).root):
        if isinstance(leaf, Phrase) and len(leaf.fields) == 1:
            names[leaf.fields[0]] = None
        elif isinstance(leaf, Exists | Term | Between | Addresses):
            names[leaf.field] = None
    held = set(known)
    return [(name, nearest_field(name, held)) for name in names if name not in held and name.removesuffix(SUFFIX) not in held]


def nearest_field(name: str, known: Collection[str]) -> str:
    """The known field whose name is most like this one, whatever its case; "" if none is near."""
    spelled = {field.lower(): field for field in sorted(known)}
    near = difflib.get_close_matches(name.lower(), list(spelled), n=1, cutoff=0.7)
    return spelled[near[0]] if near else ""
