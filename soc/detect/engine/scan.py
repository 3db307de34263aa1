"""Many texts looked for in one large buffer at once, case ignored: what decides which events are looked at closely.

Hyperscan does it at 1 to 2 GB/s for a few hundred texts; where its package is missing nothing is sieved beforehand and
the matcher looks at everything.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

try:
    import hyperscan
except ImportError:  # no wheel for this machine
    hyperscan = None  # type: ignore[assignment]

__all__ = ["FOLDING_TO_ASCII", "LONGEST", "ODD_ESCAPES", "Scanner", "available", "heart", "is_escaped"]

FOLDING_TO_ASCII: Final = "ßİŉſǰẖẗẘẙẚẞ\u212aﬀﬁﬂﬃﬄﬅﬆ"
"""Every character beyond ASCII whose case folding holds an ASCII letter: where one stands, an ASCII text may be meant."""
ODD_ESCAPES: Final = ("\\u", "\\/")
"""How JSON may write what needs no escape: where one stands, the text is not what its bytes say."""
_BACKSLASH: Final = 0x5C
_CASELESS: Final = 0 if hyperscan is None else hyperscan.HS_FLAG_CASELESS
_SINGLE: Final = 0 if hyperscan is None else hyperscan.HS_FLAG_SINGLEMATCH
LONGEST: Final = 2_048
"""Characters of a text to look for: Hyperscan takes 16,000 bytes."""
_SHORTEST: Final = 3
_PLAIN: Final = re.compile(r"[ !#-.0-\[\]^_`a-z{|}~]+", re.IGNORECASE | re.ASCII)
"""What JSON writes as it is: no quote, backslash, slash or control character."""


def available() -> bool:
    """Whether there is something to scan with."""
    return hyperscan is not None


def heart(literal: str) -> str:
    """The longest part of a literal that stands in any text holding it, however that is escaped; "" if too short."""
    longest = max(_PLAIN.findall(literal), key=len, default="")
    return longest[:LONGEST].lower() if len(longest) >= _SHORTEST else ""


class Scanner:
    """Looks for `texts`, case ignored if ASCII, and for `exact` ones."""

    def __init__(self, texts: Sequence[str], exact: Sequence[str] = (), *, once: bool = False) -> None:
        """No text is empty or over LONGEST. `once` finds each at most once in a buffer. Raises RuntimeError unless `available`."""
        every = [one.encode(errors="surrogatepass") for one in (*texts, *exact)]
        flags = _SINGLE if once else 0
        self._database = _database(every, [flags | _CASELESS] * len(texts) + [flags] * len(exact)) if every else None

    def found(self, buffer: bytes | memoryview) -> list[tuple[int, int]]:
        """(number of the text, position behind it) of everything found; the exact ones are numbered on."""
        found: list[tuple[int, int]] = []
        add = found.append
        if self._database is not None:
            self._database.scan(buffer, match_event_handler=lambda number, _start, end, _flags, _context: add((number, end)))
        return found

    def which(self, buffer: bytes) -> set[int]:
        """The numbers of all that is found."""
        found: set[int] = set()
        add = found.add
        if self._database is not None:
            self._database.scan(buffer, match_event_handler=lambda number, _start, _end, _flags, _context: add(number))
        return found


def is_escaped(record: bytes | memoryview, at: int) -> bool:
    """Whether the backslash at `at` of a JSON text is itself written with the one before it."""
    before = at
    while before and record[before - 1] == _BACKSLASH:
        before -= 1
    return (at - before) % 2 == 1


def _database(texts: list[bytes], flags: list[int]) -> Any:
    if hyperscan is None:
        raise RuntimeError("hyperscan is not installed")
    made = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    made.compile(expressions=texts, ids=list(range(len(texts))), elements=len(texts), flags=flags, literal=True)
    return made
