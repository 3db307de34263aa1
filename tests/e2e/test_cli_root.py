"""The command `soc` itself: help, exit codes, errors without traces, quick start-up."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from soc.cli import COMMANDS, hoist
from soc.folder import DataFolder


def soc(*arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "soc.cli", *arguments], env={**os.environ, "PYTHONPATH": root, **(env or {})}, cwd=cwd or root,
        capture_output=True, text=True, timeout=60)


def test_help_lists_every_command_without_importing_any() -> None:
    done = soc("--help")
    assert done.returncode == 0
    assert all(f" {name} " in done.stdout for name in COMMANDS)
    code = "import sys\nsys.argv = ['soc', '--help']\nimport soc.cli\ntry: soc.cli.main()\nexcept SystemExit: pass\n" \
           "print([m for m in ('duckdb', 'pyarrow', 'sigma', 'fastapi', 'sqlalchemy', 'yaml') if m in sys.modules])"
    quick = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert quick.stdout.strip().endswith("[]")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    done = soc(name, "--help")
    assert done.returncode == 0, done.stderr
    assert f"soc {name}" in done.stdout


@pytest.mark.parametrize("wrong", [["alert"], ["--nonsense"], ["tls", "init", "--hst", "x"], ["tls", "init", "--host", "a b"]])
def test_wrong_usage_ends_with_2_and_no_trace(wrong: list[str], tmp_path: Path) -> None:
    done = soc("--data", str(tmp_path / "data"), *wrong)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_mistyped_command_names_the_nearest() -> None:
    assert "'alerts'" in soc("alert").stderr


def test_refusals_are_one_line_with_a_remedy(tmp_path: Path) -> None:
    soc("tls", "init", "--host", "a.example", "--data", str(tmp_path / "data"))
    done = soc("tls", "init", "--host", "a.example", "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: certificates are in")
    assert "--renew" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_fault_touches_nothing(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("gateway:\n  prot: 1\nconsole:\n  port: many\n")
    done = soc("tls", "init", "--data", str(tmp_path / "data"), "--config", str(config))
    assert done.returncode == 1
    assert "c.yaml:2: unknown key 'gateway.prot'; did you mean 'gateway.port'?" in done.stderr
    assert "c.yaml:4: console.port" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_backlog_waits_untouched_while_the_configuration_is_faulty(tmp_path: Path) -> None:
    """F27."""
    data = DataFolder.open(tmp_path / "data").path
    for name in ("journal/live/000000000000.jrn", "journal/bulk/000000000000.jrn", "node.db", "state.db"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(name.encode() * 100)
    config = tmp_path / "c.yaml"
    config.write_text("journal:\n  file_size: 1\n")

    def state() -> list[tuple[str, int, bytes]]:
        paths = sorted(data.rglob("*"))
        return [(str(path), path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths]

    before = state()
    done = soc("serve", "--data", str(data), "--config", str(config))
    assert done.returncode == 1
    assert "c.yaml:2: journal.file_size" in done.stderr
    assert state() == before


def test_json_output_is_one_array_and_nothing_else(tmp_path: Path) -> None:
    done = soc("tls", "init", "--host", "a.example", "--data", str(tmp_path / "data"), "--json")
    assert [row["what"] for row in json.loads(done.stdout)] == ["authority", "server"]


def test_an_unexpected_error_is_one_line_and_its_trace_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "centre.json").write_text('{"format": 1, "centre": "0123456789ab"}')
    code = "import soc.cli, soc.commands.tls as t\n" \
           "def boom(*a, **k): raise ZeroDivisionError('deliberate')\n" \
           f"t.make_certificates = boom\nsoc.cli.main(['tls', 'init', '--data', {str(tmp_path)!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "unexpected ZeroDivisionError: deliberate" in done.stderr
    assert "Traceback" not in done.stderr
    [trace] = (tmp_path / "run").glob("crash-*.txt")
    assert "ZeroDivisionError" in trace.read_text()
    assert trace.stat().st_mode & 0o077 == 0


def test_global_options_may_stand_anywhere_before_two_dashes() -> None:
    assert hoist(["events", "count", "--data", "x"]) == ["--data", "x", "events", "count"]
    assert hoist(["a", "--data=x", "b", "--verbose"]) == ["--data=x", "--verbose", "a", "b"]
    assert hoist(["a", "--", "--data", "x"]) == ["a", "--", "--data", "x"]


def test_the_addresses_that_serve_prints_answer(centre, wait_for):
    centre.start()
    link = wait_for(lambda: re.search(r"(http://\S+/setup\?token=\S+)", centre.log.read_text()), 40, 0.02).group(1)
    with urllib.request.urlopen(link, timeout=10) as page:
        assert page.status == 200
    assert centre.post("/ingest/v1/events", b"{}\n", {})[0] == 401
    assert centre.stop() == 0
