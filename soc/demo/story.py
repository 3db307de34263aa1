"""The story of the demonstration between two moments: raw lines by time, and the truth about what was planted among them.

Pure and seeded: the same seed, start and end give the same bytes on every machine.
"""
from __future__ import annotations

import random
from dataclasses import dataclass

from soc.demo.line import HOUR, Line
from soc.demo.ordinary import ordinary_hour
from soc.demo.plots import PLOTS

__all__ = ["SHORTEST", "Planted", "Story", "ordinary", "story"]

SHORTEST = len(PLOTS) * HOUR
"""Microseconds that a story lasts at least: attacks do not meet."""


@dataclass(frozen=True, slots=True)
class Planted:
    """An attack that is in the story: by which rules it is to be found, and its first and last line (µs UTC)."""

    id: str
    title_vi: str
    title_en: str
    rules: tuple[str, ...]
    public: bool
    begins: int
    ends: int


@dataclass(frozen=True, slots=True)
class Story:
    """All lines, by time, and the ground truth."""

    lines: tuple[Line, ...]
    planted: tuple[Planted, ...]


def story(seed: int, start: int, end: int) -> Story:
    """What happens from `start` to `end` (µs UTC). Raises ValueError if that is shorter than SHORTEST."""
    if end - start < SHORTEST:
        raise ValueError(f"the story needs {SHORTEST // HOUR} hours for its {len(PLOTS)} attacks")
    chance = random.Random(f"{seed}/story")
    share = (end - start) // len(PLOTS)
    lines = ordinary(seed, start, end)
    planted = []
    for place, plot in enumerate(sorted(PLOTS, key=lambda plot: random.Random(f"{seed}/{plot.id}").random())):
        at = start + place * share + chance.randrange(share // 4, share // 2)
        attack = plot.lines(seed, at)
        lines += attack + plot.benign(seed, start + place * share + share * 3 // 4)
        planted.append(Planted(plot.id, plot.title_vi, plot.title_en, plot.rules, plot.public, attack[0].at, attack[-1].at))
    lines.sort(key=lambda line: (line.at, line.source, line.raw))
    return Story(tuple(lines), tuple(planted))


def ordinary(seed: int, start: int, end: int) -> list[Line]:
    """Only what happens every day, from `start` to `end` (exclusive), by time."""
    return [line for hour in range(start // HOUR, -(-end // HOUR)) for line in ordinary_hour(seed, hour * HOUR) if start <= line.at < end]
