"""What a Sigma detection means, read straight from its YAML values by the specification's words: no pySigma, no atoms, no engine.

Only single values are judged by the plain reference (`holds_for`). Values are lists of texts by field; None is an explicit null.
"""
from __future__ import annotations

import base64
import itertools
import re
from fnmatch import fnmatchcase
from typing import Any, Final

from soc.detect.compiled import AtomSpec
from soc.detect.engine.reference import holds_for

DASHES: Final = "-/–—―"
PARTS: Final = {"minute", "hour", "day", "week", "month", "year"}
Record = dict[str, str | None]


def selected(selection: Any, record: Record) -> bool:
    """A selection: a map is and, a list of maps is or, a list of texts is keywords (*Search-Identifier*)."""
    if isinstance(selection, dict):
        return all(item(key, values, record) for key, values in selection.items())
    if any(isinstance(one, dict) for one in selection):
        return any(selected(one, record) for one in selection)
    return item("", selection, record)


def item(key: str, values: Any, record: Record) -> bool:
    """One field with its modifiers and its value or values: or, under `all` and."""
    field, *modifiers = key.split("|")
    listed = values if isinstance(values, list) else [values]
    joined = all if "all" in modifiers else any
    found = joined(value_holds(field, modifiers, value, record) for value in listed)
    return not found if "neq" in modifiers else found


def value_holds(field: str, modifiers: list[str], value: Any, record: Record) -> bool:
    """One value of the rule against the record."""
    if "exists" in modifiers:
        return (field in record) == value
    have = [text for text in record.values() if text is not None] if not field else [record[field]] if record.get(field) is not None else []
    if value is None:
        return not have
    texts = [str(text) for text in have]
    if "fieldref" in modifiers:
        other = record.get(value)
        return other is not None and any(placed(modifiers, literal(other), text, "") for text in texts)
    return any(one_holds(field, modifiers, value, text) for text in texts)


def one_holds(field: str, modifiers: list[str], value: Any, text: str) -> bool:
    """One value of the rule against one text of the record."""
    for modifier in modifiers:
        if modifier in ("re", "cidr"):
            flags = "".join(flag for flag in "ims" if flag in modifiers)
            return holds_for(AtomSpec("f", modifier, f"(?{flags}){value}" if flags else value), text)
        if modifier in PARTS:
            compared = next((f" {one}" for one in modifiers if one in ("lt", "lte", "gt", "gte")), "")
            return holds_for(AtomSpec("f", modifier + compared, str(value)), text)
        if modifier in ("lt", "lte", "gt", "gte") and not PARTS & set(modifiers):
            return holds_for(AtomSpec("f", modifier, str(value)), text)
    written = str(value).lower() if isinstance(value, bool) else str(value)
    forms = encoded(written, modifiers) if {"base64", "base64offset"} & set(modifiers) else [written]
    if "windash" in modifiers:
        forms = [one for form in forms for one in dashed(form)]
    return any(placed(modifiers if field else ["contains"], form, text, "cased" if "cased" in modifiers else "") for form in forms)


def placed(modifiers: list[str], form: str, text: str, cased: str) -> bool:
    """A text of the rule, wildcards in it, as the whole value or at a place of it."""
    signs = signs_of(form)
    if "contains" in modifiers or "endswith" in modifiers:
        signs = ["*", *signs]
    if "contains" in modifiers or "startswith" in modifiers:
        signs = [*signs, "*"]
    return holds_for(AtomSpec("f", "like", "".join(signs), bool(cased)), text)


def signs_of(form: str) -> list[str]:
    """Wildcards as they are, all else escaped. A backslash escapes a wildcard or itself, before all else it is one (*Escaping*)."""
    return [sign if sign in "*?" else "\\" + sign[-1] for sign in re.findall(r"\\[\\*?]|.", form, re.DOTALL)]


def literal(text: str) -> str:
    """A text as a rule writes it without wildcards."""
    return re.sub(r"([\\*?])", r"\\\1", text)


def dashed(form: str) -> list[str]:
    """All ways to write the dashes that begin a word."""
    parts = re.split(rf"\B[{DASHES}]\b", form)
    return ["".join(itertools.chain(*zip(parts, [*signs, ""], strict=True))) for signs in itertools.product(DASHES, repeat=len(parts) - 1)]


def encoded(written: str, modifiers: list[str]) -> list[str]:
    """base64, or of the three offsets the signs that hold bits of the value alone."""
    data = written.encode("utf-16-le" if "wide" in modifiers else "utf-16-be" if "utf16be" in modifiers else "utf-8")
    if "base64" in modifiers:
        return [base64.b64encode(data).decode()]
    return [base64.b64encode(bytes(offset) + data + bytes(2)).decode()[-(-8 * offset // 6) : 8 * (offset + len(data)) // 6] for offset in range(3)]


def condition_holds(tree: Any, selections: dict[str, Any], record: Record) -> bool:
    """A condition as a tree: a selection's name, ("not", tree), ("and" or "or", tree, tree …), ("1" or "all", pattern)."""
    if isinstance(tree, str):
        return selected(selections[tree], record)
    sign, *parts = tree
    if sign in ("1", "all"):
        named = [name for name in selections if fnmatchcase(name, parts[0].replace("them", "*")) and not name.startswith("_")]
        return (any if sign == "1" else all)(selected(selections[name], record) for name in named)
    held = [condition_holds(part, selections, record) for part in parts]
    return not held[0] if sign == "not" else all(held) if sign == "and" else any(held)
