"""YAML of rules, read from the C parser's events: bounded, without tags, every key with its line.

Scalars are kept as written: only `true`, `false`, `null`, `~`, plain decimal integers and decimal fractions have
types, so ``no``, ``007``, ``0x1410``, ``1e3``, ``1:30`` and dates stay text.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from soc.errors import RuleError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "Document", "read_documents"]

MAX_BYTES: Final = 1024 * 1024
MAX_NODES: Final = 100_000
"""Scalars and containers of one file, aliases counted as what they stand for."""
MAX_DEPTH: Final = 64

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\Z")
_FRACTION: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\.[0-9]{1,18}\Z")
_CONSTANTS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
                     "null": None, "Null": None, "NULL": None, "~": None, "": None}


@dataclass(slots=True)
class Document:
    """One YAML document: its value, and the line (from 1) of each key by its path.

    A rule's document also carries the `lists` that its placeholders may be filled from; `filled` gathers those that were.
    """

    value: Any
    line: int
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    filled: dict[str, Sequence[str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """A container being read; `key` is the waiting key of a mapping."""

    value: Any
    anchor: str | None
    started: int
    path: tuple[str, ...]
    key: Any = None
    has_key: bool = False
    merges: list[Any] = field(default_factory=list)


def read_documents(data: bytes) -> list[Document]:
    """Every document of a file. Raises RuleError with the line for anything that is not plain, bounded YAML."""
    if len(data) > MAX_BYTES:
        raise RuleError(f"{len(data)} bytes: a rule file may have {MAX_BYTES}", remedy="split the file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RuleError(f"not UTF-8 at byte {error.start}", line=data.count(b"\n", 0, error.start) + 1) from None
    try:
        return list(_Reader().documents(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise RuleError(f"not YAML: {reason}"[:300], line=mark.line + 1 if mark else 0) from None
    except yaml.YAMLError as error:
        raise RuleError(f"not YAML: {str(error).splitlines()[0][:300]}") from None


class _Reader:
    def __init__(self) -> None:
        self._nodes = 0
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._stack: list[_Open] = []
        self._document: Document | None = None

    def documents(self, text: str) -> Any:
        event: Any
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            line = event.start_mark.line + 1
            kind = event.__class__
            if kind is yaml.ScalarEvent:
                self._refuse_tag(event, line)
                self._count(1, line)
                value = event.value if event.style else _resolve(event.value)
                if event.anchor:
                    self._anchors[event.anchor] = (value, 1)
                self._add(value, line)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._refuse_tag(event, line)
                self._count(1, line)
                self._open({} if kind is yaml.MappingStartEvent else [], event.anchor, line)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._close(line)
            elif kind is yaml.AliasEvent:
                if event.anchor not in self._anchors:
                    raise RuleError(f"alias *{event.anchor} names no finished anchor", line=line)
                value, size = self._anchors[event.anchor]
                self._count(size, line)
                self._add(value, line)
            elif kind is yaml.DocumentStartEvent:
                self._document, self._anchors, self._stack = Document(None, line), {}, []
            elif kind is yaml.DocumentEndEvent and self._document is not None and self._document.value is not None:
                yield self._document

    def _refuse_tag(self, event: Any, line: int) -> None:
        if event.tag is not None:
            raise RuleError(f"tag {event.tag[:60]!r}: rules hold plain values only", line=line)

    def _count(self, more: int, line: int) -> None:
        self._nodes += more
        if self._nodes > MAX_NODES:
            raise RuleError(f"more than {MAX_NODES} values (aliases counted in full)", line=line)

    def _open(self, value: Any, anchor: str | None, line: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise RuleError(f"nested deeper than {MAX_DEPTH} levels", line=line)
        path: tuple[str, ...] = ()
        if self._stack:
            above = self._stack[-1]
            if isinstance(above.value, dict) and not above.has_key:
                raise RuleError("a key must be plain text", line=line)
            path = (*above.path, str(above.key)) if above.has_key else above.path
        self._stack.append(_Open(value, anchor, self._nodes, path))

    def _close(self, line: int) -> None:
        done = self._stack.pop()
        for merged in done.merges:
            for key, value in merged.items():
                done.value.setdefault(key, value)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, self._nodes - done.started + 1)
        self._add(done.value, line)

    def _add(self, value: Any, line: int) -> None:
        assert self._document is not None
        if not self._stack:
            self._document.value = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif not top.has_key:
            if isinstance(value, dict | list):
                raise RuleError("a key must be plain text", line=line)
            key = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
            if key != "<<":
                if key in top.value:
                    raise RuleError(f"{key!r} stands here twice", line=line)
                top.value[key] = None
                self._document.lines.setdefault((*top.path, key), line)
            top.key, top.has_key = key, True
        else:
            if top.key == "<<":
                top.merges += _mappings(value, line)
            else:
                top.value[top.key] = value
            top.key, top.has_key = None, False


def _mappings(value: Any, line: int) -> list[Any]:
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in found):
        raise RuleError("<< merges mappings only", line=line)
    return found


def _resolve(text: str) -> Any:
    """The value of an unquoted scalar."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _FRACTION.match(text) else text
