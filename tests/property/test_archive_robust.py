"""Whatever an archive holds and however it is damaged, the walk ends, says so, and writes nothing anywhere."""
from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
import zipfile
from pathlib import Path

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.archive import Kind, Left, Limits, Walk
from collectors.evtx import read_evtx
from collectors.lines import Tally, read_json, read_lines
from soc.errors import InputRefused

READERS = {Kind.EVTX: read_evtx, Kind.LINES: read_lines, Kind.JSON: read_json}
_STEMS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
NAMES = _STEMS.filter(lambda stem: stem[0] != "\0").map(lambda stem: stem + ".log")


def archives() -> list[bytes]:
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.log", b"first\nsecond\n" * 30)
        archive.writestr("b.json", b'[{"a": 1},\n{"b": [1, 2]}]')
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as made:
        info = tarfile.TarInfo("a.log")
        info.size = 600
        made.addfile(info, io.BytesIO(b"line\n" * 120))
    return [plain.getvalue(), tar.getvalue(), gzip.compress(tar.getvalue()), gzip.compress(b"line\n" * 50),
            zstandard.ZstdCompressor().compress(b"line\n" * 50)]


SAMPLES = archives()


def exhaust(content: bytes) -> tuple[int, int]:
    """(records, things left) of a file of this content, read to the end."""
    records = left = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.bin"
        path.write_bytes(content)
        for found in Walk([str(path)], Path(folder) / "spool", 1.8e9, limits=Limits(disk=1.0, member=1 << 24)):
            if isinstance(found, Left):
                left += 1
                assert found.reason
                continue
            try:
                records += sum(1 for _ in READERS[found.kind](found.file, Tally()))
            except InputRefused:
                left += 1
        assert sorted(each.name for each in Path(folder).rglob("*") if each.is_file()) == ["input.bin"]
    return records, left


@settings(max_examples=150, deadline=None)
@given(sample=st.sampled_from(SAMPLES), damage=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=6),
       end=st.none() | st.integers(0, 20_000))
def test_damaged_archives_end_in_records_or_reasons(sample: bytes, damage: list[tuple[int, int]], end: int | None) -> None:
    content = bytearray(sample)
    for place, value in damage:
        content[place % len(content)] = value
    exhaust(bytes(content[:None if end is None else end % (len(content) + 1)]))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=5))
def test_no_name_ever_becomes_a_path(members: dict[str, bytes]) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    exhaust(made.getvalue())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=80).map(lambda line: line.replace(b"\n", b"").removesuffix(b"\r")), max_size=20),
       st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.integers(40, 100))
def test_lines_are_the_lines_that_were_written(lines: list[bytes], end: bytes, closed: bool, cap: int) -> None:
    if lines and lines[0].startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\0\0\xfe\xff")):
        return
    content = end.join(lines) + (end if closed else b"")
    tally = Tally()
    found = list(read_lines(io.BytesIO(content), tally, cap))
    kept = [line for line in lines if line]
    assert len(found) == len(kept)
    assert all(len(record) <= cap for record in found)
    pairs = [(record, line) for record, line in zip(found, kept, strict=True) if len(line) <= cap]
    assert all(record == line for record, line in pairs)
    assert tally.cut == sum(len(line) > cap for line in kept)


def test_a_member_whose_name_is_empty_is_left_with_a_reason() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.log", b"one line\n")
        archive.writestr("b.log", b"another\n")
    records, left = exhaust(made.getvalue().replace(b"a.log", b"\0.log"))
    assert (records, left) == (1, 1)
