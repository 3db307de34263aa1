"""Literals that a regular expression needs: they gate it, so that it runs where it can match only.

Reads what is plain (RE2 syntax) and gives up on the rest: no answer costs speed, a wrong one would cost matches.
"""
from __future__ import annotations

import re
from typing import Final

__all__ = ["needle_sets", "needles"]

_SHORTEST: Final = 2
_RARE: Final = frozenset("`^{}<>@")
"""Single characters that are rare enough to be worth a look."""
_MOST: Final = 64
_REPEAT: Final = re.compile(r"([*+?]|\{(\d+)(,\d*)?\})[?+]?")
_GROUP: Final = re.compile(r"\?(?:([a-zA-Z]*)(?:-[a-zA-Z]+)?(:|\))|P?<[A-Za-z_]\w*>)")
_CLASS: Final = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|[pP]\{\^?\w+\}|[pP]\w|[0-7]{1,3}|.)", re.DOTALL)


class _Unclear(Exception):
    """Something this reader does not follow."""


def needles(pattern: str) -> frozenset[str]:
    """Plain ASCII texts of which every match contains one, case aside; empty if none are known."""
    return _best(needle_sets(pattern))


def needle_sets(pattern: str) -> list[frozenset[str]]:
    """Sets of such texts: every match contains one of each."""
    reader = _Reader(pattern)
    try:
        found = reader.either(0)
    except (_Unclear, IndexError):
        return []
    return found if reader.at == len(pattern) else []


class _Reader:
    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0

    def either(self, depth: int) -> list[frozenset[str]]:
        """Alternatives: of one alone all that it needs, of several a literal of each."""
        if depth > 50:
            raise _Unclear
        found = [self._sequence(depth)]
        while self._peek() == "|":
            self.at += 1
            found.append(self._sequence(depth))
        if len(found) == 1:
            return found[0]
        best = [_best(one) for one in found]
        return [frozenset().union(*best)] if all(best) and sum(map(len, best)) <= _MOST else []

    def _sequence(self, depth: int) -> list[frozenset[str]]:
        """Items in a row: all that they need."""
        every: list[frozenset[str]] = []
        run = ""
        while (sign := self._peek()) not in ("", "|", ")"):
            literal = ""
            needed: list[frozenset[str]] = []
            if sign == "(":
                needed = self._group(depth)
            elif sign == "[":
                self._skip(_CLASS)
            elif sign == "\\":
                text = self._skip(_ESCAPE)
                if text in ("\\Q", "\\E", "\\C"):
                    raise _Unclear
                literal = text[1] if len(text) == 2 and not text[1].isalnum() else ""
            elif sign in ".^$":
                self.at += 1
            elif sign in "*+?{":
                raise _Unclear
            else:
                self.at += 1
                literal = sign
            times = _REPEAT.match(self.pattern, self.at)
            if times is not None:
                self.at = times.end()
                if times[1] in "*?" or times[2] == "0":
                    literal, needed = "", []
            if literal and literal.isascii():
                run += literal
                if times is None:
                    continue
            every += [*_worth(run), *needed]
            run = ""
        return [*every, *_worth(run)]

    def _group(self, depth: int) -> list[frozenset[str]]:
        self.at += 1
        if self._peek() == "?":
            head = _GROUP.match(self.pattern, self.at)
            if head is None or "x" in (head[1] or ""):
                raise _Unclear
            self.at = head.end()
            if head[2] == ")":
                return []
        found = self.either(depth + 1)
        if self._peek() != ")":
            raise _Unclear
        self.at += 1
        return found

    def _peek(self) -> str:
        return self.pattern[self.at] if self.at < len(self.pattern) else ""

    def _skip(self, part: re.Pattern[str]) -> str:
        found = part.match(self.pattern, self.at)
        if found is None:
            raise _Unclear
        self.at = found.end()
        return found[0]


def _worth(run: str) -> list[frozenset[str]]:
    """A literal as a set of needles, if it is long enough or rare enough to be one."""
    return [frozenset((run,))] if len(run) >= _SHORTEST or run in _RARE else []


def _best(choices: list[frozenset[str]]) -> frozenset[str]:
    """The choice whose shortest literal is longest."""
    return max(choices, key=lambda one: (min(map(len, one)), -len(one)), default=frozenset())
