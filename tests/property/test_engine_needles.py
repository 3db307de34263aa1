"""A regular expression never matches a text that lacks all of its needles."""
from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.detect.engine.needles import needle_sets, needles
from soc.detect.engine.values import fold

ITEMS = st.sampled_from(["ab", "c", "xyz", r"\.", r"\d", r"\\", "[a-c]", "[^]x]", ".", r"\x41", "é"])


def patterns() -> st.SearchStrategy[str]:
    repeated = st.tuples(ITEMS, st.sampled_from(["", "", "", "?", "*", "+", "{2}", "{0,2}", "{1,}", "+?"])).map("".join)
    return st.recursive(repeated, lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join).map(lambda text: f"({text})"),
        st.tuples(inner, st.sampled_from(["", "?", "+", "*", "{2}"])).map(lambda pair: f"(?:{pair[0]}){pair[1]}")), max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["", "(?i)", "(?s)"]))
def test_every_match_holds_a_needle(data, flags):
    pattern = flags + data.draw(patterns())
    found = needle_sets(pattern)
    text = data.draw(st.from_regex(re.compile(pattern)))
    assert all(any(fold(needle) in fold(text) for needle in one) for one in found), (pattern, text, found)
    assert needles(pattern) in found or not found


def test_all_that_a_pattern_needs():
    assert needle_sets(r"(set).*&&\s?(?:user|group)x") == [{"set"}, {"&&"}, {"user", "group"}]


@pytest.mark.parametrize("pattern, found", [
    ("net +user", {"net "}), ("(?i)powershell|pwsh", {"powershell", "pwsh"}), (r"cmd\.exe.*(/c|/k) ", {"cmd.exe"}), ("abc?d", {"ab"}),
    ("a(bcd|efg)+h", {"bcd", "efg"}), ("(bcd|e)?fgh", {"fgh"}), ("(?x)a b", set()), (".*", set()), ("ab|c", set()), ("[ab]cde", {"cde"}),
    (r"\Qa.b\E", set()), ("abc*", {"ab"}), ("(abc", set()), ("a{3}bcd", {"bcd"}), ("x{0}abc", {"abc"}), (r"\pLabc", {"abc"}), ("^abc$", {"abc"}),
])
def test_needles(pattern, found):
    assert needles(pattern) == found
