"""What is imported is declared, what is declared is used, and what is configurable has an effect."""
from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from soc.config import settings

ROOT = Path(__file__).parents[2]
PACKAGES = [name for name in ("soc", "alerts", "collectors", "agents") if (ROOT / name / "__init__.py").exists()]
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
BY_OTHERS = {"httptools", "psycopg", "python-multipart", "tzdata", "sigma-cli", "pysigma-backend-elasticsearch", "pysigma-backend-kusto",
             "pysigma-pipeline-sysmon", "pysigma-pipeline-windows"}
"""Loaded by another package rather than imported here: an HTTP parser, a dialect, a form parser, zone files, plugins of pySigma."""

HOMES = {
    "ahocorasick_rs": "soc/detect/engine/", "apscheduler": "soc/detect/schedule.py", "argon2": "soc/access/passwords.py",
    "duckdb": "soc/store/embedded_engine.py", "evtx": "collectors/evtx.py", "fastapi": "soc/console/", "jinja2": "soc/console/pages/", "lark": "soc/store/query",
    "msgspec": "soc/detect/", "pydantic": "soc/console/", "re2": "soc/detect/engine/", "sigma": "soc/detect/",
    "typer": "soc/c", "rich": "soc/commands/",
}
"""Where a package is at home; nothing else imports it."""


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.split(r"[^a-zA-Z0-9_-]", text)[0].lower().replace("_", "-") for text in project["dependencies"]}


@cache
def imported_by(path: Path) -> set[str]:
    """The top-level packages that a file imports anywhere in it."""
    tops: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            tops |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            tops.add((node.module or "").split(".")[0])
    return tops


def imported() -> set[str]:
    return set().union(*map(imported_by, SOURCES)) - set(sys.stdlib_module_names) - set(PACKAGES)


def test_every_import_is_declared_and_every_declaration_imported() -> None:
    homes = packages_distributions()
    found = {min(homes.get(top, [top]), key=len).lower().replace("_", "-") for top in imported()}
    assert found - declared() == set()
    assert declared() - found - BY_OTHERS == set()


@pytest.mark.parametrize(("module", "home"), sorted(HOMES.items()))
def test_a_package_stays_in_its_home(module: str, home: str) -> None:
    users = {path.relative_to(ROOT).as_posix() for path in SOURCES if module in imported_by(path)}
    assert users
    assert {path for path in users if not path.startswith(home)} == set()


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
