"""Which group a base match belongs to, and with which value it counts: the fields that a correlation names, in our events."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from soc.detect.assembly import RunningCorrelation
from soc.detect.compiled import CompiledRule, LogSource
from soc.detect.correlation.spec import VALUED
from soc.detect.correlation.windows import number
from soc.detect.match import Match
from soc.detect.pipelines import pipelines
from soc.event import Event, Value

__all__ = ["Arrival", "Keys", "entity_kind"]

_LONGEST: Final = 512
"""Characters of a group's or value's text that are compared in full; longer ones by their hash."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A base match on its way into a correlation: the match, by which reference, and (from a correlation) its group and events."""

    ref: int
    match: Match
    group: Mapping[str, str] = field(default_factory=dict)
    via: tuple[str, ...] = ()


class Keys:
    """The group and value of one correlation's base matches."""

    def __init__(self, correlation: RunningCorrelation) -> None:
        spec = correlation.spec
        self._province, self._valued = spec.province, spec.type in VALUED
        self._numeric = self._valued and spec.type != "value_count"
        self._names = spec.group_by
        sources = [list(dict.fromkeys(_log_sources(member))) for member in correlation.members]
        self._groups = [
            [(spec.aliases.get(name, {}).get(reference, name), _fields(found, spec.aliases.get(name, {}).get(reference, name)))
             for name in spec.group_by]
            for reference, found in zip(spec.rules, sources, strict=True)]
        every = list(dict.fromkeys(source for found in sources for source in found))
        self._values = [_fields(every, name) for name in spec.fields]

    def group(self, arrival: Arrival) -> dict[str, str] | None:
        """The values of `group_by`, None where the event lacks one: it is not counted then."""
        found: dict[str, str] = {}
        for name, (written, fields) in zip(self._names, self._groups[arrival.ref], strict=True):
            value = arrival.group.get(written)
            text = value if value is not None else _first(arrival.match.event, fields)
            if text is None:
                return None
            found[name] = text
        return found

    def digest(self, arrival: Arrival, group: Mapping[str, str]) -> str:
        """The group as 128 bits in hex. Origins and imports never mix, agencies only where the rule says so."""
        match = arrival.match
        parts = ("" if self._province else match.agency, match.origin.value, match.import_id, *group.values())
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def value(self, event: Event) -> str | None:
        """What the event counts with: "" for types without a field, None where the field is absent or no number."""
        if not self._valued:
            return ""
        found = [_first(event, fields) for fields in self._values]
        texts = [text for text in found if text is not None]
        if len(texts) < len(found):
            return None
        value = texts[0] if len(texts) == 1 else json.dumps(texts)
        if self._numeric:
            return value.strip() if number(value) is not None else None
        return _short(value)


def entity_kind(name: str, value: str) -> str:
    """What kind of entity a group's value is: an address by its look, a user by its name, else a host."""
    try:
        ip_address(value)
    except ValueError:
        lower = name.lower()
        return "user" if "user" in lower or "account" in lower else "host"
    return "address"


def _log_sources(member: CompiledRule | RunningCorrelation) -> Iterable[LogSource]:
    if isinstance(member, CompiledRule):
        yield member.logsource
    else:
        for below in member.members:
            yield from _log_sources(below)


def _fields(sources: Sequence[LogSource], name: str) -> tuple[str, ...]:
    """Our fields for a name as rules of these log sources write it, in order."""
    name = name.replace(" ", "")
    return tuple(dict.fromkeys(one for source in sources for one in pipelines().names(source, name).fields))


def _first(event: Event, fields: Sequence[str]) -> str | None:
    for name in fields:
        value = event.get(name)
        if value is not None and value != []:
            return _short(_text(value))
    return None


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return value[0] if len(value) == 1 else json.dumps(value, ensure_ascii=False)
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _short(text: str) -> str:
    """Text that a database keeps, told apart from any other."""
    if len(text) > _LONGEST or "\x00" in text or (not text.isascii() and text.encode("utf-8", "replace").decode() != text):
        return "#" + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return text
