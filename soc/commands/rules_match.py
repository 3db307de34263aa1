"""Rules against files: what `soc rules match`, `check` and `test` do. Real parsers, real engine, no data folder."""
from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from collectors.evtx import MAGIC, read_evtx
from collectors.lines import RECORD_CAP, Tally
from soc.detect.compiled import CompiledRule
from soc.detect.engine import Engine
from soc.detect.packs import read_pack
from soc.detect.rules import FoundRule, read_rules
from soc.errors import InputRefused, RuleError
from soc.event import FrameContext
from soc.normalise.records import Parsers
from soc.store.columns import batch_of

__all__ = ["Found", "Loaded", "judge_samples", "load_rules", "match_file"]

_FRAME: Final = 5_000
SAMPLES: Final = ".samples.jsonl"


@dataclass(slots=True)
class Loaded:
    """Rules of some files, what is wrong with others, and what is no rule."""

    rules: list[FoundRule] = field(default_factory=list)
    faults: list[RuleError] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Found:
    """Hits as rows (rule_id, title, level, line, fields, atoms), and how many events and unreadable records there were."""

    hits: list[dict[str, Any]] = field(default_factory=list)
    events: int = 0
    dead: int = 0


def load_rules(paths: Sequence[Path]) -> Loaded:
    """Read and compile every rule of these files, folders and zips. A file that was named must be a rule."""
    loaded = Loaded()
    seen: dict[str, str] = {}
    for path in paths:
        try:
            pack = read_pack(path)
        except InputRefused as refused:
            loaded.faults.append(RuleError(refused.message, path=str(path), remedy=refused.remedy))
            continue
        loaded.skipped += [(f"{path}/{name}", reason) for name, reason in pack.skipped]
        for file in pack.files:
            shown = f"{path}/{file.path}" if pack.whole else str(path)
            rules, faults, skipped = read_rules(shown, file.data)
            loaded.faults += faults
            if pack.whole:
                loaded.skipped += [(shown, reason) for reason in skipped]
            else:
                loaded.faults += [RuleError(reason, path=shown, line=1) for reason in skipped]
            for rule in rules:
                if rule.rule_id in seen:
                    loaded.faults.append(RuleError(
                        f"its id {rule.rule_id} is already that of {seen[rule.rule_id]}", path=shown, line=rule.line))
                else:
                    seen[rule.rule_id] = shown
                    loaded.rules.append(rule)
    return loaded


def match_file(rules: Sequence[CompiledRule], events: str, now: int, *, ignore_logsource: bool, format: str = "auto",
               timezone: str = "Asia/Ho_Chi_Minh") -> Found:
    """Every hit in a file ("-": standard input), by line. Raises InputRefused if it cannot be read at all."""
    engine, parsers, found = Engine(rules, ignore_logsource=ignore_logsource), Parsers(), Found()
    known = {rule.rule_id: rule for rule in rules}
    path = "" if events == "-" else events
    file_time = int(Path(path).stat().st_mtime * 1_000_000) if path and Path(path).is_file() else 0
    with _opened(events) as file:
        numbered = _records(file)
        while frame := list(islice(numbered, _FRAME)):
            context = FrameContext(source="match", stream="match", first=0, count=len(frame), read_at=now, ingested=now,
                                   format=format, timezone=timezone, path=path, file_time=file_time)
            parsed = parsers.parse_frame(context, [raw for _, raw in frame])
            found.dead += len(parsed.dead)
            found.events += len(parsed.events)
            if not parsed.events:
                continue
            for hit in engine.match(batch_of([one.event for one in parsed.events])):
                rule, line = known[hit.rule_id], frame[parsed.events[hit.row].index][0]
                found.hits.append({
                    "rule_id": rule.rule_id, "title": rule.title, "level": rule.level, "line": line,
                    "fields": list(dict.fromkeys(atom.field or "(keyword)" for atom in hit.atoms)),
                    "atoms": [{"field": atom.field, "test": atom.test, "literal": atom.literal} for atom in hit.atoms]})
    return found


def judge_samples(folder: Path, now: int) -> list[dict[str, Any]]:
    """Judge every sample beside a rule. A sample is {"match": true|false, "raw": text or object, "format": "auto"}."""
    results: list[dict[str, Any]] = []
    parsers = Parsers()
    for path in sorted(folder.rglob(f"*{SAMPLES}")):
        rule_path = path.with_name(path.name.removesuffix(SAMPLES) + ".yml")
        loaded = load_rules([rule_path])
        rules = [rule.rule for rule in loaded.rules if rule.rule is not None]
        fault = str(loaded.faults[0]) if loaded.faults else "" if rules else "the rule cannot run"
        engine = Engine(rules)
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if line.strip():
                results.append(_sample(engine, parsers, rule_path, number, line, fault, now))
    return results


def _sample(engine: Engine, parsers: Parsers, rule: Path, number: int, line: bytes, fault: str, now: int) -> dict[str, Any]:
    row: dict[str, Any] = {"rule": str(rule), "line": number, "expected": None, "verdict": None, "fault": fault, "passed": False}
    try:
        sample = json.loads(line)
        row["expected"] = bool(sample["match"])
        raw = sample["raw"] if isinstance(sample["raw"], str) else json.dumps(sample["raw"], ensure_ascii=False)
        format = str(sample.get("format", "auto"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        row["fault"] = fault or f"not a sample: {type(error).__name__}: {error}"
        return row
    context = FrameContext(source="sample", stream="sample", first=0, count=1, read_at=now, ingested=now, format=format)
    parsed = parsers.parse_frame(context, [raw.encode("utf-8", "surrogatepass")])
    if parsed.dead:
        row["fault"] = fault or f"the record cannot be parsed: {parsed.dead[0].reason}"
        return row
    row["verdict"] = bool(engine.match(batch_of([one.event for one in parsed.events])))
    row["passed"] = not fault and row["verdict"] == row["expected"]
    return row


class _opened:
    """A file, or standard input as one."""

    def __init__(self, events: str) -> None:
        self._events = events

    def __enter__(self) -> BinaryIO:
        if self._events == "-":
            self._file: BinaryIO = sys.stdin.buffer
            return self._file
        try:
            self._file = open(self._events, "rb")
        except OSError as error:
            raise InputRefused(f"{self._events}: {error.strerror or error}") from None
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._events != "-":
            self._file.close()


def _records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number from 1, record): of a text file its lines as an editor counts them, of an event log its records."""
    start = file.read(8)
    if start == MAGIC:
        whole: BinaryIO = file if file.seekable() else io.BytesIO(start + file.read())
        yield from enumerate(read_evtx(whole, Tally()), start=1)
        return
    rest: Callable[[], bytes] = _joined(start, file)
    number = 0
    while line := rest():
        number += 1
        if len(line) > RECORD_CAP:
            line = line[:RECORD_CAP]
        line = line.rstrip(b"\r\n")
        if line.strip():
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _joined(start: bytes, file: BinaryIO) -> Callable[[], bytes]:
    """Lines of `start` and the file behind it; the parts of an over-long line beyond the cap are dropped."""
    waiting = io.BytesIO(start)

    def line() -> bytes:
        head = waiting.readline()
        if head.endswith(b"\n"):
            return head
        found = head + file.readline(RECORD_CAP + 1)
        piece = found
        while len(piece) > RECORD_CAP and not piece.endswith(b"\n"):
            piece = file.readline(RECORD_CAP + 1)
        return found

    return line
