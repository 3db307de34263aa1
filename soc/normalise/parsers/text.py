"""Text that no other parser knows: kept whole and searchable. Never fails."""
from __future__ import annotations

from typing import Final

from soc.event import Event, FrameContext

FAMILY: Final = "generic"
PRIORITY: Final = 1000


def accepts(raw: bytes) -> bool:
    """Everything."""
    return True


def parse(raw: bytes, context: FrameContext) -> Event:
    """The text as `message`; bytes that are no UTF-8 as visible escapes."""
    return {"message": raw.decode("utf-8", "backslashreplace")}
