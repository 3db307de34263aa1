"""The English words of our errors in the language of whoever reads the pages: `messages/errors.<language>.yml`.

An entry gives a text as the code raises it, what is filled in as {1}, {2} …, and the same in the other language; there
`{1:state}` says each of the filled-in words by its key `state.…` in the pages' own messages, `{1:said}` a text of this
catalogue that is filled in.
"""
from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from soc.console.language import MESSAGES, Translate

__all__ = ["Wording", "load_wording"]

_HOLE = re.compile(r"\{(\d)(?::(\w+))?\}")
_LONGEST = 4000
"""Characters of a text that is still looked up: what is longer holds somebody's data, not our words."""


class Wording:
    """Says texts of one catalogue (English template → template of the language); values filled in stay as they are."""

    def __init__(self, catalogue: Mapping[str, str], say: Translate) -> None:
        self._say = say
        self._whole = {english: other for english, other in catalogue.items() if not _HOLE.search(english)}
        ordered = sorted((english for english in catalogue if english not in self._whole), key=lambda one: -len(_HOLE.sub("", one)))
        self._filled = [(_pattern(english), catalogue[english]) for english in ordered]

    def __call__(self, text: str) -> str:
        """The text in this language; "" if the catalogue has no such text."""
        if text in self._whole or len(text) > _LONGEST:
            return self._whole.get(text, "")
        for pattern, other in self._filled:
            if found := pattern.fullmatch(text):
                values = found.groups()
                return _HOLE.sub(lambda hole: self._value(values[int(hole[1]) - 1], hole[2]), other)  # noqa: B023
        return ""

    def _value(self, text: str, kind: str | None) -> str:
        if kind == "said":
            return self(text) or text
        return ", ".join(self._say(f"{kind}.{word}") for word in text.split(", ")) if kind else text


def load_wording(language: str) -> Mapping[str, str]:
    """The catalogue of a language; empty for English, in which errors are raised."""
    path = MESSAGES / f"errors.{language}.yml"
    if not path.exists():
        return {}
    return {str(key): str(value) for key, value in yaml.load(path.read_text("utf-8"), yaml.CSafeLoader).items()}


def _pattern(english: str) -> re.Pattern[str]:
    literal = _HOLE.split(english)[::3]  # text, number, kind, text, …
    return re.compile("(.*?)".join(map(re.escape, literal)), re.DOTALL)
