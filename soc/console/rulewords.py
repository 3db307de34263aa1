"""What rules say in people's languages: title, what it is about, when it may be wrong and what to do, from their source.

Sigma has English for these; ours have Vietnamese beside it, in `custom`.
"""
from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from soc.detect.rulestore import RuleStore
from soc.detect.yamltext import read_documents
from soc.errors import NotFoundError, SocError

__all__ = ["RuleWords", "Words"]

_MARK: Final = "title_vi"
"""What the source of a rule that has a title in another language holds."""


@dataclass(frozen=True, slots=True)
class Words:
    """By language; nothing where a rule says nothing in it. `references` are addresses of web pages; `source` is the rule's text."""

    title: Mapping[str, str] = field(default_factory=dict)
    description: Mapping[str, str] = field(default_factory=dict)
    mistakes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    response: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    source: str = ""


class RuleWords:
    """Reads a rule's words, and all titles when the rules have changed. Safe for several threads."""

    def __init__(self, rules: RuleStore) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._version = ""
        self._titles: dict[str, Mapping[str, str]] = {}

    def of(self, rule_id: str) -> Words:
        """A rule's words; none for one that is not there any more."""
        try:
            return _words(self._rules.show(rule_id)[1])
        except NotFoundError:
            return Words()

    def title(self, rule_id: str, title: str, language: str) -> str:
        """The rule's title in a language; `title` where it has none."""
        version = self._rules.version()
        with self._lock:
            if version != self._version or not self._version:
                self._titles = {known: _words(source).title for known, source in self._rules.sources(_MARK).items()}
                self._version = version
            return self._titles.get(rule_id, {}).get(language) or title


def _words(source: str) -> Words:
    try:
        value: dict[str, Any] = read_documents(source.encode("utf-8", "surrogatepass"))[-1].value
    except (SocError, IndexError):
        return Words(source=source)
    custom = value.get("custom")
    own: Mapping[str, Any] = custom if isinstance(custom, dict) else {}
    return Words(
        {"vi": _text(own.get("title_vi"))},
        {"en": _text(value.get("description")), "vi": _text(own.get("description_vi"))},
        {"en": _texts(value.get("falsepositives")), "vi": _texts(own.get("falsepositives_vi"))},
        {"en": _texts(own.get("response")), "vi": _texts(own.get("response_vi"))},
        tuple(one for one in _texts(value.get("references")) if one.startswith(("https://", "http://"))),
        source)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
