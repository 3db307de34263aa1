"""The search language: text in, a tree of frozen clauses out. Every store answers exactly this tree.

`soc.store.query_words` cuts the text into words (what is a field, a value, a path); the grammar below gives them
structure; `soc.store.query_values` reads values by their field's type. `soc.store.reference` says what each clause means.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from lark import Lark, Transformer, UnexpectedInput
from lark.lexer import Lexer, LexerState, Token

from soc.errors import QueryError
from soc.store.query_tree import EVERYTHING, And, Clause, Not, Or, Query
from soc.store.query_values import clause_of
from soc.store.query_words import Word, scan

__all__ = ["MAX_BYTES", "MAX_CLAUSES", "MAX_DEPTH", "Query", "parse"]

MAX_BYTES = 8192
MAX_CLAUSES = 500
MAX_DEPTH = 100

_GRAMMAR = """
start: either?
?either: both (OR both)*
?both: negated (AND? negated)*
?negated: (NOT | MINUS) negated -> negation
        | atom
?atom: LPAR either RPAR
     | FIELD LPAR any RPAR -> group
     | FIELD VALUE -> clause
     | VALUE -> text
?any: all (OR all)*
?all: none (AND? none)*
?none: (NOT | MINUS) none -> negation
     | one
?one: LPAR any RPAR
    | VALUE -> held
%declare OR AND NOT MINUS LPAR RPAR FIELD VALUE
"""

_SAID = {
    "OR": "OR", "AND": "AND", "NOT": "NOT", "MINUS": "-", "LPAR": "(", "RPAR": ")", "FIELD": "a field", "VALUE": "a value",
    "$END": "the end",
}


def parse(text: str) -> Query:
    """Read a search; "" is everything. Raises QueryError with the column (from 1) and what to do about it."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as fault:
        raise QueryError("the search holds half a character", fault.start + 1, remedy="take it away") from None
    if size > MAX_BYTES:
        raise QueryError(f"the search is {size:,} bytes long; the most is {MAX_BYTES:,}", remedy="look for less at once")
    try:
        root: Clause = _Parser.shared().parse(text)
    except UnexpectedInput as fault:
        raise _refusal(fault, text) from None
    return Query(text, root)


class _Words(Lexer):
    """lark's seam for a lexer of our own."""

    __future_interface__ = 2

    def __init__(self, _conf: object) -> None:
        pass

    def lex(self, lexer_state: LexerState, _parser_state: object) -> Iterator[Token]:
        """The words of the text as lark's tokens, counted against the limits."""
        text = lexer_state.text
        yield from _bounded(scan(text if isinstance(text, str) else text.text))


def _bounded(found: Iterator[Word]) -> Iterator[Token]:
    clauses = depth = negations = 0
    for word in found:
        if word.kind == "VALUE":
            clauses += 1
            negations = 0
            if clauses > MAX_CLAUSES:
                raise QueryError(f"the search has more than {MAX_CLAUSES} conditions", word.column, remedy="split it")
        elif word.kind in ("LPAR", "NOT", "MINUS"):
            depth += word.kind == "LPAR"
            negations = negations + 1 if word.kind != "LPAR" else negations
            if depth + negations > MAX_DEPTH:
                raise QueryError(f"the search is nested more than {MAX_DEPTH} deep", word.column, remedy="make it flatter")
        elif word.kind == "RPAR":
            depth -= 1
        yield Token(word.kind, word, column=word.column)


class _Tree(Transformer):  # type: ignore[type-arg]
    """Clauses out of lark's reductions; field groups stay functions until their field is known."""

    def start(self, children: list[Any]) -> Clause:
        return children[0] if children else EVERYTHING

    def either(self, children: list[Any]) -> Clause:
        return Or(_flat(Or, _kept(children)))

    def both(self, children: list[Any]) -> Clause:
        return And(_flat(And, _kept(children)))

    def negation(self, children: list[Any]) -> Any:
        inner = children[1]
        return (lambda field: Not(inner(field))) if callable(inner) else Not(inner)

    def atom(self, children: list[Any]) -> Any:
        return children[1]

    one = atom

    def clause(self, children: list[Any]) -> Clause:
        return clause_of(children[0].value, children[1].value)

    def text(self, children: list[Any]) -> Clause:
        return clause_of(None, children[0].value)

    def group(self, children: list[Any]) -> Clause:
        made: Clause = children[2](children[0].value)
        return made

    def held(self, children: list[Any]) -> Callable[[Word], Clause]:
        word: Word = children[0].value
        return lambda field: clause_of(field, word)

    def any(self, children: list[Any]) -> Callable[[Word], Clause]:
        makers = _kept(children)
        return lambda field: Or(_flat(Or, [make(field) for make in makers]))

    def all(self, children: list[Any]) -> Callable[[Word], Clause]:
        makers = _kept(children)
        return lambda field: And(_flat(And, [make(field) for make in makers]))


def _kept(children: list[Any]) -> list[Any]:
    return [child for child in children if not isinstance(child, Token)]


def _flat(kind: type[And] | type[Or], clauses: list[Clause]) -> tuple[Clause, ...]:
    flat: list[Clause] = []
    for clause in clauses:
        if isinstance(clause, kind):
            flat.extend(clause.clauses)
        else:
            flat.append(clause)
    return tuple(flat)


class _Parser:
    """Holds the built parser: building costs some milliseconds, so it happens once, at the first search."""

    @staticmethod
    @cache
    def shared() -> Any:
        return Lark(_GRAMMAR, parser="lalr", lexer=_Words, transformer=_Tree(), maybe_placeholders=False)


def _refusal(fault: UnexpectedInput, text: str) -> QueryError:
    token = getattr(fault, "token", None)
    expected = sorted(_SAID[name] for name in getattr(fault, "expected", ()) or () if name in _SAID)
    if token is None or token.type == "$END":
        column = len(text) + 1
        if "a value" in expected and len(expected) < 4:
            return QueryError("the search ends where a value should stand", column, remedy="complete it")
        if ")" in expected:
            return QueryError("a parenthesis is not closed", column, remedy='add ")", or put the text in quotes')
        return QueryError("the search ends where a condition should stand", column, remedy="complete it, or take the last word away")
    word: Word = token.value
    said = _SAID.get(token.type, token.type)
    if token.type == "RPAR":
        return QueryError('")" closes nothing here', word.column, remedy="take it away, or put the text in quotes")
    if token.type == "FIELD":
        return QueryError(f"the field {word.text!r} cannot stand inside another field's parentheses", word.column,
                          remedy="close the parentheses first, or put the text in quotes")
    return QueryError(f"{said} cannot stand here", word.column, remedy=f'write it in quotes if you look for the word "{word.text}"')
