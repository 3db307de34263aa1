"""Health: how far behind each stage and lane is, what is damaged or lost, and what the disk says. Read, never guessed.

The live lane decides; bulk stands beside it.
"""
from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from soc.config import Config
from soc.demo import pack
from soc.detect.isolation import HELD, Isolation
from soc.detect.ledger import EVERY_RULE, Ledger
from soc.detect.rulestore import RuleStore
from soc.event import Lane
from soc.ingest.journal import Mark, journal_folder
from soc.ingest.waiting import Waiting
from soc.processes import detectors
from soc.store.disk import RealDisk
from soc.store.manifest import Manifest

__all__ = ["LATE", "STALE", "Health"]

STALE = 10.0
"""Seconds without a heartbeat after which a role counts as dead."""

LATE = 30.0
"""Seconds behind after which the live lane is not well."""


class Health:
    """Answers `report()` for the API, the pages, `soc store status` and the end-to-end tests."""

    def __init__(self, *, data: Path, config: Config, manifest: Manifest, ledger: Ledger) -> None:
        self._data, self._config, self._manifest, self._ledger = data, config, manifest, ledger
        self._waiting = {lane: Waiting(RealDisk(), data, lane) for lane in Lane}

    def report(self) -> dict[str, Any]:
        """Status ("ok", "warning", "failing"), reasons, and per lane and stage positions, waiting records and seconds behind."""
        now = time.time()
        notes = {role: self._note(role) for role in ("gateway", "normaliser", *detectors(self._config), "console")}
        judged = self._ledger.positions()
        lanes = {lane.value: self._lane(lane, judged.get(lane, 0), now) for lane in Lane}
        used = RealDisk().used(self._data)
        reasons: list[str] = []
        for role in ("gateway", "normaliser", *detectors(self._config)):
            if not notes[role] or not alive(notes[role]):
                reasons.append(f"{role} is not running")
            elif now - float(notes[role].get("at", 0)) > STALE:
                reasons.append(f"{role} has not been heard of for {now - float(notes[role].get('at', 0)):.0f} s")
        failing = bool(reasons)
        live = lanes[Lane.LIVE.value]
        if live["late"]:
            failing = True
            reasons.append(f"the live lane is {live['seconds_behind']:.0f} s behind; {live['waiting']} records wait")
        if used >= self._config.disk.refuse:
            failing = True
            reasons.append(f"the disk is {used:.0%} full: new records are refused")
        elif used >= self._config.disk.warn:
            reasons.append(f"the disk is {used:.0%} full")
        quarantined = self._manifest.quarantined()
        losses = self._manifest.losses(20)
        ledger = self._ledger_facts(int(now * 1e6))
        reasons += [f"{len(quarantined)} damaged file(s) quarantined"] if quarantined else []
        reasons += [f"{len(losses)} loss record(s)"] if losses else []
        reasons += _lost_messages(notes["gateway"])
        reasons += ledger.pop("reasons")
        head = self._manifest.head()
        return {
            "status": "failing" if failing else "warning" if reasons else "ok",
            "reasons": reasons,
            "at": now,
            "lanes": lanes,
            "roles": notes,
            "disk": {"used": round(used, 4), "warn": self._config.disk.warn, "refuse": self._config.disk.refuse},
            "manifest": {"head": head.seq, "hash": head.hash},
            "quarantined": [{"path": path, "reason": why} for _, path, why in quarantined],
            "losses": [{"at": at, "lane": lane, "first": x.first, "last": x.last, "path": x.path, "reason": x.reason} for at, lane, x in losses],
            "ledger": ledger,
        }

    def _ledger_facts(self, now: int) -> dict[str, Any]:
        """Gaps of rules that are on (`waiting`: of how many rules; the 20 oldest named), rules left out, and both in words.

        The rules that the demonstration holds stand apart, and nothing about them is a reason to worry.
        """
        waiting, database = self._ledger.waiting(), self._ledger.database
        isolated = Isolation(database).all()
        on = RuleStore(database).known([*waiting, *isolated], enabled=True) | {EVERY_RULE}
        shown = pack.there(database) if not pack.RULES.keys().isdisjoint([*waiting, *isolated]) else set()
        gaps = [{"rule_id": g.rule_id, "lane": g.lane, "first": g.first, "last": g.last, "reason": g.reason, "attempts": g.attempts,
                 "error": g.error} for g in self._ledger.gaps(limit=1000) if g.rule_id in on]
        apart = {"gaps": [gap for gap in gaps if gap["rule_id"] in shown][:20],
                 "isolated": {rule_id: one.reason for rule_id, one in isolated.items() if rule_id in on & shown}}
        on -= shown
        waiting = {rule_id: facts for rule_id, facts in waiting.items() if rule_id in on}
        isolated = {rule_id: one for rule_id, one in isolated.items() if rule_id in on}
        held = sum(one.kind == HELD for one in isolated.values())
        late = max(0.0, (now - min(at for _, at in waiting.values())) / 1e6) if waiting else 0.0
        reasons = [f"{len(isolated) - held} rule(s) failed and are left out"] if len(isolated) > held else []
        reasons += [f"{held} rule(s) are held by somebody and judge nothing"] if held else []
        reasons += [f"{len(waiting)} rule(s) have gaps to be filled, the oldest for {late:.0f} s"] if waiting else []
        return {
            "gaps": [gap for gap in gaps if gap["rule_id"] in on][:20],
            "waiting": len(waiting), "seconds_late": round(late, 1),
            "isolated": {rule_id: one.reason for rule_id, one in isolated.items()}, "demonstration": apart, "reasons": reasons}

    def _lane(self, lane: Lane, judged: int, now: float) -> dict[str, Any]:
        received = received_through(self._data, lane)
        normalised = self._manifest.cursor(lane)
        received = max(received, normalised)
        stages = {"normaliser": {"waiting": received - normalised, "seconds_behind": self._unread(lane, received, normalised, now)},
                  "detector": {"waiting": max(0, normalised - judged), "seconds_behind": self._unjudged(lane, normalised, judged, now)}}
        behind = max(stage["seconds_behind"] for stage in stages.values())
        return {"received": received, "normalised": normalised, "judged": judged, "waiting": received - judged,
                "seconds_behind": behind, "late": behind > LATE, "stages": stages}

    def _unread(self, lane: Lane, received: int, normalised: int, now: float) -> float:
        """Seconds since the oldest record that is no event yet was received."""
        since = self._waiting[lane].since(normalised) if received > normalised else None
        return _ago(since, now)

    def _unjudged(self, lane: Lane, normalised: int, judged: int, now: float) -> float:
        """Seconds since the oldest event that is not judged came into the store."""
        if normalised <= judged:
            return 0.0
        return _ago(self._manifest.waiting_since(lane, judged), now)

    def _note(self, role: str) -> dict[str, Any]:
        try:
            found = json.loads((self._data / "run" / f"{role}.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _lost_messages(gateway: Mapping[str, Any]) -> list[str]:
    """What came as far as the gateway and was lost there since it started, by reason, in words."""
    lost = gateway.get("lost")
    if not isinstance(lost, dict) or not lost:
        return []
    by = ", ".join(f"{reason} {count}" for reason, count in sorted(lost.items()))
    return [f"{sum(lost.values())} syslog message(s) lost since the gateway started: {by}"]


def _ago(micros: int | None, now: float) -> float:
    return 0.0 if micros is None else round(max(0.0, now - micros / 1e6), 1)


def alive(note: Mapping[str, Any]) -> bool:
    """Whether the process that wrote a note is still there."""
    try:
        os.kill(int(note.get("pid", 0)), 0)
    except (ProcessLookupError, ValueError, TypeError):
        return False
    except PermissionError:
        return True
    return int(note.get("pid", 0)) > 0


def received_through(data: Path, lane: Lane) -> int:
    """The next sequence of a lane's journal, from its committed mark."""
    try:
        return Mark(journal_folder(data, lane) / "mark", write=False).get() or 0
    except (OSError, ValueError):
        return 0
