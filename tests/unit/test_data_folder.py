"""The data folder: private, versioned, held by one server."""
from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from soc.errors import DamagedError, LockedError, StoreError
from soc.folder import FORMAT, DataFolder


def test_a_new_folder_is_private_and_keeps_its_centre(tmp_path: Path) -> None:
    made = DataFolder.open(tmp_path / "a" / "data")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    assert DataFolder.open(made.path) == made
    assert len(made.centre) == 12


def test_a_missing_folder_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no data folder"):
        DataFolder.open(tmp_path / "data", create=False)
    assert not (tmp_path / "data").exists()


def test_a_folder_of_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("x")
    with pytest.raises(StoreError, match="other things"):
        DataFolder.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_folder_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    card = tmp_path / "centre.json"
    card.write_text(json.dumps({"format": FORMAT + 1, "centre": "0" * 12}))
    before = card.read_bytes()
    with pytest.raises(StoreError, match="newer version"):
        DataFolder.open(tmp_path)
    assert card.read_bytes() == before


def test_a_damaged_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "centre.json").write_text("{")
    with pytest.raises(DamagedError, match=r"centre\.json"):
        DataFolder.open(tmp_path)


def test_a_second_server_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "data")
    assert folder.holder() is None
    code = f"import sys; from pathlib import Path; from soc.folder import DataFolder\n" \
           f"lock = DataFolder.open(Path({str(folder.path)!r})).lock(); print('held', flush=True); sys.stdin.read()"
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert folder.holder() == other.pid
        with pytest.raises(LockedError, match=str(other.pid)):
            folder.lock()
        other.kill()
        other.wait()
        with folder.lock():
            assert folder.holder() is not None
    assert folder.holder() is None
