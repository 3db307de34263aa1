"""Cutting a search into words: which stretch is a field, which a value, and which colons mean neither.

Paths, Windows paths, URLs, IPv6 and MAC addresses, times, GUIDs in braces and e-mail addresses are plain values.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Literal

from soc.errors import QueryError
from soc.store.query_tree import Pattern, Wild

__all__ = ["Kind", "Range", "Word", "scan", "unescaped"]

NOTHING = Pattern(())

Kind = Literal["OR", "AND", "NOT", "MINUS", "LPAR", "RPAR", "FIELD", "VALUE"]


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends of a range as written; None is open."""

    low: str | None
    high: str | None
    low_open: bool
    high_open: bool


@dataclass(frozen=True, slots=True)
class Word:
    """A piece of the search: its kind, its text as written, its column (from 1); quoted values are never patterns."""

    kind: Kind
    text: str
    column: int
    quoted: bool = False
    range: Range | None = None
    pattern: Pattern = NOTHING


_SPACE = re.compile(r"\s+")
_NAME = re.compile(r"(?:[^\W\d]|[@$]|\\.)(?:[^\s()\[\]{}\"'`:*?\\<>=,;|/]|\\.)*(?=:)")
_RANGE = re.compile(r"""([\[{])\s*("(?:\\.|[^"\\])*"|[^\s"]+)\s+TO\s+("(?:\\.|[^"\\])*"|[^\s"\]}]+)\s*([\]}])""")
_COMPARE = re.compile(r"(>=|<=|>|<)\s*")
_MAC = re.compile(r"[0-9A-Fa-f?*]{2}(?::[0-9A-Fa-f?*]{2}){5}")
_HEXES = re.compile(r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f?*]{0,4})+(?:/\d{1,3})?")
_WORDS: dict[str, Kind] = {"AND": "AND", "OR": "OR", "NOT": "NOT", "&&": "AND", "||": "OR"}
_ESCAPED = frozenset('*?"\\()[]{}: \t')


def scan(text: str) -> Iterator[Word]:
    """The words of a search. Raises QueryError."""
    if "\0" in text:
        raise QueryError("the search holds a NUL character", text.index("\0") + 1, remedy="take it away")
    at, after_field = 0, False
    while at < len(text):
        if space := _SPACE.match(text, at):
            at = space.end()
            continue
        char, column = text[at], at + 1
        if char == "(" or char == ")":
            yield Word("LPAR" if char == "(" else "RPAR", char, column)
            at, after_field = at + 1, False
            continue
        if not after_field and char == "-" and at + 1 < len(text) and not text[at + 1].isspace():
            yield Word("MINUS", char, column)
            at += 1
            continue
        if not after_field and (name := _field(text, at)) is not None:
            yield Word("FIELD", _unescape_all(name), column)
            at, after_field = at + len(name) + 1, True
            continue
        word, at = _value(text, at, after_field)
        if not after_field and not word.quoted and (kind := _WORDS.get(word.text)):
            word = Word(kind, word.text, column)
        elif not word.quoted and word.text in ("AND", "OR", "NOT"):
            raise QueryError("a field has no value", column, remedy=f'write a value behind the colon, or "{word.text}" in quotes')
        yield word
        after_field = False
    if after_field:
        raise QueryError("a field has no value", len(text) + 1, remedy='write a value behind the colon; field:* asks whether it is there')


def _field(text: str, at: int) -> str | None:
    """The name before a colon at `at`, unless the whole stretch is a plain value."""
    found = _NAME.match(text, at)
    if found is None:
        return None
    name, rest = found.group(), text[found.end() + 1:]
    if rest.startswith("//") or (len(name) == 1 and rest[:1] in ("\\", "/") and name.isalpha()):
        return None
    stretch = re.match(r"[^\s()\"]*", text[at:])
    whole = stretch.group() if stretch else ""
    return None if _is_address(whole) else name


def _is_address(whole: str) -> bool:
    if _MAC.fullmatch(whole):
        return True
    if whole.count(":") < 2:
        return False
    if "::" in whole and _HEXES.fullmatch(whole):
        return True
    try:
        ip_interface(whole)
    except ValueError:
        return False
    return True


