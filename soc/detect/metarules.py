"""Documents that speak of other rules, correlations and filters: checked and compiled one by one. `ruleset` brings them together."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from soc.detect.correlation.reading import parse_correlation
from soc.detect.filters import ANY, MAX_FILTER_TESTS, Filter
from soc.detect.lint import attribute_faults, place, selection_faults
from soc.detect.rules import FoundRule, build_detection, entity_field, found_rule
from soc.detect.yamltext import Document
from soc.errors import RuleError

__all__ = ["compile_correlation", "compile_filter", "meta_faults"]

_MOST_RULES = 10_000


def compile_correlation(path: str, document: Document, source: str, number: int) -> FoundRule:
    """A `correlation:` document. Raises RuleError with the line."""
    try:
        spec, parsed = parse_correlation(document.value, entity_field(document))
    except RuleError as error:
        raise place(document, tuple(error.path.split(".")), error.message, error.remedy) from None
    return found_rule("correlation", path, document, source, number, parsed, spec.pack(), "")


def compile_filter(path: str, document: Document, source: str, number: int) -> FoundRule:
    """A `filter:` document. Raises RuleError with the line."""
    from sigma.exceptions import SigmaError
    from sigma.filters import SigmaFilter

    from soc.detect.modifiers import install

    install()
    try:
        parsed = SigmaFilter.from_dict(document.value)
    except SigmaError as error:
        raise place(document, ("filter",), " ".join(str(error).split())[:300]) from None
    except Exception as error:  # noqa: BLE001 - pySigma is not ours: whatever it throws refuses this filter and no other
        raise place(document, ("filter",), f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from None
    listed: Any = parsed.filter.rules
    rules = (ANY,) if isinstance(listed, str) else tuple(str(one.reference) for one in listed)
    detection, off = build_detection(parsed.filter, document, "filter")
    if detection is not None and len(detection.atoms) > MAX_FILTER_TESTS:
        raise place(document, ("filter",), f"more than {MAX_FILTER_TESTS} tests in one filter")
    packed = None if detection is None else Filter(rules, detection.pack()).pack()
    return found_rule("filter", path, document, source, number, parsed, packed, "", off)


def meta_faults(document: Document) -> list[RuleError]:
    """What is wrong with a correlation or filter by the specification, before pySigma sees it, by line."""
    found = list(attribute_faults(document))
    if "correlation" in document.value:
        found += _strangers(document, "correlation", ("filter", "detection", "logsource"))
    else:
        found += _strangers(document, "filter", ("correlation", "detection"))
        found += _filter_faults(document)
    return sorted(found, key=lambda error: error.line)


def _filter_faults(document: Document) -> Iterator[RuleError]:
    section, logsource = document.value["filter"], document.value.get("logsource")
    if not isinstance(logsource, dict) or not any(logsource.get(part) for part in ("product", "category", "service")):
        yield place(document, ("logsource",), "logsource: product, category or service is needed")
    if not isinstance(section, dict):
        yield place(document, ("filter",), "filter: a mapping of rules, selections and a condition is needed")
        return
    listed = section.get("rules")
    names = [listed] if isinstance(listed, str) else listed
    if not isinstance(names, list) or not names or not all(isinstance(one, str) and one for one in names):
        yield place(document, ("filter", "rules"), "filter: rules is a list of ids or names, or any for every rule of the log source")
    elif len(names) > _MOST_RULES or len(section) > 200:
        yield place(document, ("filter",), f"filter: more than {_MOST_RULES} rules or 200 selections")
    if not isinstance(section.get("condition"), str):
        yield place(document, ("filter", "condition"), "filter: one condition, as text, is needed")
    for name in section:
        if name not in ("rules", "condition"):
            yield from selection_faults(document, ("filter", name), section[name])


def _strangers(document: Document, key: str, others: tuple[str, ...]) -> Iterator[RuleError]:
    for other in others:
        if other in document.value:
            yield place(document, (other,), f"{other} beside {key}: a document is one or the other", "give each a document of its own")
