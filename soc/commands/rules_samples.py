"""The samples beside a rule (`rule.samples.jsonl`): raw records through the real parser and engine, judged one by one.

A sample of several records is one story: what correlations make of it is judged once it is told.
"""
from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from soc.commands.rules_load import load_rules, together
from soc.commands.rules_match import as_match
from soc.detect.assembly import RuleSet
from soc.detect.correlation.memory import MemoryCorrelations
from soc.detect.engine import Engine
from soc.detect.packs import SAMPLES
from soc.detect.rules import read_rules
from soc.event import FrameContext
from soc.normalise.records import Parsers
from soc.store.columns import batch_of
from soc.store.fold import add_folded

__all__ = ["SAMPLES", "judge_samples", "lacking"]

_MOST_RECORDS: Final = 10_000


def judge_samples(folder: Path, now: int) -> list[dict[str, Any]]:
    """Judge every sample beside a rule, `now` in µs UTC. A sample is {"match": true|false, "raw": …, "format": "auto"}.

    `raw` is a record (text, or an object) or a list of them, in order of arrival. The rules of a file are judged together: any
    of them that raises alerts counts, those that only serve a correlation do not.
    """
    results: list[dict[str, Any]] = []
    parsers = Parsers()
    for path in sorted(folder.rglob(f"*{SAMPLES}")):
        rule_path = path.with_name(path.name.removesuffix(SAMPLES) + ".yml")
        loaded = load_rules([rule_path])
        rules, missing = together(loaded)
        faults = [*loaded.faults, *missing]
        fault = str(faults[0]) if faults else "" if rules.rules else "the rule cannot run"
        bench = _Bench(rules, parsers, now)
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            if line.strip():
                results.append(bench.judge(rule_path, number, line, fault))
    return results


def lacking(folder: Path, results: Sequence[Mapping[str, Any]]) -> list[tuple[Path, int, str]]:
    """(file, 1, what is missing) of each rule file under `folder` without a sample that must match and one that must not."""
    there: dict[str, set[bool]] = defaultdict(set)
    for row in results:
        there[row["rule"]].add(row["expected"])
    words = {True: "sample that must match", False: "sample that must not match"}
    files = sorted(path for path in folder.rglob("*.yml") if read_rules(str(path), path.read_bytes())[0])
    return [(path, 1, "it has no " + " and no ".join(words[one] for one in sorted({True, False} - there[str(path)], reverse=True)))
            for path in files if not {True, False} <= there[str(path)]]


class _Bench:
    """The rules of one file in an engine."""

    def __init__(self, rules: RuleSet, parsers: Parsers, now: int) -> None:
        self._rules, self._parsers, self._now = rules, parsers, now
        self._engine = Engine(rules.rules)
        self._by_id = {rule.rule_id: rule for rule in rules.rules}

    def judge(self, rule: Path, number: int, line: bytes, fault: str) -> dict[str, Any]:
        """One sample, as a row of the report."""
        row: dict[str, Any] = {"rule": str(rule), "line": number, "expected": None, "verdict": None, "fault": fault, "passed": False}
        try:
            sample = json.loads(line)
            row["expected"] = bool(sample["match"])
            raws = [_text(one) for one in sample["raw"]] if isinstance(sample["raw"], list) else [_text(sample["raw"])]
            if not 0 < len(raws) <= _MOST_RECORDS:
                raise ValueError(f"raw holds {len(raws)} records, 1 to {_MOST_RECORDS} are needed")
            format = str(sample.get("format", "auto"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            row["fault"] = fault or f"not a sample: {type(error).__name__}: {error}"
            return row
        context = FrameContext(
            source="sample", stream="sample", first=0, count=len(raws), read_at=self._now, ingested=self._now, format=format)
        parsed = self._parsers.parse_frame(context, raws)
        if parsed.dead:
            row["fault"] = fault or f"the record cannot be parsed: {parsed.dead[0].reason}"
            return row
        events = [one.event for one in parsed.events]
        for event in events:
            add_folded(event)
        hits = self._engine.match(batch_of(events))
        row["verdict"] = any(hit.rule_id not in self._rules.silent for hit in hits)
        if self._rules.correlations:
            correlations = MemoryCorrelations(self._rules)
            correlations.observe([as_match(self._by_id[hit.rule_id], events[hit.row], hit.row, f"{hit.row}", hit.atoms, self._now)
                                  for hit in hits], self._now)
            shown = {rule_id for rule_id, _ in correlations.matches} - self._rules.silent
            row["verdict"] = row["verdict"] or bool(shown)
        row["passed"] = not fault and row["verdict"] == row["expected"]
        return row


def _text(raw: Any) -> bytes:
    return (raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)).encode("utf-8", "surrogatepass")
