"""What one rule has seen, what it has still to see and what it never will: its own view of the ledger, derived."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from soc.database import Database
from soc.detect.isolation import HELD, Isolated, Isolation
from soc.detect.ledger import EVERY_RULE, FILLED, LOST, Closed, Gap, Ledger
from soc.detect.ranges import Range, minus, union
from soc.detect.rulesets import sets_with
from soc.event import Lane, from_micros

__all__ = ["Coverage", "coverage", "coverage_lines", "coverage_out", "trouble"]

_MOST = 100_000
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Coverage:
    """One version of a rule and the positions of each lane: `judged` is how far the detectors are.

    Below that, what is in none of `seen`, `gaps` and `lost` came before this version was switched on (or while it was
    off): filling that is looking back, which a person asks for. `seen` includes what was filled late (`filled`).
    """

    rule_id: str
    version: str
    judged: dict[str, int]
    seen: dict[str, list[Range]]
    gaps: Sequence[Gap]
    filled: Sequence[Closed]
    lost: Sequence[Closed]
    isolated: Isolated | None

    def late(self, now: int) -> float:
        """Seconds since the oldest of its gaps opened; 0 without any."""
        return max(0.0, (now - min(gap.at for gap in self.gaps)) / 1e6) if self.gaps else 0.0


def coverage(database: Database, rule_id: str, version: str) -> Coverage:
    """The view of one version of one rule."""
    ledger = Ledger(database)
    with database.read() as connection:
        sets = sets_with(connection, rule_id, version)
    judged = {lane.value: at for lane, at in ledger.positions().items()}
    gaps = [*ledger.gaps(rule_id), *ledger.gaps(EVERY_RULE)]
    closed = ledger.closed(rule_id, _MOST)
    spans = ledger.spans(sets, _MOST)
    seen: dict[str, list[Range]] = {}
    for lane in (lane.value for lane in Lane):
        held = union((span.first, span.last) for span in spans if span.lane == lane)
        open_, past = [(gap.first, gap.last) for gap in gaps if gap.lane == lane], [one for one in closed if one.lane == lane]
        late = [(one.first, one.last) for one in past if one.outcome == FILLED and one.version in sets]
        held = [*minus(held, [(one.first, one.last) for one in past]), *late]
        held = minus(held, [*open_, *((one.first, one.last) for one in past if one.outcome == LOST)])
        if held:
            seen[lane] = held
    mine = [gap for gap in gaps if gap.rule_id == rule_id or _meets(gap, [(s.first, s.last) for s in spans if s.lane == gap.lane])]
    return Coverage(rule_id, version, judged, seen, mine, [one for one in closed if one.outcome == FILLED],
                    [one for one in closed if one.outcome == LOST], Isolation(database).all().get(rule_id))


def trouble(database: Database, now: int) -> dict[str, str]:
    """Rule -> a word on each rule that stands aside or has gaps: for lists."""
    found = {rule_id: f"{count} gap{'s' if count > 1 else ''}, {max(0, now - at) // 1_000_000} s late"
             for rule_id, (count, at) in Ledger(database).waiting().items() if rule_id != EVERY_RULE}
    return found | {rule_id: one.reason if one.kind == HELD else f"left out, {one.reason}" for rule_id, one in Isolation(database).all().items()}


def coverage_out(found: Coverage, now: int) -> dict[str, Any]:
    """As the API and `soc rules show` give it: times ISO 8601."""
    return {
        "judged": found.judged,
        "seen": [{"lane": lane, "first": first, "last": last} for lane, ranges in found.seen.items() for first, last in ranges],
        "gaps": [asdict(gap) | {"at": _iso(gap.at), "due": _iso(gap.due) if gap.due else None} for gap in found.gaps],
        "filled": [_closed(one) for one in found.filled[:100]],
        "lost": [_closed(one) for one in found.lost[:100]],
        "isolated": None if found.isolated is None else
        asdict(found.isolated) | {"since": _iso(found.isolated.since), "due": _iso(found.isolated.due) if found.isolated.due else None,
                                  "reason": found.isolated.reason},
        "seconds_late": round(found.late(now), 1),
    }


def coverage_lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same (as `coverage_out` gives it) in words, a (name, text) each."""
    lines = [("has seen", ", ".join(f"{one['lane']} {one['first']}-{one['last']}" for one in found["seen"]) or "nothing yet")]
    if (one := found["isolated"]) and one["kind"] == HELD:
        lines.append(("left out", f"{one['reason']} (since {one['since']}, until it is resumed)"))
    elif one:
        lines.append(("left out", f"{one['kind']}: {one['error']} (since {one['since']}, tried {one['attempts']} times, again {one['due']})"))
    for gap in found["gaps"][:_SHOWN]:
        tried = f" (tried {gap['attempts']} times, again {gap['due'] or 'now'}: {gap['error']})" if gap["attempts"] else ""
        lines.append(("has still to see", f"{gap['lane']} {gap['first']}-{gap['last']}: {gap['reason']}{tried}"))
    if len(found["gaps"]) > _SHOWN:
        lines.append(("has still to see", f"and {len(found['gaps']) - _SHOWN} more gaps"))
    lines += [("saw late", f"{one['lane']} {one['first']}-{one['last']} at {one['closed']}: {one['reason']}") for one in found["filled"][:_SHOWN]]
    lines += [("never saw", f"{one['lane']} {one['first']}-{one['last']}: {one['reason']}") for one in found["lost"][:_SHOWN]]
    if found["gaps"]:
        lines.append(("late", f"{found['seconds_late']:.0f} s"))
    return lines


def _closed(one: Closed) -> dict[str, Any]:
    return asdict(one) | {"opened": _iso(one.opened), "closed": _iso(one.closed)}


def _meets(gap: Gap, spans: Sequence[Range]) -> bool:
    return any(first < gap.last and gap.first < last for first, last in spans)


def _iso(micros: int) -> str:
    return from_micros(micros).isoformat(timespec="seconds")
