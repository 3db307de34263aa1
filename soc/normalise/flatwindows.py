"""Flat Windows JSON read without the parser: which keys of a record give one of our fields by plain copying.

The parser (`parsers/windows.py`) stays the truth; this says where it does nothing but copy, so that rules can be tried on
such records without building an event. A property test holds the two together.
"""
from __future__ import annotations

import re
from functools import cache
from typing import Final

from soc.normalise.parsers.windows import DATA
from soc.normalise.windows_fields import COPIES, FLAT_SYSTEM, OUTCOMES, SHIPPER

__all__ = ["CHANNEL", "ECHOES", "EVENT_ID", "LARGEST", "MADE", "NESTED", "PROVIDERS", "keys_of", "odd_key", "text_of_number"]

EVENT_ID: Final = "EventID"
CHANNEL: Final = "Channel"
PROVIDERS: Final = ("SourceName", "Provider_Name")
NESTED: Final = ("EventData", "UserData", "System")
"""Keys under which fields may lie one level deeper: such records are for the parser."""
LARGEST: Final = 64 * 1024
"""Bytes of a record beyond which the parser's caps on values and fields could matter."""

ECHOES: Final = {"host.name": "winlog.computer_name", "event.code": "winlog.event_id", "event.provider": "winlog.provider_name"}
"""Fields that repeat another one: beside it they say nothing."""

MADE: Final = frozenset(text.lower() for texts in OUTCOMES.values() for text in texts)
"""Texts that the parser puts into events of itself."""

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DERIVED: Final = frozenset({
    "@timestamp", "host.name", "user.name", "user.domain", "winlog.user.name", "winlog.user.domain", "process.hash.md5", "process.hash.sha1",
    "process.hash.sha256", "organization.id", "ecs.version",
    *(target for copies in COPIES.values() for _, target in copies)})
"""What the parser works out of other fields, or adds."""


@cache
def keys_of(field: str) -> tuple[str, ...] | None:
    """The keys that give `field`, no two of which a record may have; () if no key does; None if only the parser can say.

    Event data may be written with spaces between its words, too: see `odd_key`.
    """
    if field in _DERIVED or field.startswith(("event.", "soc.")) or field.endswith((".folded", "[]")):
        return None
    system = tuple(key for key, name in FLAT_SYSTEM.items() if name == field)
    shipped = tuple(key for key in SHIPPER if f"nxlog.{key.lstrip('@')}" == field and key != "@timestamp")
    if system or shipped:
        return system + shipped
    if not field.startswith(DATA):
        return ()
    name = field.removeprefix(DATA)
    if name in FLAT_SYSTEM or name in SHIPPER:
        return None  # where two keys of one name are there the second one becomes event data
    if not name.isascii() or not name.replace("_", "").isalnum():
        return None
    return (name,)


def odd_key(key: str) -> str:
    """``Threat Name`` for ThreatName: another way to write a key of event data; "" if there is none."""
    spaced = _WORDS.sub(" ", key)
    return "" if spaced == key or key in FLAT_SYSTEM else spaced


def text_of_number(field: str, number: int) -> str:
    """A whole number as the parser writes it into `field`."""
    return f"0x{number & 0xFFFFFFFFFFFFFFFF:016x}" if field == "winlog.keywords" else str(number)
