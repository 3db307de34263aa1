"""What an import finds in files, folders, archives and streams, and what it says about the rest."""
from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import time
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from collectors.archive import Left, Limits, LogFile, Walk
from collectors.names import unsafe_name

NOW = 1_800_000_000.0


def walk(
    *inputs: Path | str, spool: Path, stdin: BinaryIO | None = None, limits: Limits | None = None,
) -> tuple[dict[str, bytes], dict[str, Left]]:
    """(content by base name, what was left by base name)."""
    taken: dict[str, bytes] = {}
    left: dict[str, Left] = {}
    passed = 0
    for each in Walk([str(i) for i in inputs], spool, NOW, stdin=stdin, limits=limits or Limits(disk=1.0)):
        if isinstance(each, LogFile):
            assert each.upto >= passed
            passed = each.upto
            each.file.seek(0)
            taken[each.name.rpartition("/")[2]] = each.file.read()
        else:
            left[each.name.rpartition("/")[2]] = each
    assert list(spool.iterdir()) == [] if spool.exists() else True
    return taken, left


def make_zip(path: Path, members: dict[str, bytes], **more: int) -> Path:
    with zipfile.ZipFile(path, "w", **more) as archive:  # type: ignore[arg-type]
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1_500_000_000
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.mark.parametrize(("suffix", "pack"), [
    ("gz", gzip.compress), ("zst", zstandard.ZstdCompressor().compress), ("bz2", bz2.compress), ("xz", lzma.compress),
])
def test_compressed_file_is_its_content(tmp_path: Path, spool: Path, suffix: str, pack: object) -> None:
    content = b"".join(b"line %d\n" % n for n in range(20_000))
    path = tmp_path / f"x.log.{suffix}"
    path.write_bytes(pack(content))  # type: ignore[operator]
    taken, left = walk(path, spool=spool)
    assert taken == {"x.log": content}
    assert left == {}
    path.write_bytes(pack(content) + pack(b"more\n"))  # type: ignore[operator]
    assert walk(path, spool=spool)[0] == {"x.log": content + b"more\n"}


