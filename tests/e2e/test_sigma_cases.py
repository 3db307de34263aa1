"""Every golden case of a rule's meaning through `soc rules match`: rule files and JSON records in, hits out."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.sigma_cases import ROUTED, cases, records, rule_text

REPOSITORY = Path(__file__).resolve().parents[2]


def soc(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "soc.cli", "rules", *words], capture_output=True, text=True, cwd=folder,
                          timeout=240, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def identity(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def is_sent(record: dict[str, Any]) -> bool:
    """Whether a source can send it: what the product alone writes, it cannot."""
    return not any(name.startswith("soc.") or name in ("event.original", "@timestamp") for name in record)


def nested(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its dotted names as objects inside objects, as many sources send them."""
    whole: dict[str, Any] = {}
    for name, value in record.items():
        *path, last = name.split(".")
        place = whole
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return whole


@pytest.mark.parametrize("routed", [False, True])
def test_every_case_through_the_command(tmp_path, routed):
    chosen = [case for theme, case in cases() if (theme == ROUTED) == routed and "refused" not in case]
    (tmp_path / "rules").mkdir()
    lines: list[str] = []
    asked: list[tuple[str, int, bool]] = []
    for case in chosen:
        rule_id = identity(case["name"])
        (tmp_path / "rules" / f"{rule_id}.yml").write_text(rule_text(case, rule_id), encoding="utf-8")
        for record, expected in records(case):
            if is_sent(record):
                for form in (record, nested(record)) if any("." in name for name in record) else (record,):
                    lines.append(json.dumps(form, ensure_ascii=False))
                    asked.append((rule_id, len(lines), expected))
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["--format", "windows"] if routed else ["--format", "json", "--ignore-logsource"]
    done = soc(tmp_path, "match", "rules", "events.jsonl", "--json", *options)
    hits = {(hit["rule_id"], hit["line"]) for hit in json.loads(done.stdout)}
    names = {identity(case["name"]): case["name"] for case in chosen}
    assert len(asked) > (10 if routed else 350)
    assert [(names[rule_id], lines[line - 1]) for rule_id, line, expected in asked if ((rule_id, line) in hits) != expected] == []


def test_every_refused_case_is_refused_by_the_command(tmp_path):
    chosen = [case for _, case in cases() if "refused" in case and "placeholder" not in case["refused"]]
    (tmp_path / "rules").mkdir()
    for case in chosen:
        (tmp_path / "rules" / f"{identity(case['name'])}.yml").write_text(rule_text(case), encoding="utf-8")
    rows = json.loads(soc(tmp_path, "check", "rules", "--json", code=1).stdout)
    said = {Path(row["path"]).stem: row for row in rows}
    for case in chosen:
        row = said[identity(case["name"])]
        assert case["refused"].lower() in row["reason"].lower()
        assert row["line"] >= 1
