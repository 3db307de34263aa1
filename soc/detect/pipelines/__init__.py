"""Where a rule's field is found in our events, by the rule's log source: the YAML files beside this one.

Each file names a log source and its fields. A value is one of our fields, a list (the first that the event has counts),
or ``any:`` with a list (the values of all count). `prefixes` serve the fields that are not listed. A field that no
file speaks of is looked up under its own name. More specific files come first.
"""
from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from soc.detect.compiled import LogSource
from soc.detect.yamltext import MAX_BYTES, read_documents
from soc.errors import RuleError
from soc.store.fold import FOLDED, SUFFIX

__all__ = ["Names", "Pipelines", "pipelines"]


_KEYS: Final = ("logsource", "fields", "prefixes")
_PARTS: Final = ("product", "category", "service")


@dataclass(frozen=True, slots=True)
class Names:
    """Our fields that a rule's field stands for: the first that is there, or (`every`) the values of all."""

    fields: tuple[str, ...]
    every: bool = False
    _hash: int = dataclasses.field(init=False, compare=False, repr=False)
    """Worked out once: the matcher looks fields up all the time."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.fields, self.every)))

    def __hash__(self) -> int:
        return self._hash


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
    def load(cls, *folders: Path) -> tuple[Pipelines, list[RuleError]]:
        """Our own mappings and those of an administrator's folders, which come first; and what is wrong with files of these.

        A file with a fault is left out as a whole. Folders may be missing.
        """
        found: list[_Pipeline] = []
        faults: list[RuleError] = []
        for path in (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())):
            if path.suffix.lower() in (".yml", ".yaml") and not path.name.startswith("."):
                try:
                    found.append(_read(str(path), _bytes(path)))
                except RuleError as error:
                    faults.append(RuleError(error.message, path=str(path), line=error.line, remedy=error.remedy))
        return cls([*found, *_own()]), faults

    def same_as(self, other: Pipelines) -> bool:
        """Whether both give the same answers."""
        return self is other or self._found == other._found

    def names(self, logsource: LogSource, field: str) -> Names:
        """Our fields for `field` as rules of this log source write it."""
        key = (logsource, field)
        if key not in self._answers:
            if len(self._answers) > 50_000:
                self._answers.clear()
            self._answers[key] = self._names(logsource, field)
        return self._answers[key]

    def names_of(self, logsource: LogSource) -> set[str]:
        """Every field that these mappings list for rules of this log source."""
        return {field for one in self._found if one.applies(logsource) for field in one.fields}

    def _names(self, logsource: LogSource, field: str) -> Names:
        applying = [one for one in self._found if one.applies(logsource)]
        listed = [one.fields[field] for one in applying if field in one.fields]
        if listed and listed[0].every:
            return listed[0]
        found = [name for names in listed for name in names.fields]
        if not found:
            found = [prefix + field for one in applying for prefix in one.prefixes]
        return Names(tuple(dict.fromkeys(_with_values([*found, field]))))


def _with_values(fields: Sequence[str]) -> Iterable[str]:
    """The fields, each folded copy followed by the value itself, which has no copy where folding would say no more."""
    for field in fields:
        yield field
        if field.endswith(SUFFIX) and field.removesuffix(SUFFIX) in FOLDED:
            yield field.removesuffix(SUFFIX)


@cache
def pipelines() -> Pipelines:
    """The product's own mappings, read at first use."""
    return Pipelines.load()[0]


@cache
def _own() -> tuple[_Pipeline, ...]:
    own = files("soc.detect.pipelines")
    return tuple(_read(item.name, item.read_bytes()) for item in sorted(own.iterdir(), key=lambda item: item.name)
                 if item.name.endswith(".yml"))


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RuleError(error.strerror or str(error)) from None


def _parts(logsource: LogSource) -> tuple[str, str, str]:
    return logsource.product, logsource.category, logsource.service


def _read(name: str, text: bytes) -> _Pipeline:
    documents = read_documents(text)
    value: Any = documents[0].value if len(documents) == 1 else None
    if not isinstance(value, dict):
        raise RuleError("a field mapping is one YAML document with logsource, fields and prefixes", path=name)
    lines = documents[0].lines
    for key in value:
        _known(key, _KEYS, lines.get((key,), 1), name)
    source = value.get("logsource") or {}
    if not isinstance(source, dict):
        raise RuleError("logsource: product, category or service is needed", path=name, line=lines.get(("logsource",), 1))
    for key, part in source.items():
        _known(key, _PARTS, lines.get(("logsource", key), 1), name)
        if not isinstance(part, str):
            raise RuleError(f"logsource: {key} is text, not {part!r}", path=name, line=lines.get(("logsource", key), 1))
    written = value.get("fields") or {}
    if not isinstance(written, dict):
        raise RuleError("fields: a mapping of a rule's field to ours is needed", path=name, line=lines.get(("fields",), 1))
    prefixes = value.get("prefixes") or []
    if not isinstance(prefixes, list) or not all(isinstance(one, str) and one for one in prefixes):
        raise RuleError("prefixes: a list of texts is needed", path=name, line=lines.get(("prefixes",), 1))
    fields = {rule_field: _names_of(name, rule_field, ours, lines.get(("fields", rule_field), 1)) for rule_field, ours in written.items()}
    return _Pipeline(LogSource(*(source.get(part, "").lower() for part in _PARTS)), fields, tuple(prefixes))


def _known(key: str, known: Sequence[str], line: int, name: str) -> None:
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        raise RuleError(f"{key!r} is none of {', '.join(known)}", path=name, line=line, remedy=f"did you mean {near[0]}?" if near else "")


def _names_of(name: str, rule_field: str, written: Any, line: int) -> Names:
    every = isinstance(written, dict) and set(written) == {"any"}
    found = written["any"] if every else written
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not found or not all(isinstance(one, str) and one for one in found):
        raise RuleError(f"{rule_field}: {written!r} names no fields", path=name, line=line,
                        remedy="write one of our fields, a list of them, or any: with a list")
    return Names(tuple(found), every)
