"""What a file's content is known by: its hash, and whether an earlier file is its head (a log that has grown)."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["Content", "measure"]

_PIECE = 1 << 20
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class Content:
    """SHA-256 (hex) and size in bytes of a whole content; `head` is the hash that finds it again as another's head.

    `heads` are the hashes under which shorter contents that may be this one's head are found; `prefixes` the hash of
    its first L bytes for every L that was asked for.
    """

    sha256: str
    size: int
    head: str
    heads: tuple[str, ...]
    prefixes: dict[int, str]


def measure(file: BinaryIO, lengths: Callable[[Collection[str]], Collection[int]]) -> Content:
    """Read `file` from start to end, once.

    `lengths` is asked, with the hashes of the first 1, 2, 4 … 4096 bytes, for the lengths of earlier files that have
    such a head; only those are compared. A content's own `head` is the longest of these hashes that it has.
    """
    file.seek(0)
    start = file.read(_HEAD)
    heads = _heads(start)
    cuts = sorted({length for length in lengths(heads) if length > 0}) if heads else []
    digest = hashlib.sha256()
    prefixes: dict[int, str] = {}
    size, piece = 0, start
    while piece:
        at = 0
        while cuts and cuts[0] <= size + len(piece):
            cut = cuts.pop(0)
            digest.update(piece[at:cut - size])
            at = cut - size
            prefixes[cut] = digest.hexdigest()
        digest.update(memoryview(piece)[at:])
        size += len(piece)
        piece = file.read(_PIECE)
    return Content(digest.hexdigest(), size, heads[-1] if heads else "", heads, prefixes)


def _heads(start: bytes) -> tuple[str, ...]:
    sizes = [1 << power for power in range(_HEAD.bit_length()) if 1 << power <= len(start)]
    return tuple(f"{size}:{hashlib.sha256(start[:size]).hexdigest()}" for size in sizes)
