"""What a relay's rules would make of what came so far: how many records each agency gets by which rule, and what no rule fits."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from soc.access.relay import RelayRule, address_in, first_match
from soc.access.sources import Source
from soc.event import Scope
from soc.ingest.relaysplit import host_of
from soc.store.eventstore import EventStore, TimeRange

__all__ = ["Preview", "Seen", "Share", "hosts_seen", "preview_relay", "shares_of"]

_PAGE = 1000


@dataclass(slots=True)
class Share:
    """What a rule gets; `rule` None is what no rule fits. `hosts`: how many records each host has, "" without one."""

    rule: RelayRule | None
    agency: str
    records: int = 0
    hosts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest records of a relay: how many each host has, "" without one; the address they came from, "" where that is not known."""

    hosts: Counter[str]
    peer: str = ""

    @property
    def records(self) -> int:
        """How many were looked at."""
        return self.hosts.total()


@dataclass(frozen=True, slots=True)
class Preview:
    """A share for each rule, in their order, and the unmatched last. `seen`: the newest records that were looked at."""

    shares: tuple[Share, ...]
    seen: int


def preview_relay(events: EventStore, source: Source, rules: Sequence[RelayRule], scope: Scope, *, most: int = 10_000) -> Preview:
    """Let the rules meet the newest `most` records of a source, as they came. Raises StoreError."""
    seen = hosts_seen(events, source, scope, most=most)
    return Preview(shares_of(seen, source, rules), seen.records)


def hosts_seen(events: EventStore, source: Source, scope: Scope, *, most: int = 10_000) -> Seen:
    """The hosts of the newest `most` records of a source. Raises StoreError.

    From which address a record came is known where the source is bound to a single one.
    """
    hosts: Counter[str] = Counter()
    seen, after = 0, None
    while seen < most:
        hits = events.search(f"soc.source:{source.id}", scope, TimeRange(), min(_PAGE, most - seen), after, ("event.original",))
        hosts.update(host_of(str(event.get("event.original", "")).encode("utf-8", "replace")) for event in hits.events)
        seen, after = seen + len(hits.events), hits.next
        if after is None:
            break
    return Seen(hosts, source.addresses[0] if len(source.addresses) == 1 and address_in(source.addresses[0]) else "")


def shares_of(seen: Seen, source: Source, rules: Sequence[RelayRule]) -> tuple[Share, ...]:
    """What each rule gets of it, and last what none fits."""
    shares = [*(Share(rule, rule.agency) for rule in rules), Share(None, source.agency)]
    for host, records in seen.hosts.items():
        place = first_match(rules, host, seen.peer)
        share = shares[-1 if place is None else place]
        share.records += records
        share.hosts[host] += records
    return tuple(shares)
