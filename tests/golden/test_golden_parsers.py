"""Every case of `tests/golden/parsers/<dataset>/` gives exactly its expected events.

A `.log` is one record a line; a `.json` or `.raw` is one record whole. `<case>.context.json` may change the frame's
context. `SOC_UPDATE_GOLDEN=1` writes the expectations anew, to be read in review.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from soc.event import FrameContext
from soc.normalise.records import Parsers

FOLDER = Path(__file__).parent / "parsers"
READ_AT = 1_709_251_200_000_000  # 2024-03-01T00:00:00Z
UPDATE = os.environ.get("SOC_UPDATE_GOLDEN") == "1"
CASES = sorted(
    path
    for path in FOLDER.glob("*/*")
    if path.suffix in (".log", ".raw")
    or (path.suffix == ".json" and not path.name.endswith((".expected.json", ".context.json")))
)
PARSERS = Parsers()


def outcome(path: Path) -> list[dict[str, Any]]:
    """What the records of a case become, in their order."""
    data = path.read_bytes()
    records = data.splitlines() if path.suffix == ".log" else [data.removesuffix(b"\n")]
    overrides = path.with_suffix(".context.json")
    context = FrameContext(
        source="golden",
        stream="case",
        first=0,
        count=len(records),
        read_at=READ_AT,
        ingested=READ_AT,
        **(orjson.loads(overrides.read_bytes()) if overrides.exists() else {}),
    )
    parsed = PARSERS.parse_frame(context, records)
    rows: list[dict[str, Any]] = [{} for _ in records]
    for one in parsed.events:
        event = dict(one.event)
        if event["event.original"] == records[one.index].decode("utf-8", "replace"):
            del event["event.original"]
        rows[one.index] = {"family": one.family, "event": event}
    for dead in parsed.dead:
        rows[dead.index] = {"dead": dead.reason}
    return rows


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_golden_case_gives_its_expected_events(path: Path) -> None:
    rows = outcome(path)
    expected = path.with_name(path.stem + ".expected.json")
    if UPDATE:
        expected.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    assert rows == orjson.loads(expected.read_bytes())
    datasets = {row["event"]["event.dataset"] for row in rows if "event" in row}
    assert path.parent.name in ("json", "refused") or path.stem == "within" or datasets == {path.parent.name}


def test_every_parser_has_a_golden_case() -> None:
    assert {path.parent.name for path in CASES} >= set(PARSERS.names())
