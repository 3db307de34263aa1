"""Modifier chains of rules (``field|modifier|modifier``): which exist, and which chains and values can mean something.

The specification 2.1 (Modifiers appendix) is the list; what pySigma would let pass, misread or crash on is named here.
"""
from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from typing import Any, Final

from soc.errors import RuleError

__all__ = ["TIME_PARTS", "Fault", "chain_faults", "shown_value"]

Fault = tuple[str, str]
"""What is wrong, and what to do about it ("" where the first says it)."""

TIME_PARTS: Final = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "week": (1, 53), "month": (1, 12), "year": (1, 9999)}
"""Smallest and largest number of each; weeks are those of ISO 8601, of which some years have 53."""
_PLACES: Final = frozenset({"contains", "startswith", "endswith"})
_FLAGS: Final = frozenset({"i", "m", "s", "ignorecase", "multiline", "dotall"})
_COMPARE: Final = frozenset({"lt", "lte", "gt", "gte"})
_UTF16: Final = frozenset({"wide", "utf16le", "utf16be", "utf16"})
_BASE64: Final = frozenset({"base64", "base64offset"})
_OF_VALUES: Final = frozenset({"all", "neq"})
_OF_TEXT: Final = _PLACES | _UTF16 | _BASE64 | {"windash", "cased", "expand"}
KNOWN: Final = _OF_TEXT | _FLAGS | _COMPARE | _OF_VALUES | frozenset(TIME_PARTS) | {"re", "cidr", "exists", "fieldref"}

_BESIDE: Final = {
    "re": _FLAGS | _OF_VALUES | {"expand"},
    "cidr": _OF_VALUES,
    "exists": frozenset[str](),
    "fieldref": _PLACES | _OF_VALUES,
    **dict.fromkeys(_COMPARE, frozenset(TIME_PARTS) | {"all"}),
    **dict.fromkeys(TIME_PARTS, _COMPARE | _OF_VALUES),
}
"""What may stand beside a modifier that says what the value is."""
_ONE_OF: Final = (_PLACES, _UTF16, _BASE64, _COMPARE, frozenset(TIME_PARTS))
_NO_KEYWORDS: Final = frozenset({"exists", "fieldref", "startswith", "endswith"}) | _COMPARE | frozenset(TIME_PARTS)
_WILDCARD: Final = re.compile(r"(?<!\\)(?:\\\\)*[*?]")
_PLACEHOLDER: Final = re.compile(r"(?<!\\)%[^%]+%")
_FLAG_DASH: Final = re.compile(r"\B[-/–—―]\b")
MAX_DASHES: Final = 5
"""Dashes that windash varies in one value: five forms of each, so 3,125 values."""


def chain_faults(field: str, modifiers: Sequence[str], values: Sequence[Any]) -> Iterator[Fault]:
    """Everything wrong with one item of a selection; `field` "" means keywords."""
    broken = False
    for fault in _chain(field, modifiers, len(values)):
        broken = True
        yield fault
    if broken:
        return
    if not values:
        yield "an empty list matches nothing", "give values; an absent field is written null"
    for value in values:
        found = _value(frozenset(modifiers), value, keyword=not field)
        if found is not None:
            yield found


def _chain(field: str, modifiers: Sequence[str], count: int) -> Iterator[Fault]:
    unknown = [one for one in modifiers if one not in KNOWN]
    for one in unknown:
        near = difflib.get_close_matches(one.lower(), KNOWN, n=1)
        yield f"unknown modifier {one!r}", f"did you mean {near[0]}?" if near else "the modifiers of Sigma 2.1 are known"
    twice = {one for one in modifiers if modifiers.count(one) > 1}
    for one in sorted(twice):
        yield f"the modifier {one} stands twice in the chain", ""
    if unknown or twice:
        return
    chain = frozenset(modifiers)
    impossible = list(_combinations(modifiers, chain))
    yield from impossible or _order(modifiers, chain)
    if "all" in chain and count < 2:
        yield "all needs a list of two values or more", "leave it out; a single value cannot be linked"
    if "exists" in chain and count != 1:
        yield "exists takes one boolean, not a list", "write true or false"
    if not field:
        for one in sorted(chain & _NO_KEYWORDS):
            yield f"{one} needs a field: keywords are looked for anywhere in any value", ""


def _combinations(modifiers: Sequence[str], chain: frozenset[str]) -> Iterator[Fault]:
    for group in _ONE_OF:
        if len(chain & group) > 1:
            yield f"{' and '.join(one for one in modifiers if one in group)} exclude each other", "choose one, or write two selections"
            return
    for one in modifiers:
        others = [other for other in modifiers if other != one and other not in _BESIDE.get(one, KNOWN)]
        if others:
            hint = "a regular expression is not anchored: leave it out" if one == "re" and set(others) & _PLACES else ""
            yield f"{one} cannot be combined with {', '.join(others)}", hint
            return
    if chain & _FLAGS and "re" not in chain:
        yield f"{', '.join(sorted(chain & _FLAGS))} without re, whose flag it is", "write re first, then its flags"
    if "expand" in chain and chain & (_UTF16 | _BASE64):
        yield "expand cannot be combined with an encoding: the placeholder's name would be encoded", "write the values out"
    if "utf16" in chain and not chain & _BASE64:
        yield "utf16 begins with a byte order mark, which no text holds", "follow it with base64 or base64offset, or use wide"


