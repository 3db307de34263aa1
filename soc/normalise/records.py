"""A frame's raw records -> events or dead letters: every record is one or the other.

Asks the parsers of `soc.normalise.parsers` in the order of their priority; one frame's answer depends on
nothing but that frame.
"""
from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Final, cast

from soc.errors import InputRefused, ParseError
from soc.event import Event, FrameContext
from soc.normalise import parsers as folder
from soc.normalise.parser import DeadRecord, ParsedEvent, ParsedFrame, Parser

__all__ = ["MAX_RECORD", "MAX_VALUE", "MISMATCH", "Parsers", "check_format", "parse_frame"]

MAX_RECORD: Final = 1024 * 1024
"""Bytes of `event.original` that are kept."""
MAX_VALUE: Final = 256 * 1024
"""Bytes of any other value that are kept."""
EARLIEST: Final = -2_208_988_800_000_000
LATEST: Final = 253_402_300_800_000_000
"""Event times outside 1900 to 9999 are nobody's: such an event gets its read time."""
MISMATCH: Final = "format_mismatch"
"""The reason with which a parser says "not mine": under format "auto" the next one is asked."""


def check_format(name: str) -> None:
    """Raises InputRefused if `name` is neither auto nor a parser."""
    known = Parsers().names()
    if name != "auto" and name not in known:
        raise InputRefused(f"there is no format {name!r}", remedy="one of: auto, " + ", ".join(known))


_WRAPPER: Final = "json"
_NO_LINES: Final = (_WRAPPER, "windows", "text")
"""Parsers of whole documents, and the one that takes everything: none of them reads a line within a record."""
_LINES: Final = ("message", "log", "body", "Body")
"""Where shippers put the line they read: Filebeat and Vector, Fluent Bit, OpenTelemetry."""
_OF_FILES: Final = ("log.file.", "log.offset", "attributes.log.file.", "filename", "source_type")
"""What fields are named that only say which file a line is from. Without one, `message` is what a program said, who may repeat what strangers say."""
_HOSTS: Final = ("host.hostname", "hostname", "Hostname", "_HOSTNAME", "host")


class Parsers:
    """All parsers of the folder, found once."""

    def __init__(self, modules: Mapping[str, Parser] | None = None) -> None:
        self.by_name: dict[str, Parser] = dict(modules) if modules is not None else _found()
        self._order = sorted(self.by_name.items(), key=lambda item: (item[1].PRIORITY, item[0]))
        self._of_lines = [item for item in self._order if item[0] not in _NO_LINES]

    def names(self) -> list[str]:
        """The datasets there are parsers for, in the order in which they are asked."""
        return [name for name, _ in self._order]

    def parse_frame(self, context: FrameContext, records: Sequence[bytes]) -> ParsedFrame:
        """Parse every record of a frame. Never raises for what a record holds."""
        order = self._candidates(context)
        events: list[ParsedEvent] = []
        dead: list[DeadRecord] = []
        for index, raw in enumerate(records):
            try:
                name, family, event = _parse(order, raw, context)
                if name == _WRAPPER and not event["soc.log_sources"]:
                    name, family, event = self._unwrapped(family, event, context)
                _complete(event, name, raw, context)
            except ParseError as error:
                dead.append(DeadRecord(index, error.reason, error.detail[:500]))
            except Exception as error:  # noqa: BLE001 - a parser's bug costs one record, kept with its reason
                dead.append(DeadRecord(index, "parser_failed", f"{type(error).__name__}: {error}"[:500]))
            else:
                events.append(ParsedEvent(index, 0, family, event))
        return ParsedFrame(events, dead)

    def _unwrapped(self, family: str, event: Event, context: FrameContext) -> tuple[str, str, Event]:
        """The event of the log line that a shipper wrapped into a JSON record, with what else the record says; without one, the record's.

        What the line says counts. The record's own time is when the shipper read the line: `event.created`, and what a time without
        a year is reckoned from. A host that the line does not name is the record's.
        """
        read_at = event.get("@timestamp")
        is_read = any(name.startswith(_OF_FILES) for name in event)
        for field in _LINES if is_read else ("log",):
            line = event.get(field)
            if not isinstance(line, str) or len(line) > MAX_VALUE:
                continue
            reckoned = context if not isinstance(read_at, int) else replace(context, read_at=read_at)
            try:
                name, inner_family, inner = _parse(self._of_lines, line.encode("utf-8", "backslashreplace"), reckoned)
            except ParseError:
                continue
            if "@timestamp" in inner and isinstance(read_at, int):
                inner.setdefault("event.created", event.get("event.created", read_at))
                event.pop("soc.time_inferred", None)
            event = {key: value for key, value in event.items() if key not in ("event.dataset", field)} | inner
            host = next((event[key] for key in _HOSTS if isinstance(event.get(key), str)), None)
            if host is not None:
                event.setdefault("host.name", host)
            return name, inner_family, event
        return _WRAPPER, family, event

    def first(self, context: FrameContext) -> str:
        """The dataset whose parser is asked first."""
        order = self._candidates(context)
        return order[0][0] if order else ""

    def _candidates(self, context: FrameContext) -> list[tuple[str, Parser]]:
        """The parsers to ask: the named one alone, or all, those first whose hint the record's place names."""
        if context.format and context.format != "auto":
            parser = self.by_name.get(context.format)
            return [] if parser is None else [(context.format, parser)]
        place = f"{context.path} {context.source}".lower()
        hinted = [item for item in self._order if any(hint in place for hint in getattr(item[1], "HINTS", ()))]
        return hinted + [item for item in self._order if item not in hinted]


