"""`correlation:` documents -> `Correlation`, or the reason why not. pySigma parses and validates; what it lets pass is refused here."""
from __future__ import annotations

from typing import Any, Final

from soc.detect.correlation.spec import MAX_COUNT, TEMPORAL, VALUED, Correlation
from soc.errors import RuleError

__all__ = ["MAX_ORDERED", "MAX_RULES", "MAX_SPAN", "parse_correlation"]

MAX_RULES: Final = 1_000
MAX_ORDERED: Final = 16
"""Rules of an ordered correlation; of one with an extended condition 8."""
MAX_ORDERED_EXTENDED: Final = 8
MAX_GROUP: Final = 16
MAX_SPAN: Final = 31 * 86_400
"""Seconds. Longer windows would keep more of the past in the state database than detection on arrival should."""
_UNITS: Final = "smhd"
_KEYS: Final = frozenset({"type", "rules", "timespan", "group-by", "aliases", "condition", "generate", "field"})


def parse_correlation(value: dict[str, Any], entity: str) -> tuple[Correlation, Any]:
    """The correlation of a document and pySigma's object of it (title, level, tags …).

    Raises RuleError whose `path` is the dotted key within the document that is at fault ("" if unknown).
    """
    from sigma.correlations import SigmaCorrelationRule
    from sigma.exceptions import SigmaError

    section = value.get("correlation")
    if not isinstance(section, dict):
        raise _fault("", "correlation: a mapping with type, rules, group-by, timespan and condition is needed")
    _check(section)
    try:
        parsed = SigmaCorrelationRule.from_dict(value)
    except SigmaError as error:
        raise _fault("", " ".join(str(error).split())[:300]) from None
    except Exception as error:  # noqa: BLE001 - pySigma is not ours: whatever it throws refuses this rule and no other
        raise _fault("", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from None
    return _correlation(value, section, parsed, entity), parsed


def _correlation(value: dict[str, Any], section: dict[str, Any], parsed: Any, entity: str) -> Correlation:
    kind = parsed.type.name.lower()
    extended = isinstance(section.get("condition"), str)
    rules = tuple(one.reference for one in parsed.rules) if parsed.rules else tuple(parsed.condition.get_referenced_rules())
    _check_rules(kind, rules, extended)
    tree = _tree(parsed.condition.parsed, {name: at for at, name in enumerate(rules)}) if extended else None
    op, count = ("gte", len(rules)) if extended else (parsed.condition.op.name.lower(), parsed.condition.count)
    counted = kind in TEMPORAL or kind in ("event_count", "value_count")
    if counted and not 0 <= count <= MAX_COUNT:
        raise _fault("condition", f"condition: {count} is out of bounds: a count is compared with 0 to {MAX_COUNT}")
    if kind in TEMPORAL and not extended and op in ("gt", "gte") and count + (op == "gt") > len(rules):
        raise _fault("condition", f"condition: more than the {len(rules)} rules listed can never occur")
    fields: tuple[str, ...] = ()
    if kind in VALUED:
        fields = _names("condition", parsed.condition.fieldref)
        if kind != "value_count" and len(fields) > 1:
            raise _fault("condition", f"condition: {kind} takes one field")
    elif not extended and parsed.condition.fieldref is not None:
        raise _fault("condition", f"condition: field has no meaning for {kind}")
    aliases = {alias.alias: {ref.reference: str(name) for ref, name in alias.mapping.items()} for alias in parsed.aliases}
    _check_aliases(aliases, rules, parsed.group_by)
    custom = value.get("custom")
    province = custom.get("soc_province", False) if isinstance(custom, dict) else False
    if not isinstance(province, bool):
        raise _fault("", "custom: soc_province is true or false")
    return Correlation(
        kind, rules, parsed.timespan.seconds * 1_000_000, tuple(parsed.group_by), aliases, op, count, tree, fields,
        _percentile(kind, parsed, extended), bool(parsed.generate), province, entity)


def _check(section: dict[str, Any]) -> None:
    """What pySigma would accept, or refuse in words that help nobody."""
    unknown = sorted(set(section) - _KEYS)
    if unknown:
        raise _fault(unknown[0], f"correlation: unknown key {unknown[0]!r}")
    kind = section.get("type")
    if not isinstance(kind, str):
        raise _fault("type", "correlation: the type is missing")
    if kind.lower() in ("temporal_extended", "temporal_ordered_extended"):
        raise _fault("type", f"type {kind} is a temporal type with a condition written out",
                     "write type: temporal or temporal_ordered and the condition as text, e.g. a and not b")
    if "group-by" not in section or section["group-by"] is None:
        raise _fault("", "correlation: group-by is missing (the specification makes it mandatory)",
                     "name the fields; group-by: [] makes one group of an agency's events")
    for key in ("rules", "group-by"):
        _names(key, section.get(key, []))
    if len(section["group-by"]) > MAX_GROUP and isinstance(section["group-by"], list):
        raise _fault("group-by", f"group-by: more than {MAX_GROUP} fields")
    _check_timespan(section.get("timespan"))
    condition = section.get("condition")
    if isinstance(condition, dict):
        _check_condition(condition)
    elif isinstance(condition, str) and len(condition) > 10_000:
        raise _fault("condition", "condition: longer than 10,000 characters")
    elif condition is not None and not isinstance(condition, str):
        raise _fault("condition", "condition: a comparison such as gte: 10, or for temporal types an expression of rule names")


def _check_timespan(span: Any) -> None:
    if span is None:
        raise _fault("", "correlation: the timespan is missing", "e.g. timespan: 5m")
    text = str(span)
    digits, unit = text[:-1], text[-1:]
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9 or unit not in _UNITS or not int(digits):
        raise _fault("timespan", f"timespan {text[:40]!r}: a number and one of s, m, h, d is needed",
                     "the specification knows no weeks, months or years; 1h30 is written 90m")
    if int(digits) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit] > MAX_SPAN:
        raise _fault("timespan", f"timespan {text}: at most {MAX_SPAN // 86_400}d")


