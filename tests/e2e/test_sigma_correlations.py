"""Every golden case of correlations and filters through `soc rules match`: rules and JSON records in, hits out."""
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from soc.cli import app
from tests.sigma_cases import GOLDEN

ROOT = Path(__file__).parents[2]
CASES = sorted(path.parent for path in (GOLDEN / "correlations").glob("*/rules.yml"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_case(case: Path) -> None:
    done = CliRunner().invoke(app, ["rules", "match", str(case / "rules.yml"), str(case / "events.jsonl"), "--json", "--format", "json",
                                    "--ignore-logsource"])
    assert done.exit_code == 0, done.output
    hits: dict[str, list[int]] = {}
    for hit in json.loads(done.stdout):
        hits.setdefault(hit["title"], []).append(hit["line"])
    assert {title: sorted(lines) for title, lines in hits.items()} == json.loads((case / "expected.json").read_text())


def test_every_number_of_the_list_has_its_case() -> None:
    numbers = {int(path.name[:3]) for path in CASES}
    assert numbers >= {*range(110, 128)} - {127}  # 127 and 128 are refusals: tests/golden/sigma/refused


def test_a_correlation_names_the_lines_of_its_window(tmp_path: Path) -> None:
    case = GOLDEN / "correlations" / "110_event_count_slides_over_minutes"
    done = CliRunner().invoke(app, ["rules", "match", str(case / "rules.yml"), str(case / "events.jsonl"), "--json", "--format", "json",
                                    "--ignore-logsource"])
    hit = json.loads(done.stdout)[0]
    assert (hit["line"], hit["related"]) == (3, [1, 2])
    assert {"field": "user", "test": "group-by", "literal": "an"} in hit["atoms"]


def test_the_examples_of_the_documentation_run(tmp_path: Path) -> None:
    """Of two sources with 22 failures each, the one that the filter leaves out raises nothing."""
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "correlations.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "rules.yml").write_text("---\n".join(examples), encoding="utf-8")
    line = "Feb 28 16:10:{} gate sshd[900]: Failed password for root from {} port 4022 ssh2\n"
    (tmp_path / "auth.log").write_text("".join(line.format(at, of) for of in ("203.0.113.7", "10.1.2.3") for at in range(10, 32)))
    done = CliRunner().invoke(app, ["rules", "match", str(tmp_path / "rules.yml"), str(tmp_path / "auth.log"), "--json"])
    assert [(hit["title"], hit["line"]) for hit in json.loads(done.stdout)] == [
        ("Twenty failed logins from one address within five minutes", line) for line in (20, 21, 22)]
