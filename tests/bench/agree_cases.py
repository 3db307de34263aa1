"""Our golden cases through rsigma: ``python tests/bench/agree_cases.py`` prints those that it judges otherwise.

rsigma is looked for at SOC_TEST_RSIGMA, else on the path. Cases about our own field names and log sources are left out.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.sigma_cases import ROUTED, cases, records, rule_text

_OURS: Final = (ROUTED, "folded", "fields")


def main() -> None:
    """Judge every case by rsigma, and print each record on which it differs from what the case expects."""
    rsigma = os.environ.get("SOC_TEST_RSIGMA") or shutil.which("rsigma")
    if rsigma is None:
        print("rsigma is not here (set SOC_TEST_RSIGMA)")
        return
    asked = differing = 0
    for theme, case in cases():
        if theme not in _OURS and "refused" not in case:
            asked += 1
            others = otherwise(rsigma, case)
            differing += bool(others)
            for record, expected in others:
                print(f"{theme}: {case['name']}: {json.dumps(record, ensure_ascii=False)[:120]}: "
                      f"{'match' if expected else 'no match'} here, not so there")
    print(f"{asked} cases, {differing} judged otherwise")


def otherwise(rsigma: str, case: dict[str, Any]) -> list[tuple[dict[str, Any], bool]]:
    """The records of a case that rsigma does not judge as expected, with what is."""
    judged = records(case)
    with tempfile.TemporaryDirectory() as folder:
        rule = Path(folder) / "rule.yml"
        rule.write_text(rule_text(case, str(uuid.uuid4())), "utf-8")
        lines = "".join(json.dumps(record | {"soc_line": str(at)}) + "\n" for at, (record, _) in enumerate(judged))
        done = subprocess.run(
            [rsigma, "engine", "eval", "-r", str(rule), "--quiet", "--output-format", "ndjson", "--include-event"],
            input=lines, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    hits = {json.loads(line)["event"]["soc_line"] for line in done.stdout.splitlines()}
    return [(record, expected) for at, (record, expected) in enumerate(judged) if (str(at) in hits) != expected]


if __name__ == "__main__":
    main()
