"""Replaying dead letters: each goes through the journal again as an internal frame that names the original.

The event it may become has the id it would have had; the normaliser takes each letter once, however often it is asked.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from soc.errors import NotFoundError
from soc.event import FrameContext, Scope
from soc.ingest.frame import decode_context
from soc.store.deadletters import DeadLetters

__all__ = ["REPLAYABLE", "Replayer", "replay"]

REPLAYABLE = ("dead", "replaying")
"""States a letter may be replayed in; one whose replay was interrupted is replaying still."""


class Replayer(Protocol):
    """Has a record read again (`soc.ingest.deliver.GatewayClient`)."""

    def replay(self, context: FrameContext, number: int, record: bytes) -> None:
        """Deliver it; returns once that is on disk."""


def replay(letters: DeadLetters, numbers: Sequence[int], replayer: Replayer) -> int:
    """Mark these dead letters and deliver them anew; returns how many.

    Marked before it is delivered, and taken by the normaliser only while it is marked: an interruption doubles nothing.
    Raises NotFoundError for a number that is none or is dead no more (before anything is delivered), StoreError.
    """
    everything = Scope.everything()
    found = [letters.get(number, everything) for number in numbers]
    for letter in found:
        if letter.state not in REPLAYABLE:
            raise NotFoundError(f"dead letter {letter.id} is {letter.state}", remedy="`soc deadletters list` shows what is dead")
    for letter in found:
        letters.move([letter.id], "replaying", only=REPLAYABLE)
        context = replace(decode_context(letters.context(letter.id)), first=letter.n, count=1)
        replayer.replay(context, letter.id, letters.raw(letter.id, everything))
    return len(found)
