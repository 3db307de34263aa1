"""Modifiers that pySigma 1.5 lacks or gets wrong, put in the place of its own: encodings count bytes, windash knows all dashes.

pySigma counts characters where base64 works on bytes, encodes the escapes of a value with it, refuses UTF-16 beyond
ASCII, has no utf16le, and writes the byte order mark of utf16 as UTF-8 (Modifiers appendix 2.1, Encoding).
"""
from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, cast

from sigma.exceptions import SigmaValueError
from sigma.modifiers import SigmaValueModifier, modifier_mapping, reverse_modifier_mapping
from sigma.types import Placeholder, SigmaExpansion, SigmaString, SigmaType

__all__ = ["install", "offset_forms"]

_DASHES: Final = "-/–—―"


@cache
def install() -> None:
    """Put them in pySigma's table; nothing else in pySigma changes."""
    own: dict[str, type[SigmaValueModifier[Any, Any]]] = {
        "wide": Utf16Le, "utf16le": Utf16Le, "utf16be": Utf16Be, "utf16": Utf16, "base64": Base64, "base64offset": Base64Offset,
        "windash": Windash}
    modifier_mapping.update(own)
    reverse_modifier_mapping.update({kind.__name__: name for name, kind in own.items()})


class Bytes(SigmaString):
    """Bytes as the text of their Latin-1 characters, until base64 makes text of them."""


class Utf16Le(SigmaValueModifier[SigmaString, SigmaString]):
    """UTF-16, low byte first."""

    start = b""
    encoding = "utf-16-le"

    def modify(self, val: SigmaString) -> SigmaString:
        """The text as bytes; wildcards stay where they are."""
        found = Bytes()
        found.s = [part.encode(self.encoding, "surrogatepass").decode("latin-1") if isinstance(part, str) else part for part in val.s]
        if self.start:
            found.s.insert(0, self.start.decode("latin-1"))
        return found


class Utf16Be(Utf16Le):
    """UTF-16, high byte first."""

    encoding = "utf-16-be"


class Utf16(Utf16Le):
    """UTF-16, low byte first, behind its byte order mark."""

    start = b"\xff\xfe"


class Base64(SigmaValueModifier[SigmaString, SigmaString]):
    """Base64 of the value's bytes."""

    def modify(self, val: SigmaString) -> SigmaString:
        """The encoded text. Raises SigmaValueError for wildcards."""
        return _literal(b64encode(_bytes(val)).decode())


class Base64Offset(SigmaValueModifier[SigmaString, SigmaExpansion]):
    """What base64 of any text that holds the value always holds: one form for each of three offsets."""

    def modify(self, val: SigmaString) -> SigmaExpansion:
        """The three forms."""
        return SigmaExpansion([_literal(form) for form in offset_forms(_bytes(val))])


class Windash(SigmaValueModifier[SigmaString, SigmaExpansion]):
    """Each dash or slash that starts a flag in each of its five forms."""

    def modify(self, val: SigmaString) -> SigmaExpansion:
        """All permutations (the lint bounds how many)."""

        def forms(found: Placeholder) -> Iterator[str | Placeholder]:
            yield from _DASHES if found.name == "_windash" else (found,)

        marked = val.replace_with_placeholder(re.compile(rf"\B[{_DASHES}]\b"), "_windash")
        return SigmaExpansion(cast(list[SigmaType], marked.replace_placeholders(forms)))


def offset_forms(data: bytes) -> tuple[str, str, str]:
    """The parts of base64 text that `data` fixes alone, when 0, 1 or 2 bytes of a group stand before it."""
    found = []
    for before in range(3):
        text = b64encode(bytes(before) + data).decode()
        behind = (len(data) + before) % 3
        found.append(text[(0, 2, 3)[before] : len(text) - (0, 3, 2)[behind]])
    return found[0], found[1], found[2]


def _bytes(value: SigmaString) -> bytes:
    if not all(isinstance(part, str) for part in value.s):
        raise SigmaValueError("a value with wildcards cannot be encoded as base64")
    text = "".join(part for part in value.s if isinstance(part, str))
    return text.encode("latin-1") if isinstance(value, Bytes) else text.encode("utf-8", "surrogatepass")


def _literal(text: str) -> SigmaString:
    found = SigmaString()
    found.s = [text]
    return found
