"""Rules against JSON lines, beside rsigma in the same run: ``python tests/bench/bench_rsigma.py [--events 1000000]``.

Both engines get the Windows rules of the public pack and the same events: the shared Windows events grown by
`grow_events.py` (`Message` kept), and process starts whose long values are all unique. JSON parsing is included, loading
the rules is not: of rsigma, which is a process of its own, the time of a run over one event is taken off. CPU seconds,
user and system, the least of a few rounds in turn: a shared machine runs at half its speed for seconds or minutes.
rsigma (`cargo install rsigma --features daachorse-index`) is found on the PATH or by RSIGMA.
"""
from __future__ import annotations

import argparse
import gc
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
import grow_events
import orjson

from soc.commands.eventfile import EventFile
from soc.commands.rules_match import Matcher, match_file
from soc.detect.assembly import RuleSet
from soc.detect.compiled import CompiledRule
from soc.detect.rules import read_rules
from soc.event import FrameContext
from soc.normalise.logsources import log_sources
from soc.normalise.records import Parsers
from soc.store.columns import batch_of


class Cost(NamedTuple):
    """CPU microseconds an event, and how many hits there were."""

    each: float
    hits: int


def main() -> None:
    """Print every figure."""
    asks = argparse.ArgumentParser(description=__doc__)
    asks.add_argument("--events", type=int, default=1_000_000)
    asks.add_argument("--unique", type=int, default=50_000)
    asks.add_argument("--rounds", type=int, default=3, help="both in turn, so often; the least of each counts: what a busy machine adds is left out")
    asked = asks.parse_args()
    shared = Path(os.environ.get("SOC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not shared.is_dir():
        print("the shared sample data is not here (set SOC_TEST_DATA)")
        return
    rsigma = os.environ.get("RSIGMA") or shutil.which("rsigma")
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        rules = windows_rules(shared, folder)
        print(f"{len(rules)} rules")
        lines = grow_events.source(shared)
        for name, events in (("grown", grow_events.grown(lines, asked.events)), ("all values unique", grow_events.unique_starts(lines, asked.unique))):
            count = write(folder, events)
            if not rsigma:
                print("rsigma is not here: cargo install rsigma --features daachorse-index, or set RSIGMA")
            rounds = [(run_rsigma(rsigma, folder, count) if rsigma else None, run_ours(rules, folder / "events.jsonl", count)) for _ in range(asked.rounds)]
            report(name, rounds)
        columns(rules, lines)


def windows_rules(shared: Path, folder: Path) -> list[CompiledRule]:
    """The rules under rules/windows of the public pack, which also stand in `folder` afterwards."""
    found: list[CompiledRule] = []
    with zipfile.ZipFile(shared / "sigma-rules.zip") as pack:
        for name in sorted(pack.namelist()):
            if "rules/windows/" in name and name.endswith(".yml"):
                pack.extract(name, folder / "pack")
                found += [one.rule for one in read_rules(name, pack.read(name))[0] if one.rule is not None]
    return found


def write(folder: Path, events: object) -> int:
    """events.jsonl for us, and labelled.jsonl with the hints that rsigma routes by; how many events."""
    sources = log_sources()
    count = 0
    with (folder / "events.jsonl").open("wb") as plain, (folder / "labelled.jsonl").open("wb") as labelled:
        for line in events:  # type: ignore[attr-defined]
            event = orjson.loads(line)
            triples = sources.windows(event.get("Channel", ""), str(event["EventID"]), event.get("SourceName", "")).split()
            hints = {"product": "windows"}
            for part, place in (("category", 1), ("service", 2)):
                named = next((one.split("/")[place] for one in triples if one.split("/")[place]), "")
                hints |= {part: named} if named else {}
            plain.write(line + b"\n")
            labelled.write(b"{" + orjson.dumps(hints)[1:-1] + b"," + line[1:] + b"\n")
            count += 1
    return count


def report(name: str, rounds: list[tuple[Cost | None, tuple[Cost, Cost]]]) -> None:
    """The least of each, and how it compares."""
    least = min((theirs for theirs, _ in rounds if theirs is not None), default=None)
    if least is not None:
        print(f"{name}: rsigma {1e6 / least.each:,.0f} events/s ({least.each:.2f} µs an event), {least.hits} hits")
    for state, ours in (("cold", min(pair[0] for _, pair in rounds)), ("warm", min(pair[1] for _, pair in rounds))):
        ratio = f", {least.each / ours.each:.2f} x rsigma" if least is not None else ""
        print(f"{name}: ours {state} {1e6 / ours.each:,.0f} events/s ({ours.each:.2f} µs an event){ratio}, {ours.hits} hits")
    print(f"{name}: all rounds (rsigma, cold, warm): "
          + "; ".join(", ".join(f"{one.each:.2f}" for one in (theirs, *pair) if one is not None) for theirs, pair in rounds))


def run_rsigma(program: str, folder: Path, count: int) -> Cost:
    """What rsigma takes, loading the rules taken off."""
    with (folder / "labelled.jsonl").open("rb") as file:
        (folder / "one.jsonl").write_bytes(file.readline())
    load, _ = _rsigma(program, folder, "one.jsonl")
    whole, hits = _rsigma(program, folder, "labelled.jsonl")
    return Cost((whole - load) / count * 1e6, hits)


def _rsigma(program: str, folder: Path, events: str) -> tuple[float, int]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (folder / events).open("rb") as given, (folder / "hits.ndjson").open("wb") as out:
        subprocess.run([program, "engine", "eval", "-r", str(folder / "pack"), "--logsource-routing", "--quiet", "--output-format", "ndjson"],
                       stdin=given, stdout=out, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    hits = (folder / "hits.ndjson").read_bytes().count(b"\n")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, hits


def run_ours(rules: list[CompiledRule], events: Path, count: int) -> tuple[Cost, Cost]:
    """Cold (nothing remembered, the rules only compiled) and warm (the same events again), in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(_ours, rules, events, count).result()


def _ours(rules: list[CompiledRule], events: Path, count: int) -> tuple[Cost, Cost]:
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)  # as `soc rules match` does
    matcher = Matcher(RuleSet(rules), 1)
    return _pass(matcher, events, count), _pass(matcher, events, count)


def _pass(matcher: Matcher, events: Path, count: int) -> Cost:
    began, hits = time.process_time(), 0
    with EventFile(str(events)) as file:
        for found in match_file(matcher, file):
            hits += len(found)
    return Cost((time.process_time() - began) / count * 1e6, hits)


def columns(rules: list[CompiledRule], lines: list[bytes]) -> None:
    """The live path's side of the engine: batches of columns as cuts hold them, parsing apart."""
    context = FrameContext(source="bench", stream="bench", first=0, count=1, read_at=1, ingested=1)
    parsers = Parsers()
    batches = [batch_of([one.event for one in parsers.parse_frame(context, lines[at : at + 5_000]).events]) for at in range(0, len(lines), 5_000)]
    engine = Matcher(RuleSet(rules), 1).engine
    for state in ("cold", "warm"):
        began = time.process_time()
        hits = sum(len(engine.match(batch)) for batch in batches)
        each = (time.process_time() - began) / len(lines) * 1e6
        print(f"columns of cuts: {state} {1e6 / each:,.0f} events/s ({each:.2f} µs an event), {hits} hits")


if __name__ == "__main__":
    main()