def _value(text: str, at: int, after_field: bool) -> tuple[Word, int]:
    if text[at] == '"':
        return _quoted(text, at)
    if found := _RANGE.match(text, at):
        open_, low, high, close = found.groups()
        span = Range(_end(low), _end(high), open_ == "{", close == "}")
        return Word("VALUE", found.group(), at + 1, range=span), found.end()
    if after_field and (found := _COMPARE.match(text, at)):
        word, end = _value(text, found.end(), False) if found.end() < len(text) else (None, at)
        if word is None or word.range is not None or not word.text:
            raise QueryError(f"{found.group().strip()!r} has no value", at + 1, remedy="write one behind it, as in field:>=5")
        sign, bare = found.group(1), word.pattern.literal if word.quoted else word.text
        span = Range(bare, None, sign == ">", False) if sign[0] == ">" else Range(None, bare, False, sign == "<")
        return Word("VALUE", text[at:end], at + 1, range=span), end
    return _bare(text, at)


def _end(text: str) -> str | None:
    if text == "*":
        return None
    return _unescape_quoted(text[1:-1]) if text.startswith('"') else text


def _quoted(text: str, at: int) -> tuple[Word, int]:
    end = at + 1
    while end < len(text) and text[end] != '"':
        end += 2 if text[end] == "\\" and text[end + 1:end + 2] == '"' and not _closes(text, end + 1) else 1
    if end >= len(text):
        raise QueryError("a quotation mark is not closed", at + 1, remedy='add the closing ", or write \\" for the character itself')
    inner = _unescape_quoted(text[at + 1:end])
    return Word("VALUE", inner, at + 1, quoted=True, pattern=Pattern((inner,) if inner else ())), end + 1


def _closes(text: str, at: int) -> bool:
    """Whether a mark behind a backslash closes all the same: a quoted Windows path may end in a backslash."""
    return text[at + 1:at + 2] in ("", " ", ")") and text.count('"', at + 1) % 2 == 0


def _unescape_quoted(text: str) -> str:
    return text.replace('\\"', '"')


def _bare(text: str, at: int) -> tuple[Word, int]:
    """A value without quotes: up to white space or a parenthesis that it did not open."""
    end, depth = at, 0
    while end < len(text) and not text[end].isspace():
        char = text[end]
        if char == "\\" and end + 1 < len(text) and text[end + 1] in '"() \t':
            end += 2
            continue
        if char == "(":
            depth += 1
        elif char == ")":
            if depth == 0:
                break
            depth -= 1
        end += 1
    if depth:
        raise QueryError("a parenthesis inside a value is not closed", at + 1, remedy="put the value in quotes")
    raw = text[at:end]
    return Word("VALUE", raw, at + 1, pattern=unescaped(raw)), end


def unescaped(raw: str) -> Pattern:
    r"""The pattern that a value without quotes means.

    A backslash makes a special character that follows it literal and is itself literal before any other. In a value
    that is plainly a Windows path (a drive, a leading ``\\``, or a backslash before an ordinary character) it is
    literal before ``*`` and ``?`` too, which stay wildcards: ``C:\Windows\Temp\*`` is everything in that folder.
    """
    path = bool(re.match(r"\*?[A-Za-z]:\\|\\\\", raw)) or bool(re.search(r'\\[^*?"\\()\[\]{}: \t]', raw))
    parts: list[str | Wild] = []
    held = ""
    at = 0
    while at < len(raw):
        char = raw[at]
        following = raw[at + 1:at + 2]
        if char == "\\" and following and following in _ESCAPED and not (path and following in "*?[]{}:") \
                and not (following == "\\" and at == 0):
            held += following
            at += 2
            continue
        if char == "\\" and following == "\\" and at == 0:
            held, at = "\\\\", 2
            continue
        if char in "*?":
            if held:
                parts.append(held)
                held = ""
            wild = Wild.MANY if char == "*" else Wild.ONE
            if not (wild is Wild.MANY and parts and parts[-1] is Wild.MANY):
                parts.append(wild)
        else:
            held += char
        at += 1
    if held:
        parts.append(held)
    return Pattern(tuple(parts))


def _unescape_all(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)
