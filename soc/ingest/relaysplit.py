"""A relay's messages split among agencies before they enter the journal, by the host that their header names."""
from __future__ import annotations

import re
from collections.abc import Sequence

from soc.access.relay import RelayRule, first_match

__all__ = ["Splitter", "host_of"]

_HEADER = re.compile(
    rb"<\d{1,3}>1 (?:-|\d{4}-\d\d-\d\dT\S{1,40}) (\S{1,255}) \S"
    rb"|(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} {1,2}\d{1,2} (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,9})?(?: (?:UTC|GMT))?:?"
    rb"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?) ([^\s]{1,255}) ")
_MOST = 10_000


def host_of(record: bytes) -> str:
    """The host in a syslog header (RFC 5424, RFC 3164 and kin), "" without one; as the parser of syslog reads it."""
    found = _HEADER.match(record)
    if found is None:
        return ""
    host = found[1] or found[2]
    if found[1] is None and host.endswith((b":", b"]")):  # a program where the host is missing
        return ""
    return "" if host == b"-" else host.decode("utf-8", "replace")


class Splitter:
    """Remembers whose each host is, for one set of rules."""

    def __init__(self, rules: Sequence[RelayRule], otherwise: str) -> None:
        self._rules, self._otherwise = rules, otherwise
        self._known: dict[tuple[str, str], str] = {}

    def split(self, records: Sequence[bytes], peer: str) -> dict[str, list[bytes]]:
        """Agency -> its records, in their order; `otherwise` is the agency of what no rule fits."""
        parts: dict[str, list[bytes]] = {}
        for record in records:
            key = (host_of(record), peer)
            agency = self._known.get(key)
            if agency is None:
                if len(self._known) >= _MOST:
                    self._known.clear()
                place = first_match(self._rules, *key)
                agency = self._known[key] = self._otherwise if place is None else self._rules[place].agency
            parts.setdefault(agency, []).append(record)
        return parts
