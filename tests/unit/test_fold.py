"""Folding makes the spellings of one text agree, and the token index never denies a word that is there."""
from __future__ import annotations

import unicodedata
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.errors import DamagedError
from soc.event import Event
from soc.store import tokens
from soc.store.columns import batch_of
from soc.store.fold import add_folded, fold, folded_or_none, lower, words
from soc.store.reference import text_of

VIETNAMESE = ["Đăng nhập thất bại", "hoá đơn", "hóa đơn", "THUỶ", "thủy", "Nguyễn Văn An", "tìm-kiếm", "ưu tiên", "ỷ"]


@pytest.mark.parametrize("text", VIETNAMESE)
def test_every_spelling_of_a_vietnamese_text_folds_to_one(text: str) -> None:
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)).replace("Đ", "D").replace("đ", "d")
    spellings = [text, unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text), text.upper(), text.lower(),
                 quote(text), quote(unicodedata.normalize("NFD", text)), quote(text).lower(), plain]
    assert {fold(s) for s in spellings} == {plain.lower()}


def test_tone_placement_does_not_matter() -> None:
    assert fold("hoà") == fold("hòa") == fold("hoa")
    assert fold("thuỷ") == fold("thủy")


@pytest.mark.parametrize("text", ["%%1833", "100%", "%zz", "%TEMP%", "%00", "%0a", "%ff", "50%25off"[:3], "%c3", "%"])
def test_what_is_no_printable_escape_stays(text: str) -> None:
    assert fold(text) == text.lower()


def test_escapes_are_decoded_once() -> None:
    assert fold("a%2520b") == "a%20b"
    assert fold("%27%20UNION") == "' union"


def test_twin_only_where_it_says_more() -> None:
    assert folded_or_none("Plain ASCII") is None
    assert folded_or_none("100%") is None
    assert folded_or_none("日本") is None
    assert folded_or_none("đ") == "d"
    event: Event = {"message": "Đ", "user.name": "an", "url.query": "a%20b", "other": "đ", "file.path": ["đ"]}
    add_folded(event)
    assert {k for k in event if k.endswith(".folded")} == {"message.folded", "url.query.folded"}


@given(st.text())
def test_folded_text_is_lower_case_and_composed(text: str) -> None:
    folded = fold(text)
    assert lower(folded) == folded
    assert unicodedata.normalize("NFC", folded) == folded or not folded.isascii()


@given(st.text(), st.text())
def test_lower_case_goes_character_by_character(a: str, b: str) -> None:
    assert lower(a + b) == lower(a) + lower(b)


TEXT = st.text(st.characters(codec="utf-8", max_codepoint=0x1FFFF), max_size=60) | st.lists(
    st.sampled_from(["Failed", "đăng", "nhập", '","', "\\", "\n", " ", "\\r\\n", "a_b", "x" * 70, "%C4%91", "“quoted”", "10.0.0.1", "\u00a0"]), max_size=12).map("".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional={"message": TEXT | st.lists(TEXT, min_size=1, max_size=2), "event.original": TEXT, "a": TEXT, "b": TEXT}),
                min_size=1, max_size=6), st.booleans())
def test_index_knows_every_word(events: list[Event], spilled: bool) -> None:
    for event in events:
        add_folded(event)
    batch = batch_of(events, 2 if spilled else 400)
    index = tokens.build(pa.Table.from_batches([batch]))
    for event in events:
        for name in ("message", "event.original"):
            value = event.get(name + ".folded") or event.get(name) or []
            for text in value if isinstance(value, list) else [value]:
                assert tokens.may_contain(index, words(lower(text_of(text))))


def test_index_denies_nearly_every_other_word() -> None:
    table = pa.table({"message": [f"user{n} logged on from host{n}" for n in range(5000)]})
    index = tokens.build(table)
    assert sum(tokens.may_contain(index, [f"other{n}"]) for n in range(2000)) < 60
    assert len(index) / 5000 < 10


def test_index_in_blocks_knows_where_a_word_is_and_the_fields_beyond_the_columns() -> None:
    events: list[Event] = [{"message": f"word{n} here", "same": "x", f"strange{n % 40}": "x"} for n in range(1200)]
    found = tokens.groups_in(b"".join(len(b).to_bytes(4, "little") + b for b in tokens.blocks(pa.Table.from_batches([batch_of(events, 2)]))))
    assert [group.rows for group in found] == [512, 512, 176]
    assert [group.may_contain(tokens.hashes(["word700"])) for group in found] == [False, True, False]
    assert [group.names for group in found] == [frozenset(f"strange{n}" for n in range(40))] * 3


def test_index_of_nothing_holds_nothing(tmp_path: Path) -> None:
    index = tokens.build(pa.table({"x": pa.array([], pa.string())}))
    assert not tokens.may_contain(index, ["word"])
    assert tokens.may_contain(index, ["ab"]), "words too short for the index rule nothing out"
    path = tmp_path / "x.tok"
    path.write_bytes(len(index).to_bytes(4, "little") + index)
    assert not tokens.may_contain(path, ["word"])


@pytest.mark.parametrize("data", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x04\0\0\0tok1", b"\x20\0\0\0" + b"x" * 32])
def test_damaged_index_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedError):
        tokens.groups_in(data)
