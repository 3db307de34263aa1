"""What is wrong with a rule by the specification, all of it at once, each with its line: before pySigma sees the rule.

Attributes by the JSON schema of the specification 2.1, selections by its chapter Detection.
"""
from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from soc.detect.chains import chain_faults, shown_value
from soc.detect.foldedfields import folded_fault
from soc.detect.yamltext import Document
from soc.errors import RuleError

__all__ = ["LEVELS", "STATUSES", "attribute_faults", "place", "rule_faults", "selection_faults"]

LEVELS: Final = ("informational", "low", "medium", "high", "critical")
STATUSES: Final = ("stable", "test", "experimental", "deprecated", "unsupported")
_TAXONOMIES: Final = ("sigma", "ecs")
_RELATIONS: Final = ("derived", "obsolete", "merged", "renamed", "similar", "correlation")
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
_DATE: Final = re.compile(r"(\d{4})([-/])(\d{2})\2(\d{2})\Z")
_TAG: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9._-]+\Z")


def rule_faults(document: Document) -> list[RuleError]:
    """Every fault of a detection rule, by line."""
    found = [*attribute_faults(document), *_logsource(document), *_detection(document)]
    return sorted(found, key=lambda error: error.line)


def place(document: Document, path: tuple[str, ...], message: str, remedy: str = "") -> RuleError:
    """An error at the line of this key, or of the nearest one above it."""
    while path and path not in document.lines:
        path = path[:-1]
    return RuleError(message, line=document.lines.get(path, document.line), remedy=remedy)


# ---- attributes


def attribute_faults(document: Document) -> Iterator[RuleError]:
    """What is wrong with the attributes that every kind of Sigma document has."""
    value = document.value
    if value.get("title") is None:
        yield place(document, (), "title: it is missing", "give the rule a title of at most 256 characters")
    for name, check in _ATTRIBUTES.items():
        if value.get(name) is not None and (reason := check(value[name])):
            message, _, remedy = reason.partition(" | ")
            yield place(document, (name,), f"{name}: {message}", remedy)


def _text(most: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            return f"text is needed, not {shown_value(value)}"
        return f"{len(value)} characters; {most} are allowed" if len(value) > most else ""

    return check


def _texts(value: Any) -> str:
    if not isinstance(value, list):
        return f"a list of texts is needed, not {shown_value(value)}"
    wrong = [one for one in value if not isinstance(one, str)]
    return f"a list of texts is needed; {shown_value(wrong[0])} is none" if wrong else ""


def _one_of(choices: Sequence[str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if isinstance(value, str) and value.lower() in choices:
            return ""
        near = difflib.get_close_matches(str(value).lower(), choices, n=1)
        return f"{shown_value(value)} is none of {', '.join(choices)}" + (f" | did you mean {near[0]}?" if near else "")

    return check


def _date(value: Any) -> str:
    found = _DATE.match(value) if isinstance(value, str) else None
    if found is None:
        return f"{shown_value(value)} is no date | write it as 2025-08-31"
    try:
        datetime.date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return f"{value} is not in the calendar"
    return ""


def _uuid(value: Any) -> str:
    if isinstance(value, str) and _ID.match(value):
        return ""
    return f"{shown_value(value)} is no UUID | write it as 8-4-4-4-12 hexadecimal digits; `uuidgen` makes one"


def _tags(value: Any) -> str:
    wrong = _texts(value) or next((f"{one!r} has no namespace | write it as attack.t1059" for one in value if not _TAG.match(one)), "")
    return wrong


def _related(value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(one, dict) and {"id", "type"} <= one.keys() for one in value):
        return "a list of mappings with id and type is needed"
    for one in value:
        reason = _uuid(one["id"]) or _one_of(_RELATIONS)(one["type"])
        if reason:
            return reason
    return ""


def _texts_or_one(value: Any) -> str:
    return "" if isinstance(value, str) or value is None else _texts(value)


_ATTRIBUTES: Final[dict[str, Callable[[Any], str]]] = {
    "title": _text(256), "id": _uuid, "name": _text(256), "taxonomy": _one_of(_TAXONOMIES), "status": _one_of(STATUSES),
    "description": _text(65_535), "license": _text(256), "author": _text(65_535), "date": _date, "modified": _date,
    "references": _texts_or_one, "fields": _texts_or_one, "falsepositives": _texts_or_one, "level": _one_of(LEVELS), "tags": _tags,
    "related": _related, "scope": _texts,
}


# ---- logsource and detection


def _logsource(document: Document) -> Iterator[RuleError]:
    value = document.value.get("logsource")
    if not isinstance(value, dict):
        yield place(document, ("logsource",), "logsource: a mapping with product, category or service is needed")
        return
    parts = {part: value.get(part) for part in ("product", "category", "service")}
    for part, name in parts.items():
        if name is not None and not isinstance(name, str):
            yield place(document, ("logsource", part), f"logsource: {part} is text, not {shown_value(name)}")
    if not any(parts.values()):
        yield place(document, ("logsource",), "logsource: product, category or service is needed")


def _detection(document: Document) -> Iterator[RuleError]:
    detection = document.value.get("detection")
    if not isinstance(detection, dict):
        yield place(document, ("detection",), "detection: a mapping of selections and a condition is needed")
        return
    if "timeframe" in detection:
        yield place(document, ("detection", "timeframe"), "timeframe is obsolete", "use a correlation rule")
    if "condition" not in detection:
        yield place(document, ("detection",), "detection: the condition is missing")
    else:
        condition = detection["condition"]
        parts = condition if isinstance(condition, list) else [condition]
        if not parts or not all(isinstance(part, str) for part in parts):
            yield place(document, ("detection", "condition"), "condition: text, or a list of texts, is needed")
        if len(parts) > 100:
            yield place(document, ("detection", "condition"), "more than 100 conditions")
    if len(detection) > 5_000:
        yield place(document, ("detection",), "more than 5,000 selections")
        return
    names = [name for name in detection if name not in ("condition", "timeframe")]
    if not names:
        yield place(document, ("detection",), "detection: there is no selection")
    for name in names:
        yield from selection_faults(document, ("detection", name), detection[name])


def selection_faults(document: Document, path: tuple[str, ...], selection: Any) -> Iterator[RuleError]:
    """What is wrong with one selection: a mapping of fields, a list of those, or keywords."""
    name = path[-1]
    if isinstance(selection, dict):
        if not selection:
            yield place(document, path, f"{name}: the selection is empty")
        for key, values in selection.items():
            yield from _item(document, path, key, values)
    elif isinstance(selection, list) and any(isinstance(one, dict | list) for one in selection):
        for one in selection:
            if isinstance(one, list):
                yield place(document, path, f"{name}: a list inside a list has no meaning")
            else:
                yield from selection_faults(document, path, one)
    else:
        keywords = selection if isinstance(selection, list) else [selection]
        for message, remedy in chain_faults("", (), keywords):
            yield place(document, path, f"{name}: {message}", remedy)


def _item(document: Document, path: tuple[str, ...], key: str, values: Any) -> Iterator[RuleError]:
    field, *modifiers = key.split("|")
    if not field.strip() and not modifiers:
        yield place(document, (*path, key), f"{path[-1]}: a field has no name", "keywords are written as a list")
        return
    fault = folded_fault(field.strip(), modifiers)
    if fault is not None:
        yield place(document, (*path, key), f"{key}: {fault[0]}", fault[1])
    for message, remedy in chain_faults(field.strip(), modifiers, values if isinstance(values, list) else [values]):
        yield place(document, (*path, key), f"{key}: {message}", remedy)
