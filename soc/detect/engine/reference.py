"""The slow, plain matcher: one rule, one event, no columns, no memory. What the engine must agree with.

Written from docs/sigma-semantics.md alone: it shares no test of a value with the engine (`values.py`), so that a mistake
would have to be made twice. It is for tests and may take exponential time in a rule's regular expressions.
"""
from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

from soc.detect.compiled import AtomSpec, CompiledRule
from soc.detect.pipelines import Pipelines, pipelines
from soc.event import Event

__all__ = ["holds_for", "is_routed", "matches"]

_OURS: Final = {
    "@timestamp", "ecs.version", "event.category", "event.created", "event.dataset", "event.id", "event.ingested", "event.kind",
    "event.module", "event.original", "event.type", "organization.id"}
"""Fields without a word of the source's own, beside soc.* and folded copies."""


def is_routed(rule: CompiledRule, event: Event) -> bool:
    """Whether the event is of a log source that the rule asks for."""
    return rule.logsource.matches(str(event.get("soc.log_sources", "")))


def matches(rule: CompiledRule, event: Event, mapping: Pipelines | None = None) -> bool:
    """Whether the rule's condition holds for the event, whatever its log source."""
    detection = rule.unpacked()
    asked = mapping or pipelines()

    def holds(tree: Any) -> bool:
        if isinstance(tree, int):
            return _atom(detection.atoms[tree])
        sign, *parts = tree
        if sign == "!":
            return not holds(parts[0])
        return all(map(holds, parts)) if sign == "&" else any(map(holds, parts))

    def _values(field: str) -> list[str] | None:
        names = asked.names(rule.logsource, field)
        found = [_texts(event[name]) for name in names.fields if name in event]
        if not found:
            return None
        return [text for texts in found for text in texts] if names.every else found[0]

    def _null(field: str) -> bool:
        named = event.get("soc.null_fields", [])
        known = [named] if isinstance(named, str) else named
        return isinstance(known, list) and any(name in known for name in asked.names(rule.logsource, field).fields)

    def _atom(spec: AtomSpec) -> bool:
        if not spec.field:
            said = [_texts(value) for name, value in event.items()
                    if name not in _OURS and not name.startswith("soc.") and not name.endswith(".folded")]
            return any(holds_for(spec, text) for texts in said for text in texts)
        values = _values(spec.field)
        if spec.test == "null":
            return values is None
        if spec.test == "exists":
            return values is not None or _null(spec.field)
        if values is None:
            return False
        if spec.test.startswith("fieldref"):
            where = spec.test.removeprefix("fieldref").strip() or "is"
            return any(_placed(where, _folded(a), _folded(b)) for a in values for b in _values(spec.literal) or ())
        return any(holds_for(spec, text) for text in values)

    return holds(detection.tree)


def holds_for(spec: AtomSpec, text: str) -> bool:
    """Whether one value's text passes the test of an atom (any but null, exists and fieldref)."""
    case: Callable[[str], str] = str if spec.cased else _folded
    kind, _, compared = spec.test.partition(" ")
    match kind:
        case "any":
            return True
        case "is" | "contains" | "startswith" | "endswith":
            return _placed(kind, case(text), case(spec.literal))
        case "like":
            return _like(case(text), list(_signs(spec.literal, case)))
        case "re":
            return re.search(_pythons(spec.literal), text) is not None
        case "cidr":
            return _inside(text, spec.literal)
        case "lt" | "lte" | "gt" | "gte":
            return _compares(kind, _number(text), Fraction(spec.literal))
    shown = _shown(text, kind)
    return shown is not None and _compares(compared or "eq", Fraction(shown), Fraction(spec.literal))


# ---- text


def _texts(value: object) -> list[str]:
    return [_text(one) for one in value] if isinstance(value, list) else [_text(value)]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:-2] if isinstance(value, float) and re.fullmatch(r"-?[0-9]+\.0", str(value)) else str(value)


def _folded(text: str) -> str:
    return "".join(sign.casefold() for sign in text)


