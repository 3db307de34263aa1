"""What happens to a match after the engine: one list of stages, run inside the detector's transaction.

The sentence is except → suppress → group → enrich → route → notify; stages stand here once they do something.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from alerts.model import Alert
from alerts.stages.excepting import except_matches
from alerts.stages.grouping import group
from alerts.stages.withdrawing import withdraw
from soc.detect.match import Match

__all__ = ["STAGES", "AlertPipeline", "Delivery", "Stage"]


@dataclass(slots=True)
class Delivery:
    """One batch of matches on its way: `matches` still to be handled, `alerts` those it raised or changed.

    `now` is microseconds since 1970 UTC; everything is written through `connection`.
    """

    connection: Connection
    matches: Sequence[Match]
    now: int
    alerts: list[Alert] = field(default_factory=list)


Stage = Callable[[Delivery], None]

STAGES: tuple[Stage, ...] = (
    except_matches,
    group,
)


class AlertPipeline:
    """Takes matches from the detector (`soc.detect.match.MatchSink`): exactly once in effect, however often delivered."""

    def __init__(self, stages: Sequence[Stage] = STAGES) -> None:
        self._stages = tuple(stages)

    def deliver(self, connection: Connection, matches: Sequence[Match], now: int) -> None:
        """Run the stages over `matches`. A match that came before (same rule and event id) changes nothing."""
        delivery = Delivery(connection, matches, now)
        for stage in self._stages:
            if not delivery.matches and not delivery.alerts:
                return
            stage(delivery)

    def withdraw(self, connection: Connection, matches: Sequence[tuple[str, str]], now: int) -> None:
        """Take matches back, by (rule id, event id). Alerts that somebody has touched keep them."""
        withdraw(connection, matches, now)
