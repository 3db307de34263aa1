"""The slow, plain matcher: one rule, one event, no columns, no memory. What the engine must agree with."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from soc.detect.compiled import AtomSpec, CompiledRule
from soc.detect.engine.cells import searched_by_keywords
from soc.detect.engine.values import compare_fields, test_of, text_of
from soc.detect.pipelines import Pipelines, pipelines
from soc.event import Event

__all__ = ["is_routed", "matches"]


def is_routed(rule: CompiledRule, event: Event) -> bool:
    """Whether the event is of a log source that the rule asks for."""
    return rule.logsource.matches(str(event.get("soc.log_sources", "")))


def matches(rule: CompiledRule, event: Event, mapping: Pipelines | None = None) -> bool:
    """Whether the rule's condition holds for the event, whatever its log source."""
    detection = rule.unpacked()
    asked = mapping or pipelines()

    def holds(tree: Any) -> bool:
        if isinstance(tree, int):
            return _atom(detection.atoms[tree])
        sign, *parts = tree
        if sign == "!":
            return not holds(parts[0])
        return all(map(holds, parts)) if sign == "&" else any(map(holds, parts))

    def _values(field: str) -> list[str] | None:
        names = asked.names(rule.logsource, field)
        found = [list(_texts(event[name])) for name in names.fields if name in event]
        if not found:
            return None
        return [text for texts in found for text in texts] if names.every else found[0]

    def _null(field: str) -> bool:
        named = event.get("soc.null_fields", [])
        known = [named] if isinstance(named, str) else named
        return isinstance(known, list) and any(name in known for name in asked.names(rule.logsource, field).fields)

    def _atom(spec: AtomSpec) -> bool:
        if not spec.field:
            test = test_of(spec)
            return any(test(text) for name, value in event.items() if searched_by_keywords(name) for text in _texts(value))
        values = _values(spec.field)
        if spec.test == "null":
            return values is None
        if spec.test == "exists":
            return values is not None or _null(spec.field)
        if values is None:
            return False
        if spec.test.startswith("fieldref"):
            return any(compare_fields(spec.test, a, b) for a in values for b in _values(spec.literal) or ())
        return any(map(test_of(spec), values))

    return holds(detection.tree)


def _texts(value: object) -> Iterable[str]:
    return map(text_of, value) if isinstance(value, list) else (text_of(value),)