def _placed(where: str, text: str, part: str) -> bool:
    starts = [at for at in range(len(text) - len(part) + 1) if text[at : at + len(part)] == part]
    end = len(text) - len(part)
    return {"is": text == part, "contains": starts != [], "startswith": 0 in starts, "endswith": end in starts}[where]


def _signs(pattern: str, case: Callable[[str], str]) -> Iterator[str]:
    """A pattern sign by sign: "*", "?", and what stands for itself behind a "="."""
    rest = iter(pattern)
    for sign in rest:
        if sign in "*?":
            yield sign
        else:
            yield from ("=" + one for one in case(next(rest, sign) if sign == "\\" else sign))


def _like(text: str, signs: list[str]) -> bool:
    """Whether the signs make the whole text: the places that each sign can lead to."""
    places = {0}
    for sign in signs:
        if sign == "*":
            places = set(range(min(places), len(text) + 1)) if places else places
        else:
            places = {at + 1 for at in places if at < len(text) and sign in ("?", "=" + text[at])}
    return len(text) in places


# ---- regular expressions


def _pythons(pattern: str) -> str:
    """RE2's pattern for Python: `$` only at the very end but under `m`; `\\d`, `\\w`, `\\s`, `\\b` of ASCII (and `i` makes ſ and K letters)."""
    flags = re.match(r"\(\?([ims]+)\)", pattern)
    ends = "$" if flags and "m" in flags[1] else r"\Z"
    letters = "A-Za-z_ſ\u212a" if flags and "i" in flags[1] else "A-Za-z_"
    classes = {"\\d": "0-9", "\\w": "0-9" + letters, "\\s": r"\t\n\f\r "}
    found, inside, at = "", False, 0
    while at < len(pattern):
        sign = pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        at += len(sign)
        if sign in classes:
            found += classes[sign] if inside else f"(?-i:[{classes[sign]}])"
        elif sign == "\\b":
            found += r"(?-i:(?<![0-9A-Za-z_])(?=[0-9A-Za-z_])|(?<=[0-9A-Za-z_])(?![0-9A-Za-z_]))"
        else:
            found += ends if sign == "$" and not inside else sign
        inside = sign == "[" or (inside and sign != "]")
    return found


# ---- numbers, addresses, times


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text) if set(text.strip()) <= set("0123456789+-.eE") else None
    except ValueError:
        return None


def _compares(how: str, left: Fraction | None, right: Fraction) -> bool:
    if left is None:
        return False
    return {"lt": left < right, "lte": left <= right, "gt": left > right, "gte": left >= right, "eq": left == right}[how]


def _inside(text: str, network: str) -> bool:
    base, _, size = network.partition("/")
    address, start = _bits(text.strip()), _bits(base)
    return address is not None and start is not None and len(address) == len(start) and address[: int(size)] == start[: int(size)]


def _bits(text: str) -> str | None:
    """An address in binary; one of IPv4 in IPv6's form as IPv4's; a zone (%eth0) does not count."""
    if ":" in text:
        text = re.sub(r"%[^%]+\Z", "", text)
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            packed = socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        if packed[:12] == bytes(10) + b"\xff\xff":
            packed = packed[12:]
        return "".join(f"{byte:08b}" for byte in packed)
    return None


def _shown(text: str, part: str) -> int | None:
    """The minute, hour, day, week, month or year that a text shows."""
    day, time = text.strip()[:10], text.strip()[10:]
    try:
        if re.fullmatch(r"[0-9]+", text):
            unit = {9: 1, 10: 1, 12: 1_000, 13: 1_000, 15: 1_000_000, 16: 1_000_000}[len(text)]
            when = datetime.fromtimestamp(int(text) // unit, UTC)
        else:
            clock = re.fullmatch(r"(?:[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2}([.,][0-9]{1,9})?)?\s*(Z|z|UTC|[+-][0-9]{2}(:?[0-9]{2}|:)?)?)?", time)
            if clock is None or not day.isascii():
                return None
            if clock[1] is None and part in ("hour", "minute"):
                return None
            when = datetime.strptime(f"{day} {clock[1] or '00:00'} +0000", "%Y-%m-%d %H:%M %z")
    except (ValueError, KeyError):
        return None
    return when.isocalendar().week if part == "week" else int(getattr(when, part))
