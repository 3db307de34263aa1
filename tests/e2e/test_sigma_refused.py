"""Rules that the specification forbids: each golden file is refused by `soc rules check` for the reasons it ends with."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.sigma_cases import GOLDEN

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((GOLDEN / "refused").glob("*.yml"))


def expected(path: Path) -> list[str]:
    """The lines behind `# refused:`, as the command prints them."""
    _, _, tail = path.read_text("utf-8").partition("# refused:\n")
    return [f"{path.name}:{line.removeprefix('# ')}" for line in tail.splitlines()]


def test_every_fault_of_every_file_is_named_with_its_line():
    done = subprocess.run([sys.executable, "-m", "soc.cli", "rules", "check", *map(str, FILES)], capture_output=True, text=True,
                          timeout=120, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == 1
    said = [line.replace(f"{GOLDEN / 'refused'}/", "") for line in done.stdout.splitlines() if ": warning: " not in line]
    wanted = [line for path in FILES for line in expected(path)]
    assert all(expected(path) for path in FILES)
    assert len(wanted) > 150
    assert sorted(said) == sorted(wanted)
