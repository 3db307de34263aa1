"""Sigma conditions: text -> tree of selection names. Bounded in size and depth, linear in time.

Grammar (specification 2.1, section Condition): `or`, `and`, `not`, parentheses, names, `1 of`, `any of`, `all of` with a
pattern or `them`. A tree is a name, or ("!", tree), or ("&" or "|", [trees]).
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from soc.errors import RuleError

__all__ = ["MAX_DEPTH", "Tree", "parse_condition"]

Tree = str | tuple[str, list[Any]]
"""A selection's name, or a sign with its subtrees."""

MAX_DEPTH: Final = 64
MAX_TOKENS: Final = 20_000
_TOKEN: Final = re.compile(r"\s*(?:([()])|([A-Za-z0-9_*-]+)|(\S))")


def parse_condition(text: str, selections: Sequence[str]) -> Tree:
    """The tree of a condition over these selections. Raises RuleError that says what is wrong."""
    if "|" in text:
        raise RuleError("conditions with | and aggregation are obsolete", remedy="use a correlation rule")
    tokens: list[str] = []
    for found in _TOKEN.finditer(text.rstrip()):
        if found[3]:
            raise RuleError(f"{found[3]!r} has no place in a condition")
        tokens.append(found[1] or found[2])
        if len(tokens) > MAX_TOKENS:
            raise RuleError(f"condition of more than {MAX_TOKENS} words")
    if not tokens:
        raise RuleError("the condition is empty")
    parser = _Parser(tokens, selections)
    tree = parser.either(0)
    if parser.at < len(tokens):
        raise RuleError(f"condition: did not expect {tokens[parser.at]!r}")
    return tree


class _Parser:
    def __init__(self, tokens: list[str], selections: Sequence[str]) -> None:
        self.tokens, self.selections, self.at = tokens, selections, 0

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def either(self, depth: int) -> Tree:
        return self._chain("or", "|", depth)

    def _chain(self, word: str, sign: str, depth: int) -> Tree:
        parts = [self._chain("and", "&", depth) if word == "or" else self._negation(depth)]
        while self._peek() == word:
            self.at += 1
            parts.append(self._chain("and", "&", depth) if word == "or" else self._negation(depth))
        return parts[0] if len(parts) == 1 else (sign, parts)

    def _negation(self, depth: int) -> Tree:
        count = 0
        while self._peek() == "not":
            self.at += 1
            count += 1
        inner = self._operand(depth)
        return ("!", [inner]) if count % 2 else inner

    def _operand(self, depth: int) -> Tree:
        token = self._peek()
        self.at += 1
        if token == "(":
            if depth >= MAX_DEPTH:
                raise RuleError(f"condition nested deeper than {MAX_DEPTH} parentheses")
            inner = self.either(depth + 1)
            if self._peek() != ")":
                raise RuleError("condition: a parenthesis is not closed")
            self.at += 1
            return inner
        if token in ("", ")", "and", "or", "not", "of"):
            raise RuleError(f"condition: a selection is missing before {token!r}" if token else "condition: it ends too early")
        if self._peek() == "of":
            return self._quantified(token)
        if token not in self.selections:
            hint = " (and, or, not are written small)" if token.lower() in ("and", "or", "not") else ""
            raise RuleError(f"condition: there is no selection {token!r}{hint}")
        return token

    def _quantified(self, quantifier: str) -> Tree:
        self.at += 1
        pattern = self._peek()
        self.at += 1
        if quantifier not in ("1", "any", "all"):
            raise RuleError(f"condition: {quantifier!r} of is not known", remedy="use 1 of, any of or all of")
        if pattern == "them":
            names = [name for name in self.selections if not name.startswith("_")]
        else:
            glob = re.compile("(?s)" + ".*".join(re.escape(part) for part in re.split(r"\*+", pattern)) + r"\Z")
            hidden = pattern.startswith("_")
            names = [name for name in self.selections if glob.match(name) and (hidden or not name.startswith("_"))]
        if not names:
            raise RuleError(f"condition: no selection is called like {pattern!r}")
        return names[0] if len(names) == 1 else ("&" if quantifier == "all" else "|", list(names))
