"""`soc doctor`, through the command line."""
from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from soc.commands.doctor import State, _verdict, examine
from soc.folder import DataFolder
from soc.store.disk import RealDisk
from soc.tls import make_certificates


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def settings() -> dict[str, str]:
    gateway, console, syslog = free_ports(3)
    return {**os.environ, "SOC_GATEWAY__PORT": str(gateway), "SOC_CONSOLE__PORT": str(console), "SOC_SYSLOG__PORT": str(syslog)}


def doctor(data: Path, env: dict[str, str], *more: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "soc.cli", "--data", str(data), *more, "doctor", "--json"], env=env, capture_output=True,
        timeout=60, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, {row["check"]: row for row in json.loads(done.stdout)}


def test_a_fresh_machine_passes_and_is_left_as_it_was(tmp_path: Path) -> None:
    code, found = doctor(tmp_path / "data", settings())
    assert code == 0, found
    assert not (tmp_path / "data").exists()


def test_every_failure_says_what_to_do(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "data")
    folder.path.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {**settings(), "SOC_CONSOLE__PORT": str(taken.getsockname()[1]), "SOC_GATEWAY__HOST": "0.0.0.0"}
        code, found = doctor(folder.path, env)
    assert code == 1
    failed = {name for name, row in found.items() if row["state"] == "fail"}
    assert failed == {"permissions", "console port", "certificate"}
    assert all(found[name]["do"] for name in failed)


def test_ports_in_use_are_right_while_the_server_runs(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "data")
    with folder.lock(), socket.create_server(("127.0.0.1", 0)) as taken:
        code, found = doctor(folder.path, {**settings(), "SOC_CONSOLE__PORT": str(taken.getsockname()[1])})
    assert code == 0, found
    assert "server" in found["console port"]["found"]


def test_configuration_faults_are_listed_and_the_rest_is_still_checked(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("gatway:\n  port: 1\n")
    code, found = doctor(tmp_path / "data", settings(), "--config", str(config))
    assert code == 1
    assert "did you mean 'gateway'" in found["configuration"]["found"]
    assert "disk" in found


def test_the_disk_is_reckoned_as_by_the_guard_that_refuses_events(tmp_path: Path) -> None:
    found = next(f for f in examine(tmp_path, None, datetime(2026, 1, 1, tzinfo=UTC)) if f.check == "disk")
    assert found.found.startswith(f"{RealDisk().used(tmp_path):.0%} full")


def test_a_clock_before_this_program_was_written_is_a_failure(tmp_path: Path) -> None:
    found = [f for f in examine(tmp_path, None, datetime(1970, 1, 2, tzinfo=UTC)) if f.check == "clock"]
    assert [f.state for f in found] == [State.FAIL]


def test_an_old_certificate_is_a_failure_and_an_ageing_one_a_warning(tmp_path: Path) -> None:
    DataFolder.open(tmp_path / "data")
    make_certificates(tmp_path / "data" / "tls", ["a.example"], datetime(2026, 1, 1, tzinfo=UTC))

    def state(year: int, month: int, day: int) -> State:
        found = examine(tmp_path / "data", None, datetime(year, month, day, tzinfo=UTC))
        return next(f.state for f in found if f.check == "certificate")

    assert state(2026, 6, 1) is State.OK
    assert state(2027, 1, 20) is State.WARN
    assert state(2027, 3, 1) is State.FAIL


def test_the_verdict_counts_what_failed_and_what_is_worth_a_look() -> None:
    assert _verdict(12, 0, 0) == "Nothing is in the way."
    assert _verdict(12, 0, 1) == "Nothing is in the way; 1 check is worth a look."
    assert _verdict(12, 0, 3) == "Nothing is in the way; 3 checks are worth a look."
    assert _verdict(12, 1, 2) == "1 of 12 checks failed, 2 checks are worth a look."
    assert _verdict(12, 1, 0) == "1 of 12 checks failed."


def test_a_warning_is_counted_on_the_command_line(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "data")
    with folder.lock():  # a server runs, and nobody listens
        done = subprocess.run([sys.executable, "-m", "soc.cli", "--data", str(folder.path), "doctor"], env=settings(), capture_output=True,
                              timeout=60, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Nothing is in the way; \d+ checks are worth a look\.", done.stderr)