def _check_condition(condition: dict[str, Any]) -> None:
    found = [key for key in condition if key in ("lt", "lte", "gt", "gte", "eq", "neq")]
    if len(found) > 1:
        raise _fault(
            "condition", f"condition: {' and '.join(found)} together: the specification asks for a map of exactly one criterion, and "
            "pySigma takes no range", "write a correlation for each bound, or choose the lower one")
    if not found:
        raise _fault("condition", "condition: one of gt, gte, lt, lte, eq, neq is needed")
    number = condition[found[0]]
    text = str(number)
    if isinstance(number, bool) or not text.removeprefix("-").isdigit() or len(text) > 17 or not text.isascii():
        raise _fault("condition", f"condition: {found[0]}: {text[:40]!r} is no whole number")


def _check_rules(kind: str, rules: tuple[str, ...], extended: bool) -> None:
    if not rules:
        raise _fault("rules", "correlation: no rules are named")
    most = MAX_RULES if kind != "temporal_ordered" else MAX_ORDERED_EXTENDED if extended else MAX_ORDERED
    if len(rules) > most:
        raise _fault("rules", f"rules: {len(rules)} rules; a {'correlation of type ' + kind} takes at most {most}",
                     "correlate correlations of parts of them")
    twice = next((name for name in rules if rules.count(name) > 1), "") if len(set(rules)) != len(rules) else ""
    if twice:
        raise _fault("rules", f"rules: {twice[:100]!r} is listed twice")


def _check_aliases(aliases: dict[str, dict[str, str]], rules: tuple[str, ...], group_by: list[str]) -> None:
    if len(aliases) > MAX_GROUP:
        raise _fault("aliases", f"aliases: more than {MAX_GROUP}")
    for alias, mapping in aliases.items():
        strange = next((name for name in mapping if name not in rules), None)
        if strange is not None:
            raise _fault("aliases", f"aliases: {alias} speaks of {str(strange)[:100]!r}, which rules does not list",
                         "use the same name or id in both")
        if alias in group_by:
            missing = [name for name in rules if name not in mapping]
            if missing and mapping:
                raise _fault("aliases", f"aliases: {alias} says nothing of {missing[0][:100]!r}, whose events could then join no group")


def _percentile(kind: str, parsed: Any, extended: bool) -> int:
    found = None if extended else parsed.condition.percentile
    if kind != "value_percentile":
        if found is not None:
            raise _fault("condition", f"condition: percentile has no meaning for {kind}")
        return 0
    if found is None or not 0 <= found <= 100:
        raise _fault("condition", "condition: value_percentile needs percentile: 0 to 100")
    return int(found)


def _names(key: str, written: Any) -> tuple[str, ...]:
    found = [written] if isinstance(written, str) else written
    if not isinstance(found, list) or not all(isinstance(one, str) and 0 < len(one) <= 256 for one in found):
        raise _fault(key, f"{key}: a name, or a list of names, is needed")
    return tuple(found)


def _tree(node: Any, places: dict[str, int]) -> Any:
    from sigma.correlations import CorrelationConditionAND, CorrelationConditionNOT, SigmaRuleReference

    if isinstance(node, SigmaRuleReference):
        return places[node.reference]
    parts = [_tree(one, places) for one in node.args]
    return ["!", parts[0]] if isinstance(node, CorrelationConditionNOT) else [
        "&" if isinstance(node, CorrelationConditionAND) else "|", *parts]


def _fault(key: str, message: str, remedy: str = "") -> RuleError:
    return RuleError(message, path=f"correlation.{key}" if key else "correlation", remedy=remedy)
