"""Marks in an event what a rule's tests found there."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from markupsafe import Markup, escape

from soc.detect.match import Atom

__all__ = ["marked", "texts_of"]

_WILD: Final = re.compile(r"(?<!\\)[*?]")
_PLAIN: Final = frozenset({"is", "contains", "startswith", "endswith"})


def texts_of(atoms: Iterable[Atom], event: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Field of the event -> texts that a test found in it ("" in it: the field as a whole was tested).

    A rule's field is one of the event by its name, or by the last part of it; else the fields that hold the text are taken.
    """
    found: dict[str, list[str]] = {}
    for atom in atoms:
        text = _text(atom)
        last = atom.field.lower().rpartition(".")[2]
        named = [name for name in event if atom.field and (name == atom.field or name.lower().rpartition(".")[2] == last)]
        holding = [name for name in named or event if text and text.lower() in _said(event[name]).lower()]
        for name in holding or named:
            found.setdefault(name, []).append(text if holding else "")
    return {name: tuple(dict.fromkeys(texts)) for name, texts in found.items()}


def marked(shown: str, texts: Sequence[str]) -> Markup:
    """`shown` escaped, with each of the texts in it marked, whatever its case."""
    wanted = sorted((re.escape(text) for text in texts if text), key=len, reverse=True)
    if not wanted:
        return escape(shown)
    parts, at = [Markup()], 0
    for hit in re.finditer("|".join(wanted), shown, re.IGNORECASE):
        parts += [escape(shown[at : hit.start()]), Markup("<mark>"), escape(hit[0]), Markup("</mark>")]
        at = hit.end()
    return Markup().join([*parts, escape(shown[at:])])


def _text(atom: Atom) -> str:
    if atom.test in _PLAIN:
        return atom.literal
    if atom.test == "like":
        return max((part.replace("\\*", "*").replace("\\?", "?").replace("\\\\", "\\") for part in _WILD.split(atom.literal)), key=len)
    return ""


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
