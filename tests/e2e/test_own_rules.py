"""Our own rules: every file under rules/ with its samples, through the real parsers, as an administrator would try and import them."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = REPOSITORY / "rules"
FILES = sorted(RULES.rglob("*.yml"))


def soc(*words: str, cwd: Path = REPOSITORY, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "soc.cli", *words], capture_output=True, text=True, cwd=cwd, timeout=240, check=False,
                          env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done


def test_every_rule_is_sound_and_can_fire() -> None:
    assert soc("rules", "check", str(RULES), "--strict").stdout == ""


def test_every_sample_is_judged_as_it_says() -> None:
    rows = json.loads(soc("rules", "test", str(RULES), "--json", "--require-samples").stdout)
    assert [(row["rule"], row["line"], row["fault"]) for row in rows if not row["passed"]] == []
    count = Counter((Path(row["rule"]), row["expected"]) for row in rows)
    assert {path: (count[path, True] >= 3, count[path, False] >= 3) for path in FILES} == dict.fromkeys(FILES, (True, True))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_rule_speaks_both_languages_and_says_what_to_do(path: Path) -> None:
    shown = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document["level"] != "informational"]
    assert shown
    for document in shown:
        custom = document["custom"]
        assert custom["title_vi"] != document["title"]
        assert custom["description_vi"] != document["description"]
        assert len(custom.get("falsepositives_vi", ())) == len(document.get("falsepositives", ()))
        assert len(custom["response"]) == len(custom["response_vi"]) > 0
        assert any(tag.startswith("attack.t") for tag in document.get("tags", ())) or path.stem == "soc_try_it"  # which is no attack


@pytest.mark.parametrize("folder", ["web", "linux", "windows"])
def test_none_fires_on_recorded_ordinary_days(folder: str, test_data: Path, tmp_path: Path) -> None:
    """6,000 lines, for Windows 102,003 more, that nobody planted anything for these rules in."""
    with zipfile.ZipFile(test_data / "linux-logs.zip") as packed:
        packed.extractall(tmp_path)
    logs = [str(path) for path in sorted(tmp_path.rglob("*.log"))]
    windows = [str(test_data / "windows-events.jsonl.zst")] if folder == "windows" else []
    done = soc("rules", "match", str(RULES / folder), *logs, *windows, "--fail-on-match")
    assert len(logs) == 3
    assert done.stdout == ""


def test_they_are_imported_without_a_path(tmp_path: Path) -> None:
    report = json.loads(soc("--data", str(tmp_path / "data"), "rules", "import", "--builtin", "--json", cwd=tmp_path).stdout)
    assert (report["pack"], report["refused"], report["unfit"], report["cannot_fire"], report["skipped"]) == ("soc", [], {}, 0, [])
    assert report["rules"] == report["enabled"] >= len(FILES)
    soc("rules", "import", cwd=tmp_path, code=2)
    soc("rules", "import", "--builtin", str(RULES), cwd=tmp_path, code=2)
