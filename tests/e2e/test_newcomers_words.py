"""What commands say to somebody who uses them for the first time: counts of what is counted, names, ways on."""
from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from soc.commands.output import many

REPOSITORY = Path(__file__).parents[2]
Soc = Callable[..., "subprocess.CompletedProcess[str]"]
GOOD = """title: Root shell
id: 00000000-0000-4000-8000-000000000001
status: test
level: high
logsource: {product: linux}
detection: {selection: {message|contains: 'needle'}, condition: selection}
"""


@pytest.fixture
def soc(tmp_path: Path) -> Soc:
    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-m", "soc.cli", "--data", "data", *words], capture_output=True, text=True, cwd=tmp_path,
                              timeout=240, check=False, env=os.environ | {"PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"})
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
        return done

    return run


def on_terminal(folder: Path, width: int, *words: str) -> str:
    """What a terminal of that width shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    process = subprocess.Popen([sys.executable, "-m", "soc.cli", "--data", "data", *words], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder,
                               env=os.environ | {"PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1", "TERM": "dumb"})
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    assert process.wait(60) == 0
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def test_a_number_stands_with_its_noun() -> None:
    assert [many(0, "rule"), many(1, "rule"), many(3780, "rule"), many(1, "file is", "files are")] == ["0 rules", "1 rule", "3,780 rules", "1 file is"]


def test_a_check_counts_rules_faults_and_files_as_what_they_are(soc: Soc, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "good.yml").write_text(GOOD)
    assert soc("rules", "check", "rules").stderr.endswith("1 rule is fine, 0 faults.\n")
    (tmp_path / "rules" / "bad.yml").write_text("title: Bad\nlevel: enormous\nstatus: odd\nlogsource: {product: linux}\n")
    (tmp_path / "rules" / "notes.txt").write_text("x")
    faults = len(soc("rules", "check", "rules", code=1).stdout.splitlines())
    assert faults > 1
    assert f"1 rule is fine, {faults} faults in 1 file, 1 file is no rule." in soc("rules", "check", "rules", code=1).stderr
    said = soc("rules", "import", "rules").stderr
    assert "1 rule from 2 files (1 new" in said
    assert f"1 file refused ({faults} faults)." in said


def test_rules_without_samples_say_how_to_make_one(soc: Soc, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "good.yml").write_text(GOOD)
    said = soc("rules", "test", "rules").stderr
    line = said[said.index('{"match"'):said.index("}") + 1]
    (tmp_path / "rules" / "good.samples.jsonl").write_text(line.replace("the record as its source writes it", "Jan  5 10:00:00 web1 sshd[1]: needle") + "\n")
    assert "1 sample, 0 wrong." in soc("rules", "test", "rules").stderr  # what it says to do works
    assert soc("rules", "test", "rules", "--json").stderr == ""


@pytest.fixture
def searched(soc: Soc, tmp_path: Path) -> Soc:
    huge = "A" * 200_000 + " end-of-record"
    (tmp_path / "auth.log").write_text(f"Jan  5 10:00:00 web1 sshd[1]: needle\nJan  5 10:00:01 web1 sshd[2]: {huge}\n")
    assert "1 file, 2 records in" in soc("import", "auth.log").stderr
    return soc


def test_a_huge_record_is_whole_in_a_pipe_and_short_on_a_terminal(searched: Soc, tmp_path: Path) -> None:
    rows = json.loads(searched("events", "search", "--json").stdout)
    assert any(row.get("event.original", "").endswith("end-of-record") for row in rows)
    lines = searched("events", "search").stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["time", "host", "dataset", "code", "id", "text"]
    assert len(max(lines, key=len)) > 200_000
    assert len(min(lines[1:], key=len)) < 500
    for width in (80, 120):
        shown = on_terminal(tmp_path, width, "events", "search")
        assert len(shown) < 1500
        assert shown.count("web1") >= 2
        assert "needle" in shown


def test_a_field_that_no_event_has_is_named_with_the_nearest(searched: Soc) -> None:
    said = searched("events", "search", "hots.name:web1").stderr
    assert "No event has the field 'hots.name'; did you mean 'host.name'?" in said
    assert "`soc events fields` lists" in searched("events", "search", "zzqq:1").stderr
    assert "has the field" not in searched("events", "search", "host.name:elsewhere").stderr
    assert "did you mean 'host.name'?" in searched("events", "top", "host.nmae").stderr
    assert "None of these events has" in searched("events", "top", "host.name", "host.name:elsewhere").stderr


def test_ctrl_c_during_an_import_makes_no_noise_and_the_next_run_goes_on(soc: Soc, tmp_path: Path) -> None:
    (tmp_path / "many.log").write_text("".join(f"Jan  5 10:00:00 web1 sshd[{n}]: line {n}\n" for n in range(60_000)))
    process = subprocess.Popen([sys.executable, "-m", "soc.cli", "--data", "data", "import", "many.log"], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, cwd=tmp_path, start_new_session=True,
                               env=os.environ | {"PYTHONPATH": str(REPOSITORY), "NO_COLOR": "1"})
    assert process.stdout is not None
    said = ""
    while "starting what this needs" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said += process.communicate(timeout=60)[0]
    assert process.returncode == 130
    for noise in ("Traceback", "nanobind", "KeyboardInterrupt", "Exception ignored", "leaked"):
        assert noise not in said
    soc("import", "many.log")
    assert soc("events", "count").stdout.strip() == "60000"


def test_an_import_is_undone_once_and_says_so_the_second_time(searched: Soc) -> None:
    (found,) = json.loads(searched("import", "list", "--json").stdout)
    assert "Undone: 2 events and 0 alerts" in searched("import", "undo", found["id"], "--yes").stderr
    again = searched("import", "undo", found["id"])
    assert f"Import {found['id']} was undone before, on 20" in again.stderr
    assert "nothing is left of it" in again.stderr
    assert json.loads(searched("import", "undo", found["id"], "--json").stdout) == [{"id": found["id"], "events": 0, "alerts": 0}]
