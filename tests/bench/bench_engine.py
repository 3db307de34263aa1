"""The engine alone, over columns: the whole public pack on the shared Windows events: ``python tests/bench/bench_engine.py``.

Cold, warm, in small batches, with every value unique, and what a waiting detector costs. CPU seconds of one process.
"""
from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from soc.detect.compiled import CompiledRule
from soc.detect.engine import Engine
from soc.detect.packs import read_pack
from soc.detect.rules import read_rules
from soc.event import FrameContext
from soc.normalise.records import Parsers
from soc.store.columns import batch_of

BATCH = 10_000
UNIQUE = ("CommandLine", "Image", "ParentImage", "ParentCommandLine", "CurrentDirectory", "Hashes")
WAITING = """
import sys, time
from pathlib import Path
from soc.database import STATE, Database, sqlite_url
from soc.detect.rulestore import RuleStore
from soc.detect.engine import Engine
database = Database.open(sqlite_url(Path(sys.argv[1])), STATE)
database.migrate()
if sys.argv[2:]:
    RuleStore(database).import_pack(Path(sys.argv[2]), now=1)
    sys.exit()
engine = Engine(RuleStore(database).enabled())
sizes = [line.strip() for line in open("/proc/self/smaps_rollup") if line.startswith(("Rss:", "Pss:"))]
print(f"a waiting detector: ready after {time.process_time():.2f} CPU s;", *sizes)
"""


def main() -> None:
    """Print every figure."""
    shared = Path(os.environ.get("SOC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not shared.is_dir():
        print("the shared sample data is not here (set SOC_TEST_DATA)")
        return
    waiting(shared)
    rules = whole_pack(shared)
    batches = windows_events(shared)
    engine = Engine(rules)
    run(engine, batches, "cold")
    run(engine, batches, "warm")
    edited = next(at for at, rule in enumerate(rules) if rule.logsource.category == "process_creation")
    run(Engine([*rules[:edited], replace(rules[edited], version="edited"), *rules[edited + 1:]], previous=engine), batches, "a process rule edited")
    engine = Engine(rules)
    run(engine, batches, "cold again")
    run(engine, [batches[0].slice(at, 200) for at in range(0, BATCH, 200)], "warm, 200 events a batch")
    print(f"peak of this process, the batches included: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    run(Engine(rules), unique_starts(batches), "process starts, all values unique")


def whole_pack(shared: Path) -> list[CompiledRule]:
    """The public pack, compiled."""
    began = time.process_time()
    found = [rule.rule for file in read_pack(shared / "sigma-rules.zip").files for rule in read_rules(file.path, file.data)[0]]
    print(f"{len(found)} rules read, checked and compiled in {time.process_time() - began:.2f} CPU s")
    return [rule for rule in found if rule is not None]


def windows_events(shared: Path) -> list[pa.RecordBatch]:
    """The shared Windows events as batches."""
    with (shared / "windows-events.jsonl.zst").open("rb") as file:
        lines = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file)).read().splitlines()
    context = FrameContext(source="bench", stream="bench", first=0, count=1, read_at=1, ingested=1)
    parsers = Parsers()
    return [batch_of([one.event for one in parsers.parse_frame(context, lines[at : at + BATCH]).events])
            for at in range(0, len(lines), BATCH)]


def unique_starts(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Some 20,000 process starts whose main fields never repeat: what memory cannot help."""
    starts = [batch.filter(pc.match_substring(batch.column("soc.log_sources"), "/process_creation/")) for batch in batches]
    made: list[pa.RecordBatch] = []
    number = 0
    for batch in starts * (20_000 // max(1, sum(batch.num_rows for batch in starts)) + 1):
        arrays = list(batch.columns)
        for at, name in enumerate(batch.schema.names):
            if name.removeprefix("winlog.event_data.") in UNIQUE:
                texts = arrays[at].to_pylist()
                arrays[at] = pa.array([None if text is None else f"{text} #{number + row}" for row, text in enumerate(texts)], pa.string())
        number += batch.num_rows
        made.append(pa.RecordBatch.from_arrays(arrays, names=batch.schema.names))
    table = pa.concat_tables([pa.Table.from_batches([batch]) for batch in made], promote_options="default")
    return table.combine_chunks().to_batches(max_chunksize=BATCH)


def run(engine: Engine, batches: list[pa.RecordBatch], name: str) -> None:
    """Match the batches and print how fast."""
    events = sum(batch.num_rows for batch in batches)
    began = time.process_time()
    hits = sum(len(engine.match(batch)) for batch in batches)
    took = time.process_time() - began
    print(f"{name}: {events:,} events, {hits:,} hits, {took:.2f} CPU s = {events / took:,.0f} events/s, "
          f"{engine.remembered / 1e6:.1f} MB remembered", flush=True)


def waiting(shared: Path) -> None:
    """Print what compiled rules cost a process that waits for events."""
    with tempfile.TemporaryDirectory() as folder:
        state = f"{folder}/state.db"
        subprocess.run([sys.executable, "-c", WAITING, state, str(shared / "sigma-rules.zip")], check=True)
        subprocess.run([sys.executable, "-c", WAITING, state], check=True)


if __name__ == "__main__":
    main()
