"""Raw records on their way into the matcher: lines stay in the text they were read with, none is copied before it is asked for."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["Record", "Text"]

Record = bytes | memoryview
_LF: Final = b"\n"
_FIRST, _LAST = b"{}"


@dataclass(frozen=True, slots=True)
class Text:
    """Lines as they were read together: the text, where each line's LF stands, and the lines that are not blank."""

    text: bytes
    ends: list[int]
    lines: list[memoryview]

    @classmethod
    def of(cls, text: bytes) -> Text:
        """A text that ends with LF."""
        view, find, ends, lines = memoryview(text), text.find, list[int](), list[memoryview]()
        at, end = 0, find(_LF)
        while end >= 0:
            ends.append(end)
            if end > at:
                lines.append(view[at:end])
            at = end + 1
            end = find(_LF, at)
        return cls(text, ends, lines)

    @property
    def is_tidy(self) -> bool:
        """Whether each line begins and ends as a JSON object does: then no document reaches over the end of a line.

        Behind a closing brace a document that goes on has a comma or another bracket, never an opening brace.
        """
        if len(self.lines) != len(self.ends) or not self.ends:
            return False
        signs, ends = np.frombuffer(self.text, np.uint8), np.array(self.ends)
        return bool(signs[0] == _FIRST and (signs[ends - 1] == _LAST).all() and (signs[ends[:-1] + 1] == _FIRST).all())
