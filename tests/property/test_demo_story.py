"""The story of the demonstration: the same seed is the same bytes, in order of time, and the truth about it is complete."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from soc.demo.line import AGENCIES, FORMATS, HOUR, SECOND, SOURCES
from soc.demo.plots import PLOTS
from soc.demo.story import SHORTEST, ordinary, story
from soc.event import FrameContext
from soc.normalise.records import Parsers

RULES = Path(__file__).resolve().parents[2] / "rules"
START = 1_795_400_000_000_000
spans = st.tuples(st.integers(0, 10**9), st.integers(START, START + 400 * 24 * HOUR), st.integers(SHORTEST, SHORTEST + 30 * HOUR))


@settings(max_examples=15, deadline=None)
@given(spans)
def test_the_same_seed_is_the_same_bytes_in_order_of_time(span: tuple[int, int, int]) -> None:
    seed, start, length = span
    told = story(seed, start, start + length)
    assert told == story(seed, start, start + length)
    times = [line.at for line in told.lines]
    assert times == sorted(times)
    assert start <= times[0] <= times[-1] < start + length
    assert {line.source for line in told.lines} == set(SOURCES)
    assert told.lines != story(seed + 1, start, start + length).lines


@settings(max_examples=15, deadline=None)
@given(spans)
def test_the_truth_is_complete(span: tuple[int, int, int]) -> None:
    seed, start, length = span
    told = story(seed, start, start + length)
    assert sorted(one.id for one in told.planted) == sorted(plot.id for plot in PLOTS)
    for one in told.planted:
        lines = [line for line in told.lines if line.attack == one.id]
        assert (one.begins, one.ends) == (lines[0].at, lines[-1].at)
        assert one.rules
        assert one.title_vi != one.title_en
        twins = [line for line in told.lines if line.twin == one.id]
        assert twins
        assert not {line.raw for line in twins} & {line.raw for line in lines}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**9), st.integers(START, START + 400 * 24 * HOUR), st.lists(st.integers(1, 6 * HOUR), min_size=1, max_size=4))
def test_what_is_asked_for_in_pieces_is_the_same(seed: int, start: int, pieces: list[int]) -> None:
    at, found = start, []
    for piece in pieces:
        found += ordinary(seed, at, at + piece)
        at += piece
    assert found == ordinary(seed, start, at)


def test_a_story_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="12 hours"):
        story(1, START, START + SHORTEST - 1)


def test_every_line_is_read_at_its_time_but_the_broken_ones() -> None:
    """By the real parsers; a line's own clock may be as coarse as a second."""
    parsers = Parsers()
    told = story(7, START, START + 72 * HOUR)
    for source in SOURCES:
        lines = [line for line in told.lines if line.source == source]
        context = FrameContext(source=source, stream="s", first=0, count=len(lines), read_at=START, ingested=START, format=FORMATS[source])
        parsed = parsers.parse_frame(context, [line.raw for line in lines])
        assert {dead.index for dead in parsed.dead} == {place for place, line in enumerate(lines) if line.broken}
        assert all(0 <= lines[event.index].at - int(event.event["@timestamp"]) < SECOND for event in parsed.events)  # type: ignore[call-overload]
    assert 0 < sum(line.broken for line in told.lines) < 30


def test_rules_that_are_said_to_be_ours_are_and_no_others() -> None:
    ours = {document["id"] for path in RULES.rglob("*.yml") for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))}
    for plot in PLOTS:
        assert [rule in ours for rule in plot.rules] == [not plot.public] * len(plot.rules), plot.id
    assert sum(plot.public for plot in PLOTS) >= 3
    assert set(SOURCES.values()) == set(AGENCIES)
    assert json.dumps([plot.verdict for plot in PLOTS])
