"""What an atom asks of one value: the meaning of every Sigma test, on plain text.

The specification (2.1, Modifiers appendix) is followed; values of numbers and booleans are compared as their text.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

import re2

from soc.detect.compiled import AtomSpec
from soc.detect.engine.timeparts import PARTS, part_of
from soc.errors import RuleError

__all__ = ["MAX_PATTERN", "compare_fields", "fold", "glob_parts", "number_of", "pattern_of", "test_of", "text_of"]

MAX_PATTERN: Final = 8_192
"""Characters of one regular expression."""
_REGEX_MEMORY: Final = 2 * 1024 * 1024
_LONG_ENOUGH: Final = re.compile(r"(\(\?s\))?(?:\.|\(\.\)|\(\?:\.\))\{([0-9]{1,4})(?:,)?\}")
_NUMBER: Final = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\s*\Z")

Test = Callable[[str], bool]


def fold(text: str) -> str:
    """`text` without case, for all of Unicode (full case folding: it keeps concatenation)."""
    return text.lower() if text.isascii() else text.casefold()


def text_of(value: object) -> str:
    """A scalar of an event as the text that rules compare: booleans small, whole floats without fraction."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return str(value)


def number_of(text: str) -> Decimal | int | None:
    """The number a text is, exactly; None if it is none."""
    if len(text) > 400 or not _NUMBER.match(text):
        return None
    try:
        return int(text)
    except ValueError:
        return Decimal(text.strip())


def glob_parts(pattern: str) -> list[str | bool | None]:
    """An escaped Sigma pattern in parts: text, None for any text (*), True for one character (?)."""
    parts: list[str | bool | None] = []
    plain: list[str] = []

    def end() -> None:
        if plain:
            parts.append("".join(plain))
            plain.clear()

    signs = iter(pattern)
    for sign in signs:
        if sign == "\\":
            plain.append(next(signs, "\\"))
        elif sign == "*":
            end()
            if not parts or parts[-1] is not None:
                parts.append(None)
        elif sign == "?":
            end()
            parts.append(True)
        else:
            plain.append(sign)
    end()
    return parts


def pattern_of(spec: AtomSpec) -> str:
    """The regular expression of a like or re atom (of like: over folded text unless cased)."""
    if spec.test == "re":
        return spec.literal
    parts = glob_parts(spec.literal)
    inner = "".join(
        ".*" if part is None else "." if part is True else re2.escape(part if spec.cased else fold(str(part))) for part in parts)
    return rf"(?s)\A(?:{inner})\z"


def test_of(spec: AtomSpec) -> Test:
    """The test of one value's text. Not for fieldref, null and exists, which are about more than one value.

    Raises RuleError for a regular expression outside what a linear-time engine can do.
    """
    literal = spec.literal
    if spec.test == "any":
        return lambda text: True
    if spec.test in ("is", "contains", "startswith", "endswith"):
        return _plain(spec.test, literal) if spec.cased else _folded(spec.test, fold(literal))
    if spec.test in ("like", "re"):
        search = search_of(pattern_of(spec))
        long = _LONG_ENOUGH.fullmatch(spec.literal) if spec.test == "re" else None
        if long is not None:
            return _longer(int(long[2]), within_lines=long[1] is None)
        if spec.test == "re" or spec.cased:
            return lambda text: search(text.encode("utf-8", "replace")) is not None
        return lambda text: search(fold(text).encode("utf-8", "replace")) is not None
    if spec.test == "cidr":
        network = ip_network(literal)
        return lambda text: _within(text, network)
    if spec.test in ("lt", "lte", "gt", "gte"):
        return _compare(spec.test, literal)
    part, _, compared = spec.test.partition(" ")
    if part in PARTS:
        inner = _compare(compared or "eq", literal)
        return lambda text: (number := part_of(text, part)) is not None and inner(str(number))
    raise RuleError(f"unknown test {spec.test!r}")


def search_of(pattern: str) -> Callable[[bytes], Any]:
    """The search of a regular expression on bytes, in time linear in them. Raises RuleError."""
    if len(pattern) > MAX_PATTERN * 4:
        raise RuleError(f"regular expression of {len(pattern)} characters: {MAX_PATTERN} are allowed")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _REGEX_MEMORY
    try:
        found = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        far = "perl operator" in text or "escape sequence" in text
        raise RuleError(f"regular expression not supported: {text[:200]}", remedy=(
            "look-around and back-references have no linear-time form; write it with and / not" if far else "")) from None
    return found.search  # type: ignore[no-any-return]


def compare_fields(test: str, left: str, right: str) -> bool:
    """Whether two fields' values agree, case ignored: equal, or the first begins with, ends with, contains the second."""
    a, b = fold(left), fold(right)
    if test == "fieldref":
        return a == b
    if test == "fieldref startswith":
        return a.startswith(b)
    return a.endswith(b) if test == "fieldref endswith" else b in a


def _longer(size: int, *, within_lines: bool) -> Test:
    """What ``.{size,}`` asks, which an automaton answers with thousands of states."""
    if within_lines:
        return lambda text: len(text) >= size and any(len(line) >= size for line in text.split("\n"))
    return lambda text: len(text) >= size


def _plain(test: str, literal: str) -> Test:
    if test == "is":
        return lambda text: text == literal
    if test == "contains":
        return lambda text: literal in text
    if test == "startswith":
        return lambda text: text.startswith(literal)
    return lambda text: text.endswith(literal)


def _folded(test: str, literal: str) -> Test:
    inner = _plain(test, literal)
    return lambda text: inner(fold(text))


def _compare(test: str, literal: str) -> Test:
    bound = number_of(literal)
    if bound is None:
        raise RuleError(f"{literal!r} is not a number")
    limit: Decimal | int = bound

    def compare(text: str) -> bool:
        number = number_of(text)
        if number is None:
            return False
        if test == "lt":
            return number < limit
        if test == "lte":
            return number <= limit
        if test == "eq":
            return number == limit
        return number > limit if test == "gt" else number >= limit

    return compare


def _within(text: str, network: IPv4Network | IPv6Network) -> bool:
    address = _address(text) if len(text) <= 64 else None
    return address is not None and address.version == network.version and address in network


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.strip())
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
