"""The systemd unit: what it lets the service do, and that every path reaches systemd as it is."""
from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soc.commands.service_unit import FIRST_LINE, Service, _quoted, unit_text, unreachable
from soc.errors import InputRefused

PLAIN = Service("soc", "root", ("/opt/soc/.venv/bin/soc",), Path("/var/lib/soc"), Path("/etc/soc/config.yaml"))


def test_it_runs_as_its_user_on_its_folder_and_comes_back() -> None:
    lines = unit_text(PLAIN).splitlines()
    assert lines[0] == FIRST_LINE
    assert "ExecStart=/opt/soc/.venv/bin/soc --data /var/lib/soc --config /etc/soc/config.yaml serve" in lines
    for line in ("User=root", "Restart=always", "WantedBy=multi-user.target", "StateDirectory=soc", "NoNewPrivileges=yes",
                 "ProtectSystem=strict", "CapabilityBoundingSet=", "AmbientCapabilities="):
        assert line in lines


def test_a_folder_elsewhere_is_the_one_place_it_may_write_to() -> None:
    text = unit_text(Service("soc", "an", ("/opt/soc/soc",), Path("/srv/soc data")))
    assert 'ReadWritePaths="/srv/soc data"' in text
    assert "StateDirectory" not in text


def test_ports_below_1024_need_one_right_and_no_other() -> None:
    lines = unit_text(Service("soc", "soc", ("/opt/soc",), Path("/var/lib/soc"), low_ports=True)).splitlines()
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in lines
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE" in lines


@given(st.text(st.characters(min_codepoint=32, exclude_categories=("C", "Z")), min_size=1).map(lambda text: f"/{text} x"))
def test_a_quoted_word_is_read_back_as_it_was(path: str) -> None:
    assert as_systemd_reads(_quoted(path)) == path


@pytest.mark.parametrize("path", ["/a\nUser=root", "/a\tb", "/a\x00", "/a\u202eb"])
def test_control_characters_reach_no_unit(path: str) -> None:
    with pytest.raises(InputRefused):
        unit_text(Service("soc", "soc", ("/opt/soc",), Path(path)))


def test_a_folder_the_user_may_not_pass_is_named(tmp_path: Path) -> None:
    barred = tmp_path / "home"
    (barred / "clone").mkdir(parents=True)
    barred.chmod(0o700)
    assert unreachable("nobody", [barred / "clone" / "soc"]) in {barred, *barred.parents}
    assert unreachable(getpass.getuser(), [barred / "clone" / "soc"]) is None
    assert unreachable("nobody", [Path("/usr/bin/env")]) is None
    with pytest.raises(InputRefused, match="there is no user"):
        unreachable("nobody-of-that-name", [tmp_path])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="apt-get install systemd")
def test_systemd_takes_it(tmp_path: Path) -> None:
    program = tmp_path / "a folder" / "soc"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "soc.service"
    unit.write_text(unit_text(Service("soc", "root", (str(program),), Path("/var/lib/soc"), Path("/etc/100%/c.yaml"), low_ports=True)))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=120, check=False)
    assert [line for line in done.stderr.splitlines() if "soc" in line] == []
    unit.write_text(unit.read_text().replace("NoNewPrivileges=yes", "NoNewPrivileges=perhaps"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=120, check=False)
    assert "perhaps" in done.stderr  # it looks


def as_systemd_reads(text: str) -> str:
    """systemd.syntax(7): a word in double quotes, backslashes in it; %% and $$ stand for one."""
    if text.startswith('"'):
        out, at = "", 1
        while text[at] != '"':
            at += text[at] == "\\"
            out += text[at]
            at += 1
        assert at == len(text) - 1
        text = out
    return text.replace("%%", "%").replace("$$", "$")
