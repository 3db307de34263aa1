"""Replaying dead letters: each goes through the journal again as an internal frame that names the original.

The event it may become has the id it would have had; the normaliser takes each letter once, however often it is asked.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from soc.event import Lane, Scope
from soc.ingest.batch import Batch, Compression, Encoding, Intake
from soc.ingest.frame import decode_context
from soc.store.deadletters import DeadLetters

__all__ = ["replay"]


async def replay(letters: DeadLetters, intake: Intake, numbers: Iterable[int]) -> int:
    """Put dead letters into the journal again; returns how many. Those in another state than dead are left alone.

    A letter whose replay was interrupted (state "replaying") is sent again. Raises NotFoundError, StoreError.
    """
    sent = 0
    for number in numbers:
        letter = letters.get(number, Scope.everything())
        if letter.state not in ("dead", "replaying"):
            continue
        raw = letters.raw(number, Scope.everything())
        context = replace(decode_context(letters.context(number)), first=letter.n, count=1, replay=number)
        letters.move([number], "replaying")
        await intake.accept(Batch(context, Encoding.SIZED, Compression.NONE, len(raw).to_bytes(4, "little") + raw), Lane(letter.lane))
        sent += 1
    return sent
