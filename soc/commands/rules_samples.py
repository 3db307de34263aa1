"""The samples beside a rule (`rule.samples.jsonl`): raw records through the real parser and engine, judged one by one."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from soc.commands.rules_load import load_rules
from soc.detect.engine import Engine
from soc.event import FrameContext
from soc.normalise.records import Parsers
from soc.store.columns import batch_of
from soc.store.fold import add_folded

__all__ = ["SAMPLES", "judge_samples"]

SAMPLES: Final = ".samples.jsonl"


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
    for one in parsed.events:
        add_folded(one.event)
    row["verdict"] = bool(engine.match(batch_of([one.event for one in parsed.events])))
    row["passed"] = not fault and row["verdict"] == row["expected"]
    return row
