"""What rules of ours say in people's languages: title, description and what to do, from `custom` in their source."""
from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from soc.detect.rulestore import RuleStore
from soc.detect.yamltext import read_documents
from soc.errors import SocError

__all__ = ["RuleWords", "Words"]

_MARK: Final = "response"
"""What the source of a rule that has such words holds."""


@dataclass(frozen=True, slots=True)
class Words:
    """By language; "" and empty where a rule says nothing in it."""

    title: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    response: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class RuleWords:
    """Reads the rules' words when the rules have changed. Safe for several threads."""

    def __init__(self, rules: RuleStore) -> None:
        self._rules = rules
        self._lock = threading.Lock()
        self._version = ""
        self._known: dict[str, Words] = {}

    def of(self, rule_id: str) -> Words:
        """A rule's words; none for one that has none."""
        version = self._rules.version()
        with self._lock:
            if version != self._version or not self._version:
                self._known = {known: _words(source) for known, source in self._rules.sources(_MARK).items()}
                self._version = version
            return self._known.get(rule_id, Words())

    def title(self, rule_id: str, title: str, language: str) -> str:
        """The rule's title in a language; `title` where it has none."""
        return self.of(rule_id).title.get(language) or title


def _words(source: str) -> Words:
    try:
        value: dict[str, Any] = read_documents(source.encode("utf-8", "surrogatepass"))[-1].value
    except (SocError, IndexError):
        return Words()
    custom = value.get("custom")
    if not isinstance(custom, dict):
        return Words()
    return Words(
        {"vi": _text(custom.get("title_vi"))}, _text(value.get("description")),
        {"en": _steps(custom.get("response")), "vi": _steps(custom.get("response_vi"))})


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _steps(value: object) -> tuple[str, ...]:
    return tuple(step for step in value if isinstance(step, str)) if isinstance(value, list) else ()
