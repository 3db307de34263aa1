"""What a sound rule does that its author hardly means: pySigma's validators that bear on what is found, sieved, and checks of our own.

Nothing here refuses a rule. Matters of taste (file names, titles, wildcards where a modifier would do) are left to `sigma check`.
"""
from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from soc.detect.pipelines import pipelines
from soc.detect.readiness import producible, why_not
from soc.detect.rules import FoundRule
from soc.detect.yamltext import Document, read_documents
from soc.errors import RuleError

__all__ = ["advice"]

_ATTRIBUTES: Final = (
    "title", "id", "name", "taxonomy", "related", "status", "description", "license", "author", "references", "date", "modified", "logsource",
    "detection", "correlation", "filter", "fields", "falsepositives", "level", "tags", "scope")
"""Attributes of the specification 2.1; any other is the author's own and means nothing to us."""
_NEAR: Final = 0.85
_NEAR_FIELD: Final = 0.93
_STAR_IN_PATH: Final = re.compile(r"(?:\A(?=\*\\)|\b[A-Za-z]:|\\[^\\*]*[\w%)}])\*(?:[\\.]|\Z)")
r"""A star itself in the middle of a path, at its end or its start: `temp*.bin`, `C:*`, `*\` (written `temp\*.bin`, `C:\*`, `\*\`)."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the parts of one rule stand in its file; `document` counts lines from its own first one."""

    rule: FoundRule
    document: Document

    def warn(self, message: str, remedy: str, *keys: str, text: str = "") -> RuleError:
        """A warning at the line of this key, or of this text below it."""
        line = self.document.lines.get(keys, self.document.line)
        if text:
            here = re.compile(rf"(?<![\w:\\%)]){re.escape(text)}")
            line += next((below for below, one in enumerate(self.rule.source.splitlines()[line - 1 :]) if here.search(one)), 0)
        return RuleError(message, path=self.rule.path, line=line + self.rule.line - self.document.line, remedy=remedy)


def advice(rule: FoundRule) -> list[RuleError]:
    """What to look at again in a rule that `read_rules` took, by line. Filters and correlations have attributes only."""
    place = _Place(rule, read_documents(rule.source.encode("utf-8", "surrogatepass"))[0])
    found = [*_attributes(place)]
    if rule.rule is None:
        names = rule.off.removeprefix("placeholder ")
        found.append(place.warn(f"it waits for the list of {names}", "--lists names the folder of lists", text=names.split(",")[0]))
    if rule.kind == "rule":
        reason = why_not(rule.logsource)
        if reason:
            found.append(place.warn(reason, "", "logsource"))
        found += [*_validated(place), *_fields(place), *_offsets(place), *_negations(place)]
    return sorted(found, key=lambda one: one.line)


def _attributes(place: _Place) -> Iterator[RuleError]:
    value = place.document.value
    if "id" not in value:
        yield place.warn("it has no id: under another file name it is another rule, and its alerts and exceptions stay behind",
                         "`uuidgen` makes an id")
    for name in value:
        near = difflib.get_close_matches(str(name).lower(), _ATTRIBUTES, n=1, cutoff=_NEAR)
        if near and name not in _ATTRIBUTES and near[0] not in value:
            yield place.warn(f"{name}: Sigma has no such attribute, so it means nothing", f"did you mean {near[0]}?", str(name))


# ---- pySigma's validators


def _validated(place: _Place) -> Iterator[RuleError]:
    """The issues of pySigma's validators that mean something here, in our words."""
    from sigma.rule import SigmaRule

    parsed = SigmaRule.from_dict(place.document.value)
    for validator in _validators():
        for issue in validator.validate(parsed):
            word = _words().get(type(issue))
            worded = word(place, issue) if word else None
            if worded is not None:
                yield worded


@cache
def _validators() -> tuple[Any, ...]:
    from sigma.validators.core import condition, logsources, modifiers, values

    return (condition.DanglingDetectionValidator(), logsources.FieldnameLogsourceValidator(),
            logsources.SpecificInsteadOfGenericLogsourceValidator(), modifiers.InvalidModifierCombinationsValidator(),
            values.ControlCharacterValidator(), values.EscapedWildcardValidator())


def _unused(place: _Place, issue: Any) -> RuleError | None:
    name = issue.detection_name
    if name.startswith("_"):  # set aside on purpose
        return None
    return place.warn(f"{name}: the condition does not use this selection", "use it, or begin its name with _", "detection", name)


def _odd_logsource(place: _Place, issue: Any) -> RuleError:
    near = difflib.get_close_matches(issue.fieldname.lower(), ("product", "category", "service", "definition"), n=1)
    return place.warn(f"logsource: {issue.fieldname} asks for nothing: the rule meets more events than it seems to",
                      f"did you mean {near[0]}?" if near else "product, category and service are known", "logsource", issue.fieldname)


