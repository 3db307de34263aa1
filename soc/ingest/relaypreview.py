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

__all__ = ["Preview", "Share", "preview_relay"]

_PAGE = 1000


@dataclass(slots=True)
class Share:
    """What a rule gets; `rule` None is what no rule fits. `hosts`: how many records each host has, "" without one."""

    rule: RelayRule | None
    agency: str
    records: int = 0
    hosts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Preview:
    """A share for each rule, in their order, and the unmatched last. `seen`: the newest records that were looked at."""

    shares: tuple[Share, ...]
    seen: int


def preview_relay(events: EventStore, source: Source, rules: Sequence[RelayRule], scope: Scope, *, most: int = 10_000) -> Preview:
    """Let the rules meet the newest `most` records of a source, as they came. Raises StoreError.

    From which address a record came is known where the source is bound to a single one.
    """
    shares = [*(Share(rule, rule.agency) for rule in rules), Share(None, source.agency)]
    peer = source.addresses[0] if len(source.addresses) == 1 and address_in(source.addresses[0]) else ""
    seen, after = 0, None
    while seen < most:
        hits = events.search(f"soc.source:{source.id}", scope, TimeRange(), min(_PAGE, most - seen), after, ("event.original",))
        for event in hits.events:
            host = host_of(str(event.get("event.original", "")).encode("utf-8", "replace"))
            place = first_match(rules, host, peer)
            share = shares[-1 if place is None else place]
            share.records += 1
            share.hosts[host] += 1
        seen, after = seen + len(hits.events), hits.next
        if after is None:
            break
    return Preview(tuple(shares), seen)
