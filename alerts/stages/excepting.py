"""The stage `except`: matches that an exception covers are counted and kept, and raise nothing."""
from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from alerts.tables import EXCEPTED, plain

if TYPE_CHECKING:
    from alerts.pipeline import Delivery

__all__ = ["except_matches"]

_CHUNK = 2000


def except_matches(delivery: Delivery) -> None:
    """Move the excepted of `delivery.matches` into the table `excepted_matches`."""
    found = {(m.event_id, m.rule_id): m for m in delivery.matches if m.excepted_by}
    if not found:
        return
    delivery.matches = [m for m in delivery.matches if not m.excepted_by]
    identities = list(found)
    for start in range(0, len(identities), _CHUNK):
        part = identities[start : start + _CHUNK]
        known = select(EXCEPTED.c.event_id, EXCEPTED.c.rule_id).where(EXCEPTED.c.event_id.in_([event for event, _ in part]))
        for row in delivery.connection.execute(known):
            found.pop((row.event_id, row.rule_id), None)
    if found:
        delivery.connection.execute(insert(EXCEPTED), [
            {
                "event_id": m.event_id, "rule_id": m.rule_id, "excepted_by": plain(m.excepted_by),
                "rule_version": plain(m.rule_version), "agency": plain(m.agency), "entity": plain(m.entity),
                "origin": m.origin.value, "import_id": m.import_id,
                "event_time": m.event_time, "at": delivery.now,
            }
            for m in found.values()
        ])
