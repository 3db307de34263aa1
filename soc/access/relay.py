"""Whose a relay's records are: ordered rules by host name or address, of which the first that fits names the agency."""
from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from soc.access.agencies import check_slug
from soc.errors import InputRefused

__all__ = ["MOST_RULES", "RelayEdit", "RelayRule", "address_in", "check_relay", "check_rule", "first_match"]

MOST_RULES = 1000
"""Rules of one source."""

_HOST = re.compile(r"[\w.*?:-]{1,255}")


@dataclass(frozen=True, slots=True)
class RelayRule:
    """Records of `host` (a name, capitals alike; * any characters, ? one) or from `address` (CIDR) belong to `agency`."""

    agency: str
    host: str = ""
    address: str = ""

    def __str__(self) -> str:
        return f"host {self.host}" if self.host else f"address {self.address}"


@dataclass(frozen=True, slots=True)
class RelayEdit:
    """The rules that a source had from `at` on (microseconds since 1970 UTC), and who wrote them ("" where nobody did)."""

    version: int
    rules: tuple[RelayRule, ...]
    at: int
    by: str


def check_relay(rules: Sequence[RelayRule]) -> tuple[RelayRule, ...]:
    """The rules as they are kept. Raises InputRefused with the number of the first that is none."""
    if len(rules) > MOST_RULES:
        raise InputRefused(f"a relay has at most {MOST_RULES} rules", remedy="join host names by *, and addresses by networks")
    return tuple(check_rule(number, rule) for number, rule in enumerate(rules, 1))


def check_rule(number: int, rule: RelayRule) -> RelayRule:
    """A rule as it is kept; `number` counts from 1. Raises InputRefused."""
    check_slug(rule.agency)
    if bool(rule.host) == bool(rule.address):
        raise InputRefused(f"rule {number}: either a host or an address is needed", remedy="name exactly one of them")
    if rule.host and not _HOST.fullmatch(rule.host):
        raise InputRefused(f"rule {number}: {rule.host[:64]!r} is no host",
                           remedy="letters, digits, . - _ :, * for any characters, ? for one")
    try:
        address = str(ipaddress.ip_network(rule.address, strict=False)) if rule.address else ""
    except ValueError as error:
        raise InputRefused(f"rule {number}: {rule.address[:64]!r} is no address", remedy="a host or CIDR such as 10.1.2.0/24") from error
    return RelayRule(rule.agency, rule.host.lower(), address)


def first_match(rules: Sequence[RelayRule], host: str, peer: str) -> int | None:
    """The place of the first rule that fits a record, None for none.

    A rule by address looks at the host if that is an address, as relays write it for devices without a name; else at the
    `peer`, from which the record came here.
    """
    name, address = host.lower(), address_in(host) or address_in(peer)
    return next((place for place, rule in enumerate(rules) if _fits(rule)(name, address)), None)


@lru_cache(maxsize=4096)
def address_in(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a text is; an IPv4 one within IPv6 as itself."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


@lru_cache(maxsize=4 * MOST_RULES)
def _fits(rule: RelayRule) -> Callable[[str, ipaddress.IPv4Address | ipaddress.IPv6Address | None], bool]:
    if rule.host:
        pattern = re.compile(fnmatch.translate(rule.host))
        return lambda name, address: pattern.match(name) is not None
    network = ipaddress.ip_network(rule.address)
    return lambda name, address: address is not None and address in network
