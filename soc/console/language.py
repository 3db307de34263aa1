"""What the pages say, in Vietnamese and English: `messages/<language>.yml`, flat keys, values with {placeholders}."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

__all__ = ["LANGUAGES", "MESSAGES", "Translate", "load_messages", "translator"]

LANGUAGES = ("vi", "en")
"""The first is the default."""

Translate = Callable[..., str]

MESSAGES = Path(__file__).with_name("messages")


def load_messages() -> Mapping[str, Mapping[str, str]]:
    """Language -> key -> text."""
    found = {}
    for language in LANGUAGES:
        read = yaml.load((MESSAGES / f"{language}.yml").read_text("utf-8"), yaml.CSafeLoader)
        found[language] = {str(key): str(value) for key, value in read.items()}
    return found


def translator(messages: Mapping[str, str]) -> Translate:
    """The function that says a key, its placeholders filled. A key that has no text says itself."""
    def say(key: str, **values: object) -> str:
        text = messages.get(key, key)
        for name, value in values.items():
            text = text.replace("{" + name + "}", str(value))
        return text

    return say
