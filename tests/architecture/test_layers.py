"""The layers hold, and what must stand alone stands alone."""
from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [name for name in ("soc", "alerts", "collectors", "agents") if (ROOT / name / "__init__.py").exists()]
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
SERVER = ("alerts", "duckdb", "fastapi", "pyarrow", "sigma", "sqlalchemy", "soc.config", "soc.database", "soc.store", "typer")


def tracked() -> list[Path]:
    """Every file that git knows or would take, as text files go."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_upper_layers_import_lower_ones_only() -> None:
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


def test_every_module_of_the_centre_has_a_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = " ".join(next(c for c in contracts if c["id"] == "layers")["layers"])
    known = set(re.findall(r"[a-z][a-z_.]*", layers))
    found = {f"soc.{path.stem}" for path in (ROOT / "soc").iterdir()
             if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()}
    assert found - known - {"soc.migrations"} == set()


def test_event_needs_the_standard_library_only() -> None:
    tree = ast.parse((ROOT / "soc" / "event.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("package", [name for name in ("collectors", "agents") if name in PACKAGES])
def test_agents_and_collectors_load_nothing_of_the_server(package: str) -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
               for path in sorted((ROOT / package).rglob("*.py"))]
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n" \
           f"print([n for n in sys.modules if n.startswith({SERVER!r})])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_dangerous_is_called(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"pickle", "cPickle", "dill", "marshal", "shelve"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        assert name not in ("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"), name
        if name in ("yaml.load", "yaml.load_all", "yaml.compose", "yaml.compose_all"):
            given = [ast.unparse(argument) for argument in (*node.args, *(k.value for k in node.keywords))]
            assert any("SafeLoader" in argument for argument in given), name
        assert not any(k.arg == "shell" and ast.unparse(k.value) != "False" for k in node.keywords), name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    if not text.strip():
        return
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "an opening docstring is missing"
    assert len(text.splitlines()) <= 600, "over 600 lines: more than one noun"


def test_no_file_names_a_registry_host_or_a_machine_path() -> None:
    hosts = re.compile(r"pypi\.org|pythonhosted|registry\.npmjs|artifactory|index-url\s*[=h]|extra-index")
    paths = re.compile(r"(^|[^A-Za-z0-9_.$}])/(work|farm|root|home/[a-z]+)/")
    found = []
    for path in tracked():
        if path == Path(__file__) or path.suffix in (".evtx", ".zst", ".parquet"):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if hosts.search(line) or (paths.search(line) and "golden" not in path.parts and "home/" not in line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_no_tracked_file_is_over_a_megabyte() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > 1_000_000] == []


def test_locks_pin_every_package_by_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        entries = re.findall(r"^[a-z0-9](?:[^\n]*\\\n)*[^\n]*", text, re.MULTILINE | re.IGNORECASE)
        assert len(entries) > 20
        for entry in entries:
            assert re.match(r"[a-zA-Z0-9_.-]+==[^ ]+", entry), entry[:80]
            assert "--hash=sha256:" in entry, entry[:80]


def test_every_direct_dependency_is_locked_and_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements.lock").read_text().lower()
    explained = (ROOT / "docs" / "dependencies.md").read_text().lower()
    for dependency in project["dependencies"]:
        name = re.match(r"[a-zA-Z0-9_-]+", dependency)
        assert name is not None
        assert f"\n{name.group().lower()}==" in "\n" + lock, dependency
        assert f"`{name.group().lower()}`" in explained, dependency
