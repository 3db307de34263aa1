"""Which logs of this machine there are, and the command that lets one be read."""
from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from soc.machine import own_logs


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who may read nothing: root, as whom tests may run, reads everything."""
    monkeypatch.setattr(os, "access", lambda *_: False)


def test_files_that_may_be_read_need_nothing(tmp_path: Path) -> None:
    (tmp_path / "a b.log").touch()
    (tmp_path / "c.log").mkdir()
    found = own_logs(f"'{tmp_path}/*.log' {tmp_path}/none.log", journal=False)
    assert [(one.name, one.remedy) for one in found] == [(f"{tmp_path}/a b.log", "")]


def test_a_file_that_may_not_be_read_names_its_command(tmp_path: Path, unreadable: None) -> None:
    log = tmp_path / "auth.log"
    log.touch(0o600)
    (found,) = own_logs(str(log), journal=False)
    assert found.remedy == f"sudo setfacl -m u:{getpass.getuser()}:r {log}"
    if os.geteuid() == 0:
        import grp

        adm = grp.getgrnam("adm")
        os.chown(log, 0, adm.gr_gid)
        os.chmod(log, 0o640)
        (found,) = own_logs(str(log), journal=False)
        assert found.remedy == f"sudo usermod -aG adm {getpass.getuser()}"
