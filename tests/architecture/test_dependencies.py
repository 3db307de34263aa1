"""What is imported is declared, what is declared is used, and what is configurable has an effect."""
from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from soc.config import settings

ROOT = Path(__file__).parents[2]
PACKAGES = [name for name in ("soc", "alerts", "collectors", "agents") if (ROOT / name / "__init__.py").exists()]
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
BY_OTHERS = {"httptools", "psycopg", "python-multipart", "tzdata"}
"""Loaded by another package rather than imported here: an HTTP parser, a dialect, a form parser, zone files."""


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.split(r"[^a-zA-Z0-9_-]", text)[0].lower().replace("_", "-") for text in project["dependencies"]}


def imported() -> set[str]:
    tops: set[str] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                tops |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                tops.add((node.module or "").split(".")[0])
    return tops - set(sys.stdlib_module_names) - set(PACKAGES)


def test_every_import_is_declared_and_every_declaration_imported() -> None:
    homes = packages_distributions()
    found = {min(homes.get(top, [top]), key=len).lower().replace("_", "-") for top in imported()}
    assert found - declared() == set()
    assert declared() - found - BY_OTHERS == set()


@pytest.mark.parametrize(("section", "key"), [(section, key) for section, key, _ in settings()])
def test_every_setting_has_an_effect(section: str, key: str) -> None:
    """Someone reads `.key` outside the configuration itself, in a file that also speaks of `section`."""
    for path in SOURCES:
        if path.name in ("config.py", "setting.py", "doctor.py"):
            continue
        text = path.read_text()
        if re.search(rf"\.{section}\b", text) and re.search(rf"\.{key}\b", text):
            return
    pytest.fail(f"nothing reads {section}.{key}")
