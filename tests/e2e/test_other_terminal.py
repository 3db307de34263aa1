"""Commands in another terminal, without the settings that the server was started with, know where it listens."""
from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from soc.commands.serve import _answers
from tests.e2e.conftest import Centre, wait_for


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    made = Centre(tmp_path_factory.mktemp("terminal"))
    made.up()
    wait_for(lambda: _answers("127.0.0.1", made.console), 30)
    yield made
    made.kill()


def elsewhere(centre: Centre, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The command without any SOC_ setting."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SOC_")}
    done = subprocess.run([sys.executable, "-m", "soc.cli", "--data", str(centre.data), *words], env=bare | {"NO_COLOR": "1"},
                          capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def test_doctor_looks_at_the_ports_of_the_running_server(centre: Centre) -> None:
    rows = {row["check"]: row for row in json.loads(elsewhere(centre, "doctor", "--json", check=False).stdout)}
    for name, port in (("gateway", centre.gateway), ("console", centre.console), ("syslog", centre.syslog)):
        assert rows[f"{name} port"]["state"] == "ok", rows[f"{name} port"]
        assert rows[f"{name} port"]["found"].startswith(f"127.0.0.1:{port} is in use, as it should be")


def test_a_new_sources_lines_name_the_running_servers_port(centre: Centre) -> None:
    said = elsewhere(centre, "source", "add", "fw").stderr
    assert f"http://127.0.0.1:{centre.gateway}/ingest/v1/events" in said
    said = elsewhere(centre, "source", "add", "router", "--kind", "syslog", "--address", "10.1.2.3").stderr
    assert f'port="{centre.syslog}"' in said


def test_the_note_is_private_and_holds_no_secret(centre: Centre) -> None:
    note = centre.data / "run" / "supervisor.json"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert set(json.loads(note.read_text())["listens"]) == {"console", "gateway", "syslog", "tls"}


def test_a_note_of_a_server_that_is_gone_or_makes_no_sense_is_not_believed(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    elsewhere(centre, "source", "add", "first")
    run = centre.data / "run"
    run.mkdir(exist_ok=True)
    for listens in ({"gateway": {"host": "127.0.0.1", "port": 4711}}, {"gateway": {"port": "x"}}, ["gateway"], None):
        (run / "supervisor.json").write_text(json.dumps({"pid": os.getpid(), "listens": listens}))
        assert "http://127.0.0.1:8081/" in elsewhere(centre, "source", "rotate", "first").stderr
    (run / "supervisor.json").write_text("{")
    assert "http://127.0.0.1:8081/" in elsewhere(centre, "source", "rotate", "first").stderr


def test_the_note_goes_when_the_server_stops(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    centre.up()
    note = centre.data / "run" / "supervisor.json"
    wait_for(note.exists, 20)
    assert centre.stop() == 0
    assert not note.exists()
    said = centre.log.read_text()
    assert "Stopped." in said
    for noise in ("Traceback", "nanobind", "KeyboardInterrupt", "Exception ignored"):
        assert noise not in said
