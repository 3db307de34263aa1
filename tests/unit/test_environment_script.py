"""`make run` and ./run on machines that lack something: each time one line with the cause, and the command that helps."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "rm", "grep", "cut", "touch", "head", "mkdir", "dirname", "cat")


class Machine:
    """A PATH of its own: a few system tools, and what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.clone, self.release = folder / "bin", folder / "clone", folder / "os-release"
        self.bin.mkdir()
        (self.clone / "scripts").mkdir(parents=True)
        for name in ("scripts/environment.sh", "run", "Makefile", "requirements.lock", "requirements-dev.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.clone / name)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool} here"))
        self.has("id", "echo 1000")

    def has(self, name: str, script: str = "exit 0") -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def has_python(self, name: str, version: str, *, venv: bool = True, pip_says: str = "") -> None:
        """A Python of that version, whose environments have a pip that fails with those words."""
        made = 'mkdir -p "$3/bin"; cp "$0" "$3/bin/python" 2>/dev/null || cat "$0" >"$3/bin/python"; : >"$3/made"; ' \
               'while read -r line; do echo "$line"; done <"$0" >"$3/bin/python"; chmod +x "$3/bin/python"'
        self.bin.joinpath("chmod").unlink(missing_ok=True)
        self.bin.joinpath("chmod").symlink_to(shutil.which("chmod") or "")
        self.has(name, f"""case "$*" in
*version_info*) echo {version} ;;
*ensurepip*) exit {0 if venv else 1} ;;
"-m venv "*) {made} ;;
"-m pip "*) echo "{pip_says}"; exit 1 ;;
"-c import pip") exit 1 ;;
esac""")

    def start(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command or ("sh", "scripts/environment.sh", ".venv"), cwd=self.clone, env={"PATH": str(self.bin), "SOC_OS_RELEASE": str(self.release)},
                              capture_output=True, text=True, timeout=60, check=False)

    def refusal(self, *command: str) -> list[str]:
        done = self.start(*command)
        assert done.returncode != 0, done.stdout
        return done.stderr.splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_any_python_the_systems_own_packages_are_named(machine: Machine) -> None:
    machine.has("apt-get")
    assert machine.refusal() == [
        "error: no Python is installed",
        "  → sudo apt-get update && sudo apt-get install -y python3 python3-venv, then the same command again"]


def test_a_bare_ubuntu_22_04_is_led_to_a_python_that_is_new_enough_at_once(machine: Machine) -> None:
    machine.has("apt-get")
    machine.release.write_text('NAME="Ubuntu"\nVERSION_ID="22.04"\n')
    assert machine.refusal()[1] == "  → sudo apt-get update && sudo apt-get install -y python3.11 python3.11-venv, then the same command again"


def test_rocky_9_and_its_python_3_9(machine: Machine) -> None:
    machine.has("dnf")
    machine.has_python("python3", "3.9")
    assert machine.refusal() == [
        "error: Python 3.9 is too old: 3.11 or newer is needed",
        "  → sudo dnf install -y python3.11, then the same command again"]


def test_ubuntu_22_04_and_its_python_3_10(machine: Machine) -> None:
    machine.has("apt-get")
    machine.has_python("python3", "3.10")
    assert machine.refusal()[1] == "  → sudo apt-get update && sudo apt-get install -y python3.11 python3.11-venv, then the same command again"


@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_debian_12_and_ubuntu_24_04_without_venv(machine: Machine, version: str) -> None:
    machine.has("apt-get")
    machine.has("id", "echo 0")
    machine.has_python("python3", version, venv=False)
    assert machine.refusal() == [
        f"error: Python {version} has no venv module",
        f"  → apt-get update && apt-get install -y python{version}-venv, then the same command again"]


def test_an_old_python3_does_not_hide_a_newer_one_beside_it(machine: Machine) -> None:
    machine.has_python("python3", "3.9")
    machine.has_python("python3.12", "3.12", pip_says="ERROR: pip was reached")
    assert machine.refusal()[0] == "error: ERROR: pip was reached"
    assert (machine.clone / ".venv" / "made").exists()


@pytest.mark.parametrize(("said", "cause", "help_"), [
    ("NewConnectionError: Temporary failure in name resolution", "no network", "HTTPS_PROXY="),
    ("Network is unreachable", "no network", "HTTPS_PROXY="),
    ("SSLError: CERTIFICATE_VERIFY_FAILED", "certificate is not trusted", "PIP_CERT="),
    ("ERROR: [Errno 28] No space left on device", "the disk is full", "df -h"),
    ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "other files than requirements.lock names", "pip.log"),
    ("ERROR: No matching distribution found for duckdb==1.4", "No matching distribution found for duckdb==1.4", "PIP_FIND_LINKS"),
])
def test_what_keeps_pip_from_working_is_said_in_one_line(machine: Machine, said: str, cause: str, help_: str) -> None:
    machine.has_python("python3.11", "3.11", pip_says=said)
    lines = machine.refusal()
    assert lines[0].startswith("error: ")
    assert cause in lines[0]
    assert help_ in lines[1]
    assert said in (machine.clone / ".venv" / "pip.log").read_text()


def test_without_internet_the_way_around_it_is_named(machine: Machine) -> None:
    machine.has_python("python3.11", "3.11", pip_says="NewConnectionError")
    assert machine.refusal()[2] == (
        "  → without internet: elsewhere, with Python 3.11, pip download -r requirements.lock -d wheels; copy wheels/ here; "
        "then PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels in front of the same command")


def test_without_make_run_says_the_same(machine: Machine) -> None:
    assert machine.refusal("sh", "run")[0] == "error: no Python is installed"


def test_make_run_says_it_and_make_adds_one_line_of_its_own(machine: Machine) -> None:
    machine.bin.joinpath("make").symlink_to(shutil.which("make") or "")
    machine.has("apt-get")
    lines = machine.refusal("make", "run")
    assert lines[:2] == ["error: no Python is installed", "  → sudo apt-get update && sudo apt-get install -y python3 python3-venv, then the same command again"]
    assert len(lines) == 3
