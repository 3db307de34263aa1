"""Grows the shared Windows events to any number, seeded: ``python tests/bench/grow_events.py 1000000 events.jsonl``.

Each pass over the source writes every line once more with other identifiers: digits and hex letters of GUIDs, long numbers
and SIDs are substituted by a permutation of the pass, so that what was distinct stays distinct and what was equal within a
line stays equal (a field and its place in `Message` agree); user, host and file names get the pass's mark where they occur.
So in any 100,000 consecutive events each field has at least the share of distinct values that it has in the source:
``--check`` counts that. With ``--unique N`` it writes process starts instead whose six long values are all unique.
"""
from __future__ import annotations

import argparse
import io
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import orjson
import zstandard

_SPRINKLED = 0.03
_KEPT = frozenset({"Channel", "SourceName", "Provider_Name", "ProviderGuid", "@timestamp", "@version", "EventTime", "EventReceivedTime",
                   "UtcTime", "TimeCreated", "CreationUtcTime", "PreviousCreationUtcTime"})
"""What says where an event belongs and when it was."""
SEED = 20_261_125
WINDOW = 100_000
_IDENTIFIERS = re.compile(
    rb"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|(?<![0-9xX.])[1-9][0-9]{4,9}(?![0-9])|0x[0-9a-f]{5,}")
_YEAR = re.compile(rb"(?<![0-9])20[0-2][0-9](?=-[01][0-9]-[0-3][0-9])")
_NAMES = re.compile(rb"(?i)(pgustavo|wardog|sbeavers|nmartha|lrodriguez|bjersey|mordor|theshire|shire|workstation)(?=[^a-z])")
_UNIQUE = ("CommandLine", "Image", "ParentImage", "ParentCommandLine", "CurrentDirectory", "Hashes")


def source(shared: Path) -> list[bytes]:
    """The lines of windows-events.jsonl.zst."""
    with (shared / "windows-events.jsonl.zst").open("rb") as file:
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file)).read().splitlines()


def grown(lines: list[bytes], count: int, seed: int = SEED) -> Iterator[bytes]:
    """`count` lines: the source as it is, then passes of it with other identifiers."""
    chance = random.Random(seed)
    written = 0
    number = 0
    while written < count:
        change = _change(chance, number) if number else None
        for line in lines[: count - written]:
            yield change(line) if change else line
        written += len(lines)
        number += 1


def _change(chance: random.Random, number: int):  # type: ignore[no-untyped-def]
    digits, letters = list(b"123456789"), list(b"abcdef")
    chance.shuffle(digits)
    chance.shuffle(letters)
    upper = bytes(letters).upper()
    table = bytes.maketrans(b"123456789abcdefABCDEF", bytes(digits) + bytes(letters) + upper)
    mark = b"%02d" % number

    def change(line: bytes) -> bytes:
        line = _IDENTIFIERS.sub(lambda found: found[0].translate(table), line)
        line = _YEAR.sub(lambda found: b"%d" % (int(found[0]) - 4 * number), line)
        line = _NAMES.sub(lambda found: found[0] + mark, line)
        return _sprinkle(line, chance) if chance.random() < _SPRINKLED else line

    return change


def _sprinkle(line: bytes, chance: random.Random) -> bytes:
    """The line with its values marked, so that windows that cut a pass in two lose no variety."""
    event = orjson.loads(line)
    for key, value in event.items():
        if key not in _KEPT and isinstance(value, str) and key != "Message":
            event[key] = f"{value} ~{chance.getrandbits(32):x}"
    return orjson.dumps(event)


def unique_starts(lines: list[bytes], count: int, seed: int = SEED) -> Iterator[bytes]:
    """Process starts (Sysmon 1), each long value unlike every other."""
    starts = [one for one in map(orjson.loads, lines) if one["EventID"] == 1 and one.get("CommandLine")]
    chance = random.Random(seed)
    for number in range(count):
        event = dict(starts[number % len(starts)])
        event.pop("Message", None)
        for field in _UNIQUE:
            if isinstance(value := event.get(field), str):
                at = chance.randrange(len(value) + 1)
                event[field] = f"{value[:at]}{number:07x}{value[at:]}" if field != "Hashes" else re.sub(
                    "[0-9A-F]{8}", lambda _: f"{chance.getrandbits(32):08X}", value)
        yield orjson.dumps(event)


def shares(lines: Iterator[bytes], window: int = WINDOW, step: int = 50_000) -> list[dict[str, float]]:
    """Per window of `window` consecutive lines each field's share of distinct values among the events that have it."""
    rows: list[dict[str, int]] = []
    found: list[dict[str, float]] = []
    for line in lines:
        rows.append({key: hash(value if isinstance(value, str) else repr(value)) for key, value in orjson.loads(line).items()})
        if len(rows) == window:
            found.append(_shares(rows))
            del rows[:step]
    return found or [_shares(rows)]


def _shares(rows: list[dict[str, int]], least: int = 1_000) -> dict[str, float]:
    """Of fields that at least so many of the events have: rarer ones come and go with a single machine."""
    present: Counter[str] = Counter()
    distinct: dict[str, set[int]] = {}
    for row in rows:
        present.update(row.keys())
        for key, value in row.items():
            distinct.setdefault(key, set()).add(value)
    return {key: len(values) / present[key] for key, values in distinct.items() if present[key] >= least}


def main() -> None:
    """Write the file, or check one."""
    asks = argparse.ArgumentParser(description=__doc__)
    asks.add_argument("count", type=int)
    asks.add_argument("file", type=Path)
    asks.add_argument("--unique", action="store_true")
    asks.add_argument("--check", action="store_true")
    asked = asks.parse_args()
    lines = source(Path(os.environ.get("SOC_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")))
    if asked.check:
        with asked.file.open("rb") as file:
            _check(_shares([{k: hash(v if isinstance(v, str) else repr(v)) for k, v in orjson.loads(x).items()} for x in lines]), file)
        return
    with asked.file.open("wb") as out:
        for line in (unique_starts if asked.unique else grown)(lines, asked.count):
            out.write(line + b"\n")


def _check(source_shares: dict[str, float], file: BinaryIO) -> None:
    windows = shares(iter(file))
    low = 0
    for field, share in sorted(source_shares.items()):
        least = min((window[field] for window in windows if field in window), default=0.0)
        if least < share - 0.0005:
            low += 1
            print(f"{field}: source {share:.4f}, least window {least:.4f}")
    print(f"{len(windows)} windows; {low} of {len(source_shares)} fields below the source's share")
    for field in ("TargetObject", "CommandLine", "ContextInfo"):
        print(f"{field}: source {source_shares[field]:.3f}, least window {min(w[field] for w in windows):.3f}")
    sys.exit(low > 0)


if __name__ == "__main__":
    main()
