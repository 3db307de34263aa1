"""Where a rule's field is found in our events, by the rule's log source: the YAML files beside this one.

Each file names a log source and its fields. A value is one of our fields, a list (the first that the event has counts),
or ``any:`` with a list (the values of all count). `prefixes` serve the fields that are not listed. A field that no
file speaks of is looked up under its own name. More specific files come first.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from soc.detect.compiled import LogSource
from soc.detect.yamltext import read_documents
from soc.errors import RuleError

__all__ = ["Names", "Pipelines", "pipelines"]


@dataclass(frozen=True, slots=True)
class Names:
    """Our fields that a rule's field stands for: the first that is there, or (`every`) the values of all."""

    fields: tuple[str, ...]
    every: bool = False


@dataclass(frozen=True, slots=True)
class _Pipeline:
    logsource: LogSource
    fields: Mapping[str, Names]
    prefixes: tuple[str, ...]

    def applies(self, logsource: LogSource) -> bool:
        return all(own in ("", asked) for own, asked in zip(_parts(self.logsource), _parts(logsource), strict=True))


class Pipelines:
    """All mappings, asked per rule field."""

    def __init__(self, found: Iterable[_Pipeline]) -> None:
        self._found = sorted(found, key=lambda one: -sum(part != "" for part in _parts(one.logsource)))
        self._answers: dict[tuple[LogSource, str], Names] = {}

    @classmethod
    def of(cls, texts: Mapping[str, bytes]) -> Pipelines:
        """From YAML by file name. Raises RuleError."""
        return cls(_read(name, text) for name, text in sorted(texts.items()))

    @classmethod
    def load(cls, *folders: Path) -> Pipelines:
        """Our own mappings and those of an administrator's folders, which come first. Raises RuleError."""
        texts = {f"0/{folder}/{path.name}": path.read_bytes() for folder in folders for path in sorted(folder.glob("*.yml"))}
        own = files("soc.detect.pipelines")
        texts |= {f"1/{item.name}": item.read_bytes() for item in own.iterdir() if item.name.endswith(".yml")}
        return cls.of(texts)

    def names(self, logsource: LogSource, field: str) -> Names:
        """Our fields for `field` as rules of this log source write it."""
        key = (logsource, field)
        if key not in self._answers:
            if len(self._answers) > 50_000:
                self._answers.clear()
            self._answers[key] = self._names(logsource, field)
        return self._answers[key]

    def _names(self, logsource: LogSource, field: str) -> Names:
        applying = [one for one in self._found if one.applies(logsource)]
        listed = [one.fields[field] for one in applying if field in one.fields]
        if listed and listed[0].every:
            return listed[0]
        found = [name for names in listed for name in names.fields]
        if not found:
            found = [prefix + field for one in applying for prefix in one.prefixes]
        return Names(tuple(dict.fromkeys([*found, field])))


@cache
def pipelines() -> Pipelines:
    """The product's own mappings, read at first use."""
    return Pipelines.load()


def _parts(logsource: LogSource) -> tuple[str, str, str]:
    return logsource.product, logsource.category, logsource.service


def _read(name: str, text: bytes) -> _Pipeline:
    documents = read_documents(text)
    value: Any = documents[0].value if len(documents) == 1 else None
    if not isinstance(value, dict) or not set(value) <= {"logsource", "fields", "prefixes"}:
        raise RuleError("a field mapping has logsource, fields and prefixes", path=name)
    source = value.get("logsource") or {}
    fields = {rule_field: _names_of(name, written) for rule_field, written in (value.get("fields") or {}).items()}
    return _Pipeline(
        LogSource(*(str(source.get(part, "")).lower() for part in ("product", "category", "service"))),
        fields, tuple(str(prefix) for prefix in value.get("prefixes") or ()))


def _names_of(name: str, written: Any) -> Names:
    every = isinstance(written, dict) and set(written) == {"any"}
    found = written["any"] if every else written
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not found or not all(isinstance(one, str) and one for one in found):
        raise RuleError(f"{written!r} names no fields", path=name)
    return Names(tuple(found), every)