def _order(modifiers: Sequence[str], chain: frozenset[str]) -> Iterator[Fault]:
    """Modifiers are applied in the order written (specification, Value Modifiers)."""
    at = {one: place for place, one in enumerate(modifiers)}
    for first in ("re", "cidr", "exists", "fieldref"):
        if at.get(first, 0) > 0 and not (first == "re" and set(modifiers[: at["re"]]) <= _FLAGS | _OF_VALUES):
            yield f"{first} must stand first, before {modifiers[at[first] - 1]}", "modifiers are applied in the order written"
    for one in _BASE64 & chain:
        early = [other for other in modifiers[: at[one]] if other in _PLACES]
        late = [other for other in modifiers[at[one] :] if other in _UTF16 or other == "windash"]
        if early or late:
            yield f"{', '.join(early or late)} stands on the wrong side of {one}", "modifiers are applied in the order written"
    for one in _COMPARE & chain:
        if any(other in TIME_PARTS for other in modifiers[at[one] :]):
            yield f"{one} must follow the part of the time it compares", "write hour|gte"


def _value(chain: frozenset[str], value: Any, *, keyword: bool) -> Fault | None:
    shown = shown_value(value)
    if isinstance(value, list | dict):
        return "a list inside a list, or a mapping, is no value", "write plain values"
    if "exists" in chain:
        return None if isinstance(value, bool) else (f"exists takes true or false, not {shown}", "")
    if value is None:
        if keyword:
            return "null cannot be a keyword: it needs a field", ""
        return (f"null has no text for {_listed(chain - _OF_VALUES)}", "null stands alone") if chain - _OF_VALUES else None
    if isinstance(value, bool):
        if keyword:
            return f"{shown} cannot be a keyword", "quote it if the word is meant"
        return (f"the boolean {shown} has no text for {_listed(chain - _OF_VALUES)}", "quote it") if chain - _OF_VALUES else None
    numeric = chain & (_COMPARE | frozenset(TIME_PARTS))
    if isinstance(value, int | float):
        if numeric:
            return _in_range(chain, value)
        wants_text = chain & (_OF_TEXT | {"re", "cidr", "fieldref"})
        return (f"{_listed(wants_text)} needs text, not the number {shown}", "quote it") if wants_text else None
    if numeric:
        return f"{_listed(numeric)} needs a number, not {shown}", ""
    return _text(chain, value, keyword=keyword)


def _in_range(chain: frozenset[str], value: int | float) -> Fault | None:
    for part in chain & frozenset(TIME_PARTS):
        first, last = TIME_PARTS[part]
        if not isinstance(value, int) or not first <= value <= last:
            return f"{part} is a whole number from {first} to {last}, not {value}", ""
    return None


def _text(chain: frozenset[str], value: str, *, keyword: bool) -> Fault | None:
    if "cidr" in chain:
        return _network(value)
    if "re" in chain:
        return _pattern(chain, value)
    if keyword and not value.strip("*"):
        return "an empty keyword would match every event", ""
    if "fieldref" in chain and (not value.strip() or _WILDCARD.search(value)):
        return f"fieldref names another field, not {value!r}", ""
    if chain & _BASE64 and _WILDCARD.search(value):
        return "a value with wildcards cannot be encoded as base64", "escape them with a backslash"
    if "base64offset" in chain and len(value.encode("utf-8", "surrogatepass")) * (2 if chain & _UTF16 else 1) < 2:
        return f"base64offset of {value!r}: too short to leave a mark at every offset", ""
    if chain & _UTF16 and not chain & _BASE64 and not value.isascii():
        return "UTF-16 of text beyond ASCII is no text", "follow it with base64 or base64offset"
    if "windash" in chain and len(_FLAG_DASH.findall(value)) > MAX_DASHES:
        return f"windash would vary more than {MAX_DASHES} dashes of one value", "split the value and use all"
    if "expand" in chain and not _PLACEHOLDER.search(value):
        return f"expand, but {value[:60]!r} holds no placeholder", "a placeholder is written %name%"
    return None


def _pattern(chain: frozenset[str], value: str) -> Fault | None:
    from soc.detect.engine.values import search_of

    if not value:
        return "an empty regular expression matches everything", ""
    if "expand" in chain:
        return None
    try:
        search_of(value)
    except RuleError as error:
        return error.message, error.remedy
    return None


def _network(value: str) -> Fault | None:
    try:
        ip_network(value)
    except ValueError:
        try:
            right = ip_network(value, strict=False)
        except ValueError:
            return f"cidr: {value!r} is no network", "write an address and the length of its prefix, as in 10.0.0.0/8"
        return f"cidr: {value!r} has bits set behind its prefix", f"write {right}"
    return None


def shown_value(value: Any) -> str:
    """A value of YAML as messages quote it."""
    plain = {True: "true", False: "false", None: "null"}
    if isinstance(value, bool) or value is None:
        return plain[value]
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)[:60]


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
