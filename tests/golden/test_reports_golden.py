"""`soc rules check` over one folder of good, faulty and questionable rules: every report, whole, and SARIF by its specification."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

REPORTS = Path(__file__).parent / "reports"
REPOSITORY = Path(__file__).resolve().parents[2]
SARIF = {
    "": ({"version", "runs"}, {"$schema"}),
    "runs": ({"tool"}, {"results", "columnKind"}),
    "tool": ({"driver"}, set()),
    "driver": ({"name"}, {"version", "semanticVersion", "rules"}),
    "rules": ({"id"}, {"shortDescription"}),
    "shortDescription": ({"text"}, set()),
    "results": ({"message"}, {"ruleId", "ruleIndex", "level", "locations"}),
    "message": ({"text"}, set()),
    "locations": (set(), {"physicalLocation"}),
    "physicalLocation": ({"artifactLocation"}, {"region"}),
    "artifactLocation": ({"uri"}, set()),
    "region": (set(), {"startLine"}),
}
"""Of each object that we write: what SARIF 2.1.0 (sections 3.13 to 3.30) demands, and what of the rest we use."""


def check(form: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "soc.cli", "rules", "check", "rules", "--format", form, *options], capture_output=True, text=True, cwd=REPORTS,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, timeout=240, check=False)
    assert done.returncode == 1, done.stderr
    return done.stdout


@pytest.mark.parametrize(("form", "name"), [("text", "check.txt"), ("json", "check.json"), ("sarif", "check.sarif"), ("junit", "check.xml")])
def test_every_report_is_as_kept(form: str, name: str) -> None:
    wanted = (REPORTS / name).read_text(encoding="utf-8").replace("VERSION", version("soc"))
    assert check(form) == wanted


def test_sarif_is_built_as_its_specification_says() -> None:
    report = json.loads(check("sarif", "--strict"))
    walk("", report)
    assert report["version"] == "2.1.0"
    for run in report["runs"]:
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        assert len(rules) == len(set(rules))
        assert run["columnKind"] in {"utf16CodeUnits", "unicodeCodePoints"}
        for result in run["results"]:
            assert rules[result["ruleIndex"]] == result["ruleId"]
            assert result["level"] == "error", "--strict: a warning fails too"
            place = result["locations"][0]["physicalLocation"]
            file = REPORTS / unquote(place["artifactLocation"]["uri"])
            assert 1 <= place["region"]["startLine"] <= len(file.read_text(encoding="utf-8").splitlines())


def walk(name: str, value: Any) -> None:
    """Every object has what it must have and nothing that the specification does not know."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict):
            required, optional = SARIF[name]
            assert required <= one.keys() <= required | optional, name
            for key, inner in one.items():
                walk(key, inner)
        else:
            assert isinstance(one, int if name in {"ruleIndex", "startLine"} else str), name
