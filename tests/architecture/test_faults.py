"""docs/faults.md names every fault that must be tested, and only tests that exist."""
from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
REQUIRED = {*range(1, 12), 14, 15, 18, 20, 21, 22, 23, *range(28, 42), *range(44, 54), *range(71, 78)}
ROW = re.compile(r"^\| F(\d+) \| (.+?) \| (.+?) \| (.+) \|$", re.M)


def rows() -> dict[int, tuple[str, ...]]:
    """Number of a fault -> (fault, what the centre does, tests)."""
    return {int(number): tuple(rest) for number, *rest in ROW.findall(PAGE.read_text(encoding="utf-8"))}


@cache
def functions_in(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef))


def test_every_fault_has_a_row_once() -> None:
    numbers = [int(number) for number, *_ in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert len(numbers) == len(set(numbers))
    assert REQUIRED - set(numbers) == set()
    assert len(numbers) == len(re.findall(r"^\| F\d+", PAGE.read_text(encoding="utf-8"), re.M)), "a row that cannot be read"


@pytest.mark.parametrize("number", sorted(REQUIRED))
def test_its_tests_exist(number: int) -> None:
    _, does, tests = rows()[number]
    assert does.strip()
    named = re.findall(r"`([\w/.]+)::(\w+)`", tests)
    assert named
    assert len(named) == tests.count("`") // 2, "a test that cannot be read"
    for file, name in named:
        path = ROOT / "tests" / file
        assert path.is_file(), f"F{number}: there is no {path}"
        assert name.startswith("test_")
        assert name in functions_in(path), f"F{number}: {file} has no {name}"
