"""A rule pack that tries anything is refused as a whole (F46)."""
from __future__ import annotations

import io
import struct
import zipfile

import pytest

from soc.detect.packs import read_pack
from soc.errors import InputRefused


def packed(path, *entries, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def test_a_zip_gives_its_rule_files_and_lists_the_rest(tmp_path):
    pack = read_pack(packed(tmp_path / "mine.zip", ("a/b.yml", "x: 1"), ("LICENSE", "free"), ("c.YAML", "y: 1")))
    assert pack.name == "mine"
    assert [file.path for file in pack.files] == ["a/b.yml", "c.YAML"]
    assert pack.skipped == [("LICENSE", "not a rule file by its name")]


def test_a_folder_gives_the_same(tmp_path):
    (tmp_path / "mine" / "a").mkdir(parents=True)
    (tmp_path / "mine" / "a" / "b.yml").write_text("x: 1")
    (tmp_path / "mine" / "note.txt").write_text("x")
    (tmp_path / "mine" / ".git").mkdir()
    (tmp_path / "mine" / ".git" / "c.yml").write_text("x: 1")
    (tmp_path / "mine" / "link.yml").symlink_to("/etc/passwd")
    pack = read_pack(tmp_path / "mine")
    assert [file.path for file in pack.files] == ["a/b.yml"]
    assert dict(pack.skipped) == {"note.txt": "not a rule file by its name", "link.yml": "a link or special file: not followed"}


def test_a_single_file_belongs_to_the_local_pack(tmp_path):
    (tmp_path / "one.yml").write_text("x: 1")
    pack = read_pack(tmp_path / "one.yml")
    assert (pack.name, pack.whole) == ("local", False)


@pytest.mark.parametrize("name", ["../x.yml", "/etc/x.yml", "C:/x.yml", "a/../../x.yml", "a\\..\\x.yml", "a\x01b.yml"])
def test_names_that_leave_the_archive_refuse_it(tmp_path, name):
    with pytest.raises(InputRefused, match="refused as a whole"):
        read_pack(packed(tmp_path / "p.zip", ("good.yml", "x: 1"), (name, "x: 1")))


@pytest.mark.parametrize("names", [("a.yml", "A.yml"), ("é.yml", "e\u0301.yml"), ("x/a.yml", "X/a.yml"), ("straße.yml", "STRASSE.yml")])
def test_names_that_clash_refuse_it(tmp_path, names):
    with pytest.raises(InputRefused, match="one name"):
        read_pack(packed(tmp_path / "p.zip", *((name, "x: 1") for name in names)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_given_twice_refuse_it(tmp_path):
    with pytest.raises(InputRefused, match="one name"):
        read_pack(packed(tmp_path / "p.zip", ("a.yml", "x: 1"), ("a.yml", "x: 2")))


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010666])
def test_links_and_devices_refuse_it(tmp_path, mode):
    entry = zipfile.ZipInfo("a.yml")
    entry.external_attr = mode << 16
    with pytest.raises(InputRefused, match="link or a device"):
        read_pack(packed(tmp_path / "p.zip", (entry, "/etc/passwd")))


def test_a_bomb_refuses_it(tmp_path):
    with pytest.raises(InputRefused, match="absurd size"):
        read_pack(packed(tmp_path / "p.zip", ("a.yml", b"\0" * (80 << 20))))


def test_too_many_entries_refuse_it_before_they_are_read(tmp_path):
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60_000, 60_000, 46, 0, 0)
    (tmp_path / "p.zip").write_bytes(b"PK\x03\x04" + b"\0" * 60 + end)
    with pytest.raises(InputRefused, match="more than 50000 entries"):
        read_pack(tmp_path / "p.zip")


def test_zip64_claims_refuse_it(tmp_path):
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (tmp_path / "p.zip").write_bytes(b"PK\x03\x04" + b"\0" * 60 + end)
    with pytest.raises(InputRefused, match="more than"):
        read_pack(tmp_path / "p.zip")


def test_every_way_of_breaking_an_archive_is_refused_or_read(tmp_path):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.yml", "title: x\n" * 50)
        archive.writestr("b.yml", "title: y\n" * 50)
    data = whole.getvalue()
    place = tmp_path / "p.zip"
    for at in range(0, len(data), 3):
        for broken in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            place.write_bytes(broken)
            try:
                assert len(read_pack(place).files) <= 2
            except InputRefused:
                pass


def test_an_encrypted_entry_refuses_it(tmp_path):
    place = packed(tmp_path / "p.zip", ("a.yml", "x: 1"), compression=zipfile.ZIP_STORED)
    data = bytearray(place.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    place.write_bytes(bytes(data))
    with pytest.raises(InputRefused, match="encrypted"):
        read_pack(place)


@pytest.mark.parametrize("name", ["rules.tar", "rules.txt", "x"])
def test_other_files_are_no_packs(tmp_path, name):
    (tmp_path / name).write_text("x: 1")
    with pytest.raises(InputRefused, match="not a rule pack"):
        read_pack(tmp_path / name)


def test_an_overlong_rule_file_is_read_no_further_than_needed(tmp_path):
    (tmp_path / "a.yml").write_bytes(b"x" * (5 << 20))
    assert len(read_pack(tmp_path / "a.yml").files[0].data) == (1 << 20) + 1
