"""`soc service` at the command line: where systemd runs (seen in a mount namespace, systemctl noting what it is asked), and where it does not."""
from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def soc(*words: str, within: list[str] | None = None, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    return subprocess.run([*(within or []), sys.executable, "-m", "soc.cli", *words], env=environment, capture_output=True, text=True,
                          timeout=60, check=False)


def test_print_changes_nothing_and_needs_nothing(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("syslog: {port: 514}\n")
    done = soc("service", "install", "--print", "--user-name", "an", "--config", str(config), "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "User=an" in lines
    assert any(line.endswith(f"--data {tmp_path}/data --config {config} serve") for line in lines)
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in lines
    assert f"ReadWritePaths={tmp_path}/data" in lines
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here: nothing to say")
@pytest.mark.parametrize("word", ["install", "remove"])
def test_without_systemd_it_says_what_to_do_instead(word: str) -> None:
    done = soc("service", word)
    assert done.returncode == 1
    assert "systemd does not run this machine" in done.stderr
    assert "service install --print" in done.stderr


@pytest.mark.parametrize("wrong", [("--user-name", "an; reboot"), ("--user-name", "An"), ("--name", "../soc"), ("--name", "")])
def test_names_that_are_none_are_wrong_usage(wrong: tuple[str, str]) -> None:
    assert soc("service", "install", "--print", *wrong).returncode == 2


class Booted:
    """A machine that systemd runs, as far as a command can tell: its own /etc/systemd/system and /run, and a systemctl that notes."""

    def __init__(self, folder: Path) -> None:
        self.units, self.asked, self.bin = folder / "units", folder / "asked", folder / "bin"
        self.units.mkdir()
        self.bin.mkdir()
        (folder / "run" / "systemd" / "system").mkdir(parents=True)
        systemctl = self.bin / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$@" >>{self.asked}\n')
        systemctl.chmod(0o755)
        mounts = f"mkdir -p /etc/systemd/system && mount --bind {self.units} /etc/systemd/system && mount --bind {folder / 'run'} /run"
        self.within = ["unshare", "--mount", "--", "sh", "-c", f'{mounts} && exec "$@"', "sh"]

    def soc(self, *words: str) -> subprocess.CompletedProcess[str]:
        return soc("service", *words, within=self.within, path=str(self.bin))

    def told(self) -> list[str]:
        return self.asked.read_text().splitlines() if self.asked.exists() else []


@pytest.fixture
def booted(tmp_path: Path) -> Booted:
    made = Booted(tmp_path)
    able = subprocess.run([*made.within, "true"], capture_output=True, check=False, timeout=30)
    if os.geteuid() != 0 or able.returncode:
        pytest.skip("mounts need root: sudo make test")
    return made


def test_it_is_installed_started_and_removed(booted: Booted) -> None:
    user = getpass.getuser()
    done = booted.soc("install", "--user-name", user, "--name", "soc-test")
    assert done.returncode == 0, done.stderr
    assert f"User={user}" in (booted.units / "soc-test.service").read_text()
    assert booted.told() == ["daemon-reload", "enable --quiet soc-test.service", "restart soc-test.service"]
    assert "journalctl -u soc-test" in done.stderr
    again = booted.soc("install", "--user-name", user, "--name", "soc-test")
    assert again.returncode == 0, again.stderr
    gone = booted.soc("remove", "--name", "soc-test")
    assert gone.returncode == 0, gone.stderr
    assert "/var/lib/soc-test" in gone.stderr
    assert booted.told()[-2:] == ["disable --now --quiet soc-test.service", "daemon-reload"]
    assert list(booted.units.iterdir()) == []


def test_another_ones_unit_is_left_alone(booted: Booted) -> None:
    theirs = booted.units / "soc.service"
    theirs.write_text("[Service]\nExecStart=/usr/bin/theirs\n")
    for word in ("install", "remove"):
        done = booted.soc(word)
        assert done.returncode == 1, word
        assert "soc.service" in done.stderr
    assert theirs.read_text() == "[Service]\nExecStart=/usr/bin/theirs\n"
    assert booted.told() == []


def test_a_program_that_its_user_cannot_reach_is_not_installed(booted: Booted) -> None:
    hidden = booted.units.parent / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "config.yaml").write_text("")
    done = soc("--config", str(hidden / "config.yaml"), "service", "install", "--user-name", "nobody", within=booted.within, path=str(booted.bin))
    assert done.returncode == 1
    assert "the user nobody may not pass" in done.stderr
    assert "--user-name" in done.stderr
    assert booted.told() == []