@pytest.mark.parametrize(("suffix", "pack"), [
    ("gz", gzip.compress), ("zst", zstandard.ZstdCompressor().compress), ("bz2", bz2.compress), ("xz", lzma.compress),
])
def test_compressed_file_that_breaks_off_gives_its_good_part_and_the_fault(
    tmp_path: Path, spool: Path, suffix: str, pack: object,
) -> None:
    content = os.urandom(600_000).hex().encode()
    path = tmp_path / f"x.log.{suffix}"
    packed = pack(content)  # type: ignore[operator]
    path.write_bytes(packed[: len(packed) * 4 // 5])
    taken, left = walk(path, spool=spool)
    assert content.startswith(taken.get("x.log", b""))
    fault = left[f"x.log.{suffix}"]
    assert fault.refused
    assert "what came before was taken" in fault.reason
    assert suffix == "bz2" or len(taken["x.log"]) > 100_000


def test_thousand_gzip_members_are_one_content(tmp_path: Path, spool: Path) -> None:
    path = tmp_path / "x.log.gz"
    path.write_bytes(gzip.compress(b"one line\n") * 1000)
    assert walk(path, spool=spool)[0] == {"x.log": b"one line\n" * 1000}


def test_only_log_files_are_taken_from_archives_and_folders(tmp_path: Path, spool: Path) -> None:
    members = {
        "a/x.evtx": b"ElfFile\0...", "a/x.json": b"{}", "a/other.json": b"{}", "b/y.log": b"y\n", "b/y.raw": b"r\n",
        "b/z.jsonl": b"{}\n", "b/z.ndjson": b"{}\n", "b/old.log.1": b"old\n", "b/older.log.2.gz": gzip.compress(b"older\n"),
        "info.yml": b"a: 1\n", "LICENSE": b"text", "sheet.csv": b"a,b\n", "UPPER.LOG": b"U\n",
    }
    expected = {"x.evtx", "other.json", "y.log", "y.raw", "z.jsonl", "z.ndjson", "old.log.1", "older.log.2", "UPPER.LOG"}
    for path in (make_zip(tmp_path / "in.zip", members), make_tar(tmp_path / "in.tar", members),
                 make_tar(tmp_path / "in.tar.gz", dict(reversed(members.items())), "w:gz")):
        taken, left = walk(path, spool=spool)
        assert set(taken) == expected
        assert taken["older.log.2"] == b"older\n"
        assert "a copy" in left["x.json"].reason
        assert set(left) == {"x.json", "info.yml", "LICENSE", "sheet.csv"}
        assert not any(each.refused for each in left.values())
    folder = tmp_path / "folder"
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    taken, left = walk(folder, spool=spool)
    assert set(taken) == expected
    assert set(left) == {"x.json", "info.yml", "LICENSE", "sheet.csv"}


def test_zst_tar_is_walked(tmp_path: Path, spool: Path) -> None:
    plain = make_tar(tmp_path / "x.tar", {"a.log": b"a\n" * 10_000})
    packed = tmp_path / "x.tar.zst"
    packed.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
    assert walk(packed, spool=spool)[0] == {"a.log": b"a\n" * 10_000}


HOSTILE = ["../../x.log", "/etc/x.log", "C:\\x.log", "..\\x.log", "a/../../x.log", "n" * 300 + ".log", "\\\\host\\share\\x.log"]


@pytest.mark.parametrize("name", [*HOSTILE, "a\0b.log", ""])
def test_hostile_names_are_known(name: str) -> None:
    assert unsafe_name(name)


@pytest.mark.parametrize("name", ["a.log", "a/b/c.log", "nhật ký/e\u0301.log", "CON.log", "a..b.log", "x" * 250 + ".log"])
def test_odd_but_harmless_names_are_not_refused(name: str) -> None:
    assert not unsafe_name(name)


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_hostile_names_are_skipped_and_listed_and_nothing_is_written_outside(tmp_path: Path, spool: Path, make: object) -> None:
    members = dict.fromkeys(HOSTILE, b"x\n") | {"good.log": b"good\n"}
    path = make(tmp_path / "evil.archive", members)  # type: ignore[operator]
    before = sorted(tmp_path.rglob("*"))
    taken: list[str] = []
    left: list[Left] = []
    for each in Walk([str(path)], spool, NOW, limits=Limits(disk=1.0)):
        if isinstance(each, LogFile):
            taken.append(each.name)
        else:
            left.append(each)
    assert [name.rpartition("/")[2] for name in taken] == ["good.log"]
    assert len(left) == len(HOSTILE)
    assert all("name" in each.reason and not each.refused for each in left)
    assert sorted(tmp_path.rglob("*")) == [*before[:1], *before[1:], spool]


def test_member_whose_name_holds_a_nul_is_skipped(tmp_path: Path, spool: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"aXb.log": b"x\n"})
    path.write_bytes(path.read_bytes().replace(b"aXb.log", b"a\0b.log"))
    taken, left = walk(path, spool=spool)
    assert taken == {}
    assert [each.reason for each in left.values()] == ["its name is empty or holds a NUL"]


def test_links_and_devices_in_a_tar_are_skipped_and_listed(tmp_path: Path, spool: Path) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("s.log", tarfile.SYMTYPE), ("h.log", tarfile.LNKTYPE), ("d.log", tarfile.CHRTYPE),
                           ("f.log", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    taken, left = walk(path, spool=spool)
    assert taken == {}
    assert set(left) == {"s.log", "h.log", "d.log", "f.log"}


def test_links_in_a_folder_are_not_followed(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.log").write_bytes(b"secret\n")
    (tmp_path / "in" / "link.log").symlink_to(tmp_path / "secret.log")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    taken, left = walk(tmp_path / "in", spool=spool)
    assert taken == {}
    assert set(left) == {"link.log", "loop"}
    assert walk(tmp_path / "in" / "link.log", spool=spool)[0] == {"link.log": b"secret\n"}


def test_archives_are_opened_one_level_deep(tmp_path: Path, spool: Path) -> None:
    deepest = make_tar(tmp_path / "t.tar", {"deeper.log": b"d\n"}).read_bytes()
    inner = make_zip(tmp_path / "inner.zip", {"deep.log": b"deep\n", "x.tar": deepest})
    outer = make_zip(tmp_path / "outer.zip", {"inner.zip": inner.read_bytes(), "top.log": b"top\n"})
    taken, left = walk(outer, spool=spool)
    assert taken == {"deep.log": b"deep\n", "top.log": b"top\n"}
    assert "too deep" in left["x.tar"].reason


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_too_many_entries_refuse_the_archive(tmp_path: Path, spool: Path, make: object) -> None:
    path = make(tmp_path / "many.archive", {f"{n}.log": b"x\n" for n in range(50)})  # type: ignore[operator]
    taken, left = walk(path, spool=spool, limits=Limits(entries=40, disk=1.0))
    assert taken == {}
    assert "more than 40 entries" in left["many.archive"].reason
    assert left["many.archive"].refused


def test_member_over_the_cap_is_refused_and_the_rest_goes_on(tmp_path: Path, spool: Path) -> None:
    members = {"big.log": bytes(5_000_000), "small.log": b"small\n"}
    packed = make_zip(tmp_path / "x.zip", members, compression=zipfile.ZIP_DEFLATED)
    for path in (packed, make_tar(tmp_path / "x.tgz", members, "w:gz")):
        taken, left = walk(path, spool=spool, limits=Limits(member=1_000_000, disk=1.0))
        assert taken == {"small.log": b"small\n"}
        assert "more than 1,000,000 bytes" in left["big.log"].reason


def test_bombs_are_taken_for_what_they_are_within_bounds(tmp_path: Path, spool: Path) -> None:
    path = tmp_path / "bomb.log.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(bytes(64 << 20)))
    began = time.monotonic()
    taken, left = walk(path, spool=spool, limits=Limits(ratio_from=8 << 20, disk=1.0))
    assert taken == {}
    assert "bomb" in left["bomb.log.zst"].reason
    assert time.monotonic() - began < 5


def test_full_disk_refuses_to_unpack(tmp_path: Path, spool: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a.log": b"a\n"})
    taken, left = walk(path, spool=spool, limits=Limits(disk=0.0))
    assert taken == {}
    assert "disk" in left["a.log"].reason


def test_zip_that_breaks_off_gives_what_is_whole_and_the_fault(tmp_path: Path, spool: Path) -> None:
    big = os.urandom(200_000).hex().encode()
    members = {"a.log": b"a\n", "info.yml": b"", "b.log": b"b\n" * 1000, "c.log": big}
    path = make_zip(tmp_path / "x.zip", members, compression=zipfile.ZIP_DEFLATED)
    path.write_bytes(path.read_bytes()[:-100_000])
    taken, left = walk(path, spool=spool)
    assert taken["a.log"] == b"a\n"
    assert taken["b.log"] == b"b\n" * 1000
    assert big.startswith(taken["c.log"])
    assert left["c.log"].refused
    assert left["x.zip"].refused


def test_member_with_wrong_checksum_is_named(tmp_path: Path, spool: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a.log": b"aaaa\n" * 100, "b.log": b"b\n"})
    content = bytearray(path.read_bytes())
    content[content.index(b"aaaa") + 2] = ord("Z")
    path.write_bytes(bytes(content))
    taken, left = walk(path, spool=spool)
    assert taken["b.log"] == b"b\n"
    assert left["a.log"].refused


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_tar_that_breaks_off_gives_what_is_whole_and_the_fault(tmp_path: Path, spool: Path, mode: str) -> None:
    big = os.urandom(300_000).hex().encode()
    path = make_tar(tmp_path / "x.tar.packed", {"a.log": b"a\n" * 500_000, "c.log": big}, mode)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 250_000])
    taken, left = walk(path, spool=spool)
    assert any(each.refused for each in left.values())
    assert mode == "w:bz2" or taken["a.log"] == b"a\n" * 500_000
    assert big.startswith(taken.get("c.log", b""))


def test_absurd_extended_header_is_refused_without_reading_it(tmp_path: Path, spool: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 10 << 30
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    taken, left = walk(path, spool=spool)
    assert taken == {}
    assert "extended header" in left["x.tar"].reason


def test_encrypted_member_is_refused(tmp_path: Path, spool: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a.log": b"a\n"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))
    assert "encrypted" in walk(path, spool=spool)[1]["a.log"].reason


def test_standard_input_is_what_it_holds(tmp_path: Path, spool: Path) -> None:
    assert walk("-", spool=spool, stdin=io.BytesIO(b"one\ntwo\n"))[0] == {"stdin": b"one\ntwo\n"}
    assert walk("-", spool=spool, stdin=io.BytesIO(gzip.compress(b"one\n")))[0] == {"stdin": b"one\n"}
    packed = make_zip(tmp_path / "x.zip", {"a.log": b"a\n"}).read_bytes()
    assert walk("-", spool=spool, stdin=io.BytesIO(packed))[0] == {"a.log": b"a\n"}


def test_files_named_directly_are_taken_whatever_their_name_but_not_binary_ones(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "messages").write_bytes(b"one\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (tmp_path / "sheet.csv").write_bytes(b"a,b\n")
    (tmp_path / "empty.log").write_bytes(b"")
    taken, left = walk(*(tmp_path / n for n in ("messages", "picture.png", "sheet.csv", "empty.log", "none.log")), spool=spool)
    assert taken == {"messages": b"one\n", "empty.log": b""}
    assert {name: each.refused for name, each in left.items()} == {"picture.png": True, "sheet.csv": True, "none.log": True}


def test_file_time_is_told_if_it_is_plausible(tmp_path: Path, spool: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"x\n")

    def time_at(seconds: float) -> int:
        os.utime(path, (seconds, seconds))
        (found,) = [each for each in Walk([str(path)], spool, NOW) if isinstance(each, LogFile)]
        return found.file_time

    assert time_at(1_500_000_000) == 1_500_000_000_000_000
    assert time_at(0) == 0
    assert time_at(NOW + 10 * 86_400) == 0
    path = make_zip(tmp_path / "x.zip", {})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.log"), b"a\n")  # dated 1980-01-01
    (found,) = [each for each in Walk([str(path)], spool, NOW) if isinstance(each, LogFile)]
    assert found.file_time == 0


@pytest.mark.parametrize(("archive", "taken", "copies"), [
    ("sigma-regression.zip", 203, 202), ("evtx-attack-samples.zip", 128, 0), ("linux-logs.zip", 3, 0),
    ("windows-events.jsonl.zst", 1, 0),
])
def test_real_archives_hold_what_they_hold(test_data: Path, spool: Path, archive: str, taken: int, copies: int) -> None:
    found = list(Walk([str(test_data / archive)], spool, NOW, limits=Limits(disk=1.0)))
    assert sum(isinstance(each, LogFile) for each in found) == taken
    left = [each for each in found if isinstance(each, Left)]
    assert sum("a copy" in each.reason for each in left) == copies
    assert not any(each.refused for each in left)
