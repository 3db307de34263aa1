"""The golden cases of tests/golden/sigma: read once for the engine's own tests and for those through the commands."""
from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from soc.event import Event
from soc.store.fold import add_folded

GOLDEN = Path(__file__).resolve().parent / "golden" / "sigma"
ROUTED = "routed"


@cache
def cases() -> list[tuple[str, dict[str, Any]]]:
    """(theme, case) of every case, in order."""
    return [(path.stem, case) for path in sorted(GOLDEN.glob("*.yml"))
            for case in yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)]


def rule_text(case: dict[str, Any], rule_id: str = "") -> str:
    """The rule that a case is about."""
    detection = case.get("detection") or f"\n  s:\n    {case['s']}\n  condition: s"
    source = case.get("logsource", {"category": "golden"})
    identity = f"id: {rule_id}\n" if rule_id else ""
    return f"title: golden\n{identity}logsource: {source}\nlevel: low\ndetection: {detection}\n"


def records(case: dict[str, Any]) -> list[tuple[dict[str, Any], bool]]:
    """(record, whether it must match), as a source would send it."""
    found = []
    for expected, name in ((True, "match"), (False, "miss")):
        for record in case.get(name, ()):
            grown = {key: "x" * case["long"] + value for key, value in record.items()} if "long" in case else record
            found.append((grown, expected))
    return found


def event_of(record: dict[str, Any]) -> Event:
    """A record as the event it becomes: an explicit null, or a list of nothing, is named in soc.null_fields; folded copies are made."""
    event: Event = {name: value for name, value in record.items() if value not in (None, [])}
    nulls = [name for name, value in record.items() if value in (None, [])]
    add_folded(event)
    return event | ({"soc.null_fields": nulls} if nulls else {})


def numbers(case: dict[str, Any]) -> set[int]:
    """The numbers of the conformance list that a case stands for ("12 and 13 …", "5b …")."""
    found = re.match(r"(\d+)[a-z]?(?: and (\d+))? ", case["name"])
    return {int(number) for number in found.groups() if number} if found else set()