def _one_of_many(place: _Place, issue: Any) -> RuleError | None:
    """Only where other sources than the one named would be met through the category."""
    service, category = f"windows//{issue.logsource.service}", f"windows/{issue.generic_logsource.category}/"
    if not any(category in triples.split() and service not in triples.split() for triples in producible()):
        return None
    return place.warn(f"EventID {issue.event_id} of {issue.logsource.service} only: other sources of such events are not met",
                      f"category: {issue.generic_logsource.category} meets them all", "logsource")


def _all_of_one(place: _Place, issue: Any) -> RuleError | None:
    """`all` over whole values: a field with one value cannot be two things. Patterns can hold together."""
    from sigma.types import SigmaString

    item = issue.detection_item
    if not all(isinstance(value, SigmaString) and not value.contains_special() for value in item.value):
        return None
    return place.warn(f"{item.field}|all: no single value is all of these", f"write {item.field}|contains|all",
                      "detection", text=f"{item.field}|")


def _control(place: _Place, issue: Any) -> RuleError:
    text = str(issue.string)
    return place.warn(f"{text!r} holds a control character", r"in double quotes \t and \n are not a backslash and a letter: use single ones",
                      "detection", text=repr(text)[1:-1].strip("*"))


def _star(place: _Place, issue: Any) -> RuleError | None:
    part = next((part for part in issue.string.s if isinstance(part, str) and _STAR_IN_PATH.search(part)), None)
    if part is None:
        return None
    written = part.replace("*", r"\*")
    return place.warn(rf"{written} looks for a star itself: \* is no wildcard",
                      rf"for a backslash and then any text write {written.replace(chr(92) + '*', chr(92) * 2 + '*')}", "detection", text=written)


@cache
def _words() -> dict[type, Callable[[_Place, Any], RuleError | None]]:
    """How each issue is put; those that are not here are refused by the lint, or mean something in our engine (windash with all)."""
    from sigma.validators.core import condition, logsources, modifiers, values

    return {condition.DanglingDetectionIssue: _unused, logsources.FieldnameLogsourceIssue: _odd_logsource,
            logsources.SpecificInsteadOfGenericLogsourceIssue: _one_of_many, modifiers.AllWithoutContainsModifierIssue: _all_of_one,
            values.ControlCharacterIssue: _control, values.EscapedWildcardIssue: _star}


# ---- our own


def _fields(place: _Place) -> Iterator[RuleError]:
    """Fields that are spelt almost like one that events of this log source have, and are none."""
    if place.rule.rule is None:
        return
    known = _known_fields(place.rule)
    by_fold = {name.casefold(): name for name in known}
    for name in dict.fromkeys(atom.field for atom in place.rule.rule.unpacked().atoms):
        if not name or name in known:
            continue
        near = [by_fold[name.casefold()]] if name.casefold() in by_fold else difflib.get_close_matches(name, known, n=1, cutoff=_NEAR_FIELD)
        if near:
            yield place.warn(f"{name}: no field of these events", f"did you mean {near[0]}?", "detection", text=name)


def _known_fields(rule: FoundRule) -> set[str]:
    asked = rule.logsource
    return pipelines().names_of(asked) | (_windows_fields() if asked.product == "windows" and asked.category else set())


@cache
def _windows_fields() -> set[str]:
    """The fields of Windows categories, as pySigma's mapping for them lists them."""
    from sigma.pipelines.elasticsearch.windows import ecs_windows

    mappings = [getattr(item.transformation, "mapping", None) for item in ecs_windows().items]
    return {str(name) for mapping in mappings if isinstance(mapping, dict) for name in mapping}


def _offsets(place: _Place) -> Iterator[RuleError]:
    """pySigma's validator for this does not know our base64offset."""
    for path in place.document.lines:
        field, *modifiers = path[-1].split("|")
        if path[0] == "detection" and "base64offset" in modifiers and "contains" not in modifiers and field:
            yield place.warn(f"{path[-1]}: what is encoded stands inside a longer text", "add contains behind it", *path)


def _negations(place: _Place) -> Iterator[RuleError]:
    if place.rule.rule is not None and _holds_of_nothing(place.rule.rule.unpacked().tree):
        yield place.warn("an event without any of these fields fires it: there are only exclusions", "add a selection of what is looked for",
                         "detection", "condition")


def _holds_of_nothing(tree: Any) -> bool:
    """Whether a condition holds when none of its tests does."""
    if isinstance(tree, int):
        return False
    if tree[0] == "!":
        return not _holds_of_nothing(tree[1])
    return (all if tree[0] == "&" else any)(_holds_of_nothing(part) for part in tree[1:])
