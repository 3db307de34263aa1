"""The demonstration as the state database knows it: an import of its own, so that it goes as imports go, whole."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from soc.demo.story import Planted, Story, story
from soc.event import UNASSIGNED, Scope
from soc.ingest.imports import UNDOING, UNDONE, Import, ImportStore

__all__ = ["ACTOR", "begin", "demonstrations", "ends_of", "playing", "seed_of", "story_of", "truth_of"]

ACTOR: Final = "demonstration"
"""Who does what the demonstration does: closes alerts, makes agencies."""
_MARK: Final = "demonstration"


@dataclass(frozen=True, slots=True)
class Span:
    """What the story is made of: see `soc.demo.story.story`."""

    seed: int
    start: int
    end: int


def demonstrations(store: ImportStore) -> Sequence[Import]:
    """Every demonstration there was, the newest first."""
    return [one for one in store.list(Scope.everything(), agency=UNASSIGNED, limit=100_000) if _MARK in one.options]


def playing(store: ImportStore) -> Import | None:
    """The demonstration that is in the centre and not being removed."""
    return next((one for one in demonstrations(store) if one.state not in (UNDOING, UNDONE)), None)


def begin(store: ImportStore, *, seed: int, start: int, end: int, pid: int, now: int) -> Import:
    """Keep that a demonstration of the story of `seed` from `start` to `end` (µs UTC) begins."""
    return store.begin(actor=ACTOR, agency=UNASSIGNED, options={_MARK: [seed, start, end], "inputs": ["soc serve --demo"], "pid": pid}, now=now)


def story_of(found: Import) -> Story:
    """Its past, line by line, the same whenever it is asked for."""
    span = _span(found)
    return story(span.seed, span.start, span.end)


def truth_of(found: Import) -> Sequence[Planted]:
    """What was planted in its past."""
    return story_of(found).planted


def seed_of(found: Import) -> int:
    """Its seed."""
    return _span(found).seed


def ends_of(found: Import) -> int:
    """When its past ends and its present begins, µs UTC."""
    return _span(found).end


def _span(found: Import) -> Span:
    return Span(*(int(each) for each in found.options[_MARK]))
