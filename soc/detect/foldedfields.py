"""Rules on the folded copy of a field (``url.query.folded``): one pattern that meets every spelling of a Vietnamese text.

The normaliser keeps a copy only where it says more than the value does (`soc.store.fold`), so a test on it falls back on
the value, and what the rule wrote is folded as the copies are: `cờ bạc` and `co bac` are the same pattern there.
"""
from __future__ import annotations

import re
from collections.abc import Sequence

from soc.detect.compiled import AtomSpec
from soc.errors import RuleError
from soc.store.fold import FOLDED, SUFFIX, fold

__all__ = ["folded_fault", "folded_spec"]

_TEXT_TESTS = frozenset({"is", "contains", "startswith", "endswith", "like"})


def folded_fault(field: str, modifiers: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with a test of a folded copy, and what to do about it; None for other fields too."""
    if not field.endswith(SUFFIX):
        return None
    if field.removesuffix(SUFFIX) not in FOLDED:
        return f"{field.removesuffix(SUFFIX)} has no folded copy", f"these have one: {', '.join(FOLDED)}"
    return ("a folded copy has no case", f"use {field.removesuffix(SUFFIX)} for a cased test") if "cased" in modifiers else None


def folded_spec(spec: AtomSpec) -> AtomSpec:
    """The atom with its text folded, if it asks a folded copy. Raises RuleError if folding leaves nothing of the text."""
    if spec.test not in _TEXT_TESTS or not spec.field.endswith(SUFFIX):
        return spec
    literal = _folded_pattern(spec.literal) if spec.test == "like" else fold(spec.literal)
    if spec.literal and not literal:
        raise RuleError(f"{spec.field}: nothing is left of {spec.literal!r} once folded")
    return AtomSpec(spec.field, spec.test, literal)


def _folded_pattern(pattern: str) -> str:
    from soc.detect.engine.values import glob_parts

    return "".join("*" if part is None else "?" if part is True else re.sub(r"([\\*?])", r"\\\1", fold(str(part)))
                   for part in glob_parts(pattern))
