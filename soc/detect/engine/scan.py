"""Many texts looked for in one large buffer at once, case ignored: what decides which events are looked at closely.

Hyperscan does it at 1 to 2 GB/s for a few hundred texts; where its package is missing nothing is sieved beforehand and
the matcher looks at everything.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

try:
    import hyperscan
except ImportError:  # no wheel for this machine
    hyperscan = None  # type: ignore[assignment]

__all__ = ["FOLDING_TO_ASCII", "Scanner", "available", "heart", "unclear"]

FOLDING_TO_ASCII: Final = "ßİŉſǰẖẗẘẙẚẞ\u212aﬀﬁﬂﬃﬄﬅﬆ"
"""Every character beyond ASCII whose case folding holds an ASCII letter: where one stands, an ASCII text may be meant."""
_ESCAPE: Final = rb"[^\\](\\\\)*\\[u/]"
"""How JSON may write what needs no escape: where that stands, the text is not what its bytes say."""
_CASELESS: Final = 0 if hyperscan is None else hyperscan.HS_FLAG_CASELESS
_DOTALL: Final = 0 if hyperscan is None else hyperscan.HS_FLAG_DOTALL
_SHORTEST: Final = 3
_PLAIN: Final = re.compile(r"[ !#-.0-\[\]^_`a-z{|}~]+", re.IGNORECASE | re.ASCII)
"""What JSON writes as it is: no quote, backslash, slash or control character."""


def available() -> bool:
    """Whether there is something to scan with."""
    return hyperscan is not None


def heart(literal: str) -> str:
    """The longest part of a literal that stands in any text holding it, however that is escaped; "" if too short."""
    longest = max(_PLAIN.findall(literal), key=len, default="")
    return longest.lower() if len(longest) >= _SHORTEST else ""


class Scanner:
    """Looks for `texts`, case ignored if ASCII, and for `exact` ones."""

    def __init__(self, texts: Sequence[str], exact: Sequence[str] = ()) -> None:
        """Raises RuntimeError unless `available`."""
        every = [one.encode() for one in (*texts, *exact)]
        self._database = _database(every, [_CASELESS] * len(texts) + [0] * len(exact), literal=True) if every else None

    def found(self, buffer: bytes | memoryview, before: int = 0) -> list[tuple[int, int]]:
        """(number of the text, position behind it) of everything found; the exact ones are numbered on. Positions count on from `before`."""
        found: list[tuple[int, int]] = []
        add = found.append
        if self._database is not None:
            self._database.scan(buffer, match_event_handler=lambda number, _start, end, _flags, _context: add((number, before + end)))
        return found


def unclear(buffer: bytes, before: int = 0) -> list[int]:
    """Positions, counted on from `before`, behind what makes JSON text mean something else than its bytes say.

    Raises RuntimeError unless `available`.
    """
    found: list[int] = []
    add = found.append
    _unclear().scan(buffer, match_event_handler=lambda _number, _start, end, _flags, _context: add(before + end))
    return found


@cache
def _unclear() -> Any:
    signs = [b"".join(b"\\x%02x" % byte for byte in sign.encode()) for sign in FOLDING_TO_ASCII]
    return _database([_ESCAPE, *signs], [_DOTALL] * (1 + len(signs)), literal=False)


def _database(patterns: list[bytes], flags: list[int], *, literal: bool) -> Any:
    if hyperscan is None:
        raise RuntimeError("hyperscan is not installed")
    made = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    made.compile(expressions=patterns, ids=list(range(len(patterns))), elements=len(patterns), flags=flags, literal=literal)
    return made
