"""Our hits beside those of rsigma, pair by pair: ``python tests/bench/agree_rsigma.py``.

rsigma is looked for at SOC_TEST_RSIGMA, else on the path (`cargo install rsigma`). It reads flat events under Sigma's own
field names and one log source an event, so each event is given to it once per category it belongs to, under the names
of its source; what Security 4688 and 4657 call otherwise is added. A pair is (rule, event).
"""
from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import zstandard

from collectors.evtx import read_evtx
from collectors.lines import Tally
from soc.normalise.logsources import log_sources

Pairs = set[tuple[str, int]]

_ALSO: Final = {
    "process_creation": {
        "Image": "NewProcessName", "ParentImage": "ParentProcessName", "User": "SubjectUserName", "LogonId": "SubjectLogonId",
        "IntegrityLevel": "MandatoryLabel"},
    "registry": {"Image": "ProcessName", "TargetObject": "ObjectName", "Details": "NewValue", "User": "SubjectUserName"},
}
"""Names of Sysmon's and what Security calls the same thing."""
_SHOWN: Final = 12


def main() -> None:
    """Compare both sets, and print what only one of the two finds, by rule."""
    rsigma = os.environ.get("SOC_TEST_RSIGMA") or shutil.which("rsigma")
    shared = Path(os.environ.get("SOC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if rsigma is None or not shared.is_dir():
        print("rsigma is not here (set SOC_TEST_RSIGMA), or the shared sample data is not (set SOC_TEST_DATA)")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(shared / "sigma-rules.zip") as archive:
            members = [one for one in archive.namelist() if "/windows/" in one and one.endswith(".yml")]
            archive.extractall(folder / "pack", members)
        for title, records in (("evtx-attack-samples.zip", recorded(shared)), ("windows-events.jsonl.zst", shipped(shared))):
            raw, flat = folder / "raw.jsonl", folder / "flat.jsonl"
            count = written(records, raw, flat)
            ours, theirs = our_pairs(folder / "pack", raw), their_pairs(rsigma, folder / "pack", flat)
            report(f"{title}: {count} events", folder / "pack", raw, ours, theirs)


def recorded(shared: Path) -> Iterator[bytes]:
    """The records of every event log among the attack samples."""
    with zipfile.ZipFile(shared / "evtx-attack-samples.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.lower().endswith(".evtx"):
                yield from read_evtx(io.BytesIO(archive.read(name)), Tally())


def shipped(shared: Path) -> Iterator[bytes]:
    """The lines of the shipper's events."""
    with (shared / "windows-events.jsonl.zst").open("rb") as file:
        yield from io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file))  # type: ignore[arg-type]


def written(records: Iterable[bytes], raw: Path, flat: Path) -> int:
    """Write the records for us, and as rsigma wants them; returns how many there are."""
    number = 0
    with raw.open("wb") as ours, flat.open("w", encoding="utf-8") as theirs:
        for number, record in enumerate(records, start=1):
            ours.write(record.strip() + b"\n")
            event = flattened(json.loads(record))
            triples = log_sources().windows(str(event.get("Channel", "")), str(event.get("EventID", "")), str(event["Provider_Name"])).split()
            service = next((triple.split("/")[2] for triple in triples if triple.split("/")[2]), "-")
            categories = [triple.split("/")[1] for triple in triples if triple.split("/")[1]] or ["-"]
            for category in categories:
                hinted = {"product": "windows", "service": service, "category": category, "soc_line": number}
                theirs.write(json.dumps(event | renamed(event, category) | hinted, ensure_ascii=False) + "\n")
    return number


def flattened(record: dict[str, Any]) -> dict[str, Any]:
    """One record under Sigma's names: attributes of the system part joined by _, event data by name without spaces."""
    if "Event" not in record:
        event = {key.replace(" ", ""): value for key, value in record.items()}
        return event | {"Provider_Name": event.get("Provider_Name", event.get("SourceName", "")), "Computer": event.get("Hostname")}
    whole = record["Event"]
    event = {}
    for key, value in whole.get("System", {}).items():
        attributes = value.get("#attributes", {}) if isinstance(value, dict) else {}
        event |= {f"{key}_{name}": inner for name, inner in attributes.items()}
        event[key] = value.get("#text") if isinstance(value, dict) else value
    for part in ("EventData", "UserData"):
        event |= dict(_leaves(whole.get(part) or {}))
    return event


def _leaves(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if key == "#attributes":
            continue
        if isinstance(inner, dict) and "#text" in inner:
            yield key.replace(" ", ""), inner["#text"]
        elif isinstance(inner, dict):
            yield from _leaves(inner)
        else:
            yield key.replace(" ", ""), inner


def renamed(event: dict[str, Any], category: str) -> dict[str, Any]:
    """The names of Sysmon's that this event has under others."""
    names = _ALSO.get("registry" if category.startswith("registry") else category, {})
    return {name: event[other] for name, other in names.items() if name not in event and other in event}


def our_pairs(rules: Path, events: Path) -> Pairs:
    """What `soc rules match` finds."""
    command = [sys.executable, "-m", "soc.cli", "rules", "match", str(rules), str(events), "--format", "windows"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return {(rule_id, int(line)) for rule_id, line, *_ in (one.split("\t") for one in done.stdout.splitlines())}


def their_pairs(rsigma: str, rules: Path, events: Path) -> Pairs:
    """What rsigma finds, with its routing by log source."""
    command = [rsigma, "engine", "eval", "-r", str(rules), "--logsource-routing", "--quiet", "--output-format", "ndjson", "--include-event"]
    with events.open("rb") as file:
        done = subprocess.run(command, stdin=file, stdout=subprocess.PIPE, check=True)
    found = (json.loads(line) for line in done.stdout.splitlines())
    return {(hit["rule_id"], hit["event"]["soc_line"]) for hit in found}


def report(title: str, rules: Path, events: Path, ours: Pairs, theirs: Pairs) -> None:
    """Print totals, and the pairs that only one of the two has, by rule, with an event of each."""
    names = {path.read_text("utf-8").partition("\nid: ")[2][:36]: path.relative_to(rules) for path in rules.rglob("*.yml")}
    lines = events.read_bytes().splitlines()
    print(f"{title}; ours {len(ours)}, rsigma {len(theirs)}, both {len(ours & theirs)} pairs")
    for who, only in (("only ours", ours - theirs), ("only rsigma", theirs - ours)):
        counts = Counter(rule_id for rule_id, _ in only)
        print(f"  {who}: {len(only)} pairs of {len(counts)} rules")
        for rule_id, count in counts.most_common(_SHOWN if not os.environ.get("SOC_TEST_ALL") else None):
            first = min(line for rule, line in only if rule == rule_id)
            print(f"    {count:6} {rule_id} {names.get(rule_id)}; first at {first}: {lines[first - 1][:200].decode('utf-8', 'replace')}")


if __name__ == "__main__":
    main()
