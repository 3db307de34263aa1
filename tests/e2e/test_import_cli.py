"""`soc import` and `soc deadletters` as people run them: no server, real journal, normaliser and detector."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Soc = Callable[..., "subprocess.CompletedProcess[str]"]
REPOSITORY = Path(__file__).resolve().parents[2]


def command(data: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "soc.cli", "--data", str(data), *arguments]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def soc(data: Path) -> Soc:
    """Runs the command; its output and exit code."""

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(data, *arguments), input=stdin, capture_output=True, text=True, timeout=120, check=False, cwd=REPOSITORY)

    return run


def parsed(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode in (0, 1), done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def sample(path: Path, lines: int) -> Path:
    path.write_text("".join(
        f"Jan  5 10:{n // 60 % 60:02}:{n % 60:02} web1 sshd[{n}]: Failed password for root from 203.0.113.{n % 250} port 22\n"
        for n in range(lines)))
    return path


def test_import_repeat_show_and_undo(soc: Soc, tmp_path: Path) -> None:
    archive = tmp_path / "logs.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("auth.log", sample(tmp_path / "auth.log", 50).read_bytes())
        made.writestr("events.jsonl", '{"EventID": 1, "Channel": "Security"}\n{broken\n')
        made.writestr("../../evil.log", "x\n")
        made.writestr("README.md", "text")

    (first,) = parsed(soc("import", str(archive), "--json"))
    assert (first["read"], first["records"], first["skipped"], first["refused"]) == (2, 52, 2, 0)
    assert first["judged"] is True
    assert first["stored"] + first["dead_letters"] == 52

    (again,) = parsed(soc("import", "--json", str(archive)))
    assert (again["records"], again["duplicates"]) == (0, 52)

    rows = parsed(soc("import", "list", "--json"))
    assert [row["id"] for row in rows] == [again["id"], first["id"]]

    (shown,) = parsed(soc("import", "show", first["id"], "--json"))
    assert shown["stored"] == first["stored"]
    assert {Path(file["name"]).name: file["state"] for file in shown["files"]} == {
        "auth.log": "read", "events.jsonl": "read", "evil.log": "skipped", "README.md": "skipped"}
    assert not list(tmp_path.parent.glob("evil.log"))

    undone = soc("import", "undo", first["id"], "--yes")
    assert undone.returncode == 0, undone.stderr
    (shown,) = parsed(soc("import", "show", first["id"], "--json"))
    assert (shown["state"], shown["stored"]) == ("undone", 0)
    (anew,) = parsed(soc("import", str(archive), "--json"))
    assert (anew["records"], anew["stored"], anew["dead_letters"]) == (52, first["stored"], first["dead_letters"])


def test_killed_import_is_continued_to_the_record(soc: Soc, data: Path, tmp_path: Path) -> None:
    path = sample(tmp_path / "auth.log", 30_000)
    running = subprocess.Popen(
        command(data, "import", str(path)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=REPOSITORY)
    journal = data / "journal" / "bulk"
    until = time.monotonic() + 60
    while time.monotonic() < until and running.poll() is None:
        if journal.is_dir() and sum(file.stat().st_size for file in journal.glob("*.jrn")) > 20_000:
            break
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.wait(30)

    (done,) = parsed(soc("import", str(path), "--json"))
    (shown,) = parsed(soc("import", "show", done["id"], "--json"))
    assert (shown["state"], shown["records"], shown["stored"], shown["dead_letters"]) == ("done", 30_000, 30_000, 0)
    assert [row["id"] for row in parsed(soc("import", "list", "--json"))] == [done["id"]]


def test_standard_input_is_imported(soc: Soc) -> None:
    (done,) = parsed(soc("import", "-", "--json", "--no-wait", stdin="one line\nanother\n"))
    assert (done["read"], done["records"]) == (1, 2)


def test_wrong_use_is_told_before_anything_is_read(soc: Soc, tmp_path: Path) -> None:
    path = sample(tmp_path / "a.log", 1)
    for arguments, word in (
        (["--agency", "so-khong-co"], "agency"), (["--format", "no-such"], "format"), (["--timezone", "Mars/Base"], "zone"),
    ):
        done = soc("import", str(path), *arguments)
        assert done.returncode == 1
        assert word in done.stderr
    assert soc("import", str(path), "--year", "17").returncode == 2
    assert parsed(soc("import", "list", "--json")) == []


def test_nothing_readable_is_a_failure_with_the_reason(soc: Soc, tmp_path: Path) -> None:
    (tmp_path / "bad.evtx").write_bytes(b"no event log")
    done = soc("import", str(tmp_path / "bad.evtx"), "--no-wait")
    assert done.returncode == 1
    assert "not a Windows event log" in done.stderr


def test_dead_letters_are_listed_shown_replayed_and_discarded(soc: Soc, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{broken\n[also\n')
    (done,) = parsed(soc("import", str(path), "--format", "json", "--json"))
    assert (done["stored"], done["dead_letters"]) == (1, 2)

    letters = parsed(soc("deadletters", "list", "--json", "--import", done["id"]))
    assert {letter["n"] for letter in letters} == {1, 2}
    number = str(min(letter["id"] for letter in letters))
    assert soc("deadletters", "show", number, "--raw").stdout == "{broken"

    again = soc("deadletters", "replay", "--all", "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout) == [{"replayed": 0, "dead": 2, "waiting": 0}]
    assert len(parsed(soc("deadletters", "list", "--json"))) == 2

    assert soc("deadletters", "discard", number, "--reason", "not a log").returncode == 0
    assert len(parsed(soc("deadletters", "list", "--json"))) == 1
    assert len(parsed(soc("deadletters", "list", "--json", "--state", "all"))) == 2
    assert soc("deadletters", "replay", number).returncode == 1
    assert soc("deadletters", "replay").returncode == 2