def parse_frame(context: FrameContext, records: Sequence[bytes]) -> ParsedFrame:
    """`Parsers().parse_frame` for callers with a single frame; loops keep a `Parsers`."""
    return Parsers().parse_frame(context, records)


def _found() -> dict[str, Parser]:
    names = [found.name for found in pkgutil.iter_modules(folder.__path__) if not found.name.startswith("_")]
    modules: dict[str, ModuleType] = {name: importlib.import_module(f"{folder.__name__}.{name}") for name in names}
    return {name: cast(Parser, module) for name, module in modules.items()}


def _parse(order: list[tuple[str, Parser]], raw: bytes, context: FrameContext) -> tuple[str, str, Event]:
    if len(order) == 1:
        name, parser = order[0]
        return name, parser.FAMILY, parser.parse(raw, context)
    for name, parser in order:
        if parser.accepts(raw):
            try:
                return name, parser.FAMILY, parser.parse(raw, context)
            except ParseError as error:
                if error.reason != MISMATCH:
                    raise
    if not order:
        raise ParseError("unknown_format", context.format)
    raise ParseError("no_parser")


def _complete(event: Event, name: str, raw: bytes, context: FrameContext) -> None:
    """Add what every event has, and hold it to the caps."""
    if "event.dataset" not in event:
        event["event.dataset"] = name
    if "soc.log_sources" not in event:
        event["soc.log_sources"] = ""
    at = event.get("@timestamp")
    if at.__class__ is not int or not EARLIEST <= at < LATEST:
        event["@timestamp"] = context.read_at
        event["soc.time_inferred"] = "read_at"
    if len(raw) <= MAX_VALUE:
        try:
            event["event.original"] = raw.decode()
            return
        except UnicodeDecodeError:
            event["event.original"] = raw.decode("utf-8", "backslashreplace")
            if len(raw) * 4 <= MAX_VALUE:
                return
    _truncate(event)
    if len(raw) > MAX_RECORD:
        _mark(event, "event.original")
        raw = raw[:MAX_RECORD]
        raw = raw[: len(raw) - _open_tail(raw)]
    event["event.original"] = raw.decode("utf-8", "backslashreplace")


def _truncate(event: Event) -> None:
    """Cut every value at `MAX_VALUE` bytes, naming the fields that were cut."""
    for field, value in list(event.items()):
        if isinstance(value, str):
            short = _cut(value)
            if short is not value:
                event[field] = short
                _mark(event, field)
        elif isinstance(value, list) and sum(map(len, value)) > MAX_VALUE // 4:
            kept, size = [], 0
            for text in value:
                short = _cut(text, MAX_VALUE - size)
                size += len(short.encode("utf-8", "backslashreplace"))
                kept.append(short)
                if short is not text or size >= MAX_VALUE:
                    break
            if kept != value:
                event[field] = kept
                _mark(event, field)


def _cut(text: str, limit: int = MAX_VALUE) -> str:
    if len(text) * 4 <= limit:
        return text
    data = text.encode("utf-8", "backslashreplace")
    return text if len(data) <= limit else data[:limit].decode("utf-8", "ignore")


def _mark(event: Event, field: str) -> None:
    named = event.get("soc.truncated")
    event["soc.truncated"] = [*named, field] if isinstance(named, list) else [field]


def _open_tail(data: bytes) -> int:
    """Bytes of a UTF-8 character cut apart at the end of `data` (0 to 3)."""
    for back in range(1, 4):
        byte = data[-back]
        if byte >= 0xC0:
            need = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < need else 0
        if byte < 0x80:
            return 0
    return 0
