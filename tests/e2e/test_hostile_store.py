"""F6, F28, F29, F5 at a centre's own files: lost, emptied, older, newer and damaged ones. What is there is served, what is
not is named, and nothing that a newer version wrote is touched.
"""
from __future__ import annotations

import hashlib
import json
import random
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BATCH = 60
SETTINGS = {"SOC_JOURNAL__FILE_SIZE": "64KiB", "SOC_COMPACTION__MINUTE": "5s", "SOC_COMPACTION__GRACE": "3s", "SOC_STORE__QUERY_TIMEOUT": "2s"}


@dataclass
class Kept:
    """A stopped centre whose first records are compacted and gone from the journal, and its node.db of an earlier time."""

    folder: Path
    token: str
    older: Path
    sent: int
    events: int


def send(centre: Any, token: str, first: int, batches: int, *, bad: bool = False) -> int:
    """Numbered batches of about 20 kB from `first` on, one record of each no JSON if `bad`; returns the records."""
    chance = random.Random(first)
    for turn in range(batches):
        at = first + turn * BATCH
        lines = [b'{"mark":"kept","number":%d,"noise":"%s"}' % (n, chance.randbytes(140).hex().encode()) for n in range(at, at + BATCH)]
        if bad:
            lines[7] = b'{"cut off":'
        status, answer = centre.post("/ingest/v1/batches", b"\n".join(lines) + b"\n", {
            "Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson", "Soc-Stream": "kept", "Soc-First": str(at),
            "Soc-Count": str(BATCH)})
        assert status == 200, answer
    return batches * BATCH


def journal(centre: Any) -> list[Path]:
    return sorted((centre.data / "journal" / "live").glob("*.jrn"))


@pytest.fixture(scope="module")
def kept(centres: Callable[..., Any], wait_for: Any, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    centre = centres(**SETTINGS)
    token = centre.source("keeper", "--format", "json")
    centre.up()
    sent = send(centre, token, 0, 20, bad=True)
    centre.settled()
    older = tmp_path_factory.mktemp("older") / "node.db"
    with closing(sqlite3.connect(centre.data / "node.db")) as now, closing(sqlite3.connect(older)) as then:
        now.backup(then)
    sent += send(centre, token, sent, 20)
    centre.settled()

    def settled() -> bool:
        return bool(list((centre.data / "segments").rglob("*.parquet")) and journal(centre)[0].stem.strip("0")
                    and not list((centre.data / "cuts" / "live").glob("*/*.arrow")))

    wait_for(settled, 60, 0.5)
    sent += send(centre, token, sent, 4)
    centre.settled()
    assert centre.stop() == 0
    events = centre.count("mark:kept")
    assert events == sent - 20
    return Kept(centre.data.parent, token, older, sent, events)


@pytest.fixture
def again(centres: Callable[..., Any], kept: Kept, tmp_path: Path) -> Any:
    """A copy of the kept centre, not started."""
    shutil.copytree(kept.folder, tmp_path / "copy", ignore=lambda folder, names: [n for n in names if n.endswith(".sock")])
    return centres(tmp_path / "copy", **SETTINGS)


def goes_on(centre: Any, kept: Kept, lost: int = 0) -> None:
    """It starts, holds what it held, and takes new records and old ones again as what they are."""
    centre.up("--role", "gateway", "--role", "normaliser", "--role", "detector")
    normalised(centre, kept.sent)
    assert centre.count("mark:kept") == kept.events - lost
    assert send(centre, kept.token, kept.sent, 2) == 2 * BATCH
    normalised(centre, kept.sent + 2 * BATCH)
    assert centre.count("mark:kept") == kept.events - lost + 2 * BATCH
    assert centre.restarts() == {}
    assert centre.stop() == 0


def normalised(centre: Any, at: int, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while centre.status()["lanes"]["live"]["normalised"] < at:
        assert time.monotonic() < until, centre.status()
        time.sleep(0.1)


def drop_node(centre: Any) -> None:
    for path in centre.data.glob("node.db*"):
        path.unlink()


def test_a_lost_node_db_is_rebuilt_from_the_files(again: Any, kept: Kept) -> None:
    drop_node(again)
    goes_on(again, kept)
    status = again.status()
    assert status["losses"], "dead letters and received numbers went with node.db: that must be said"
    assert "node.db" in status["losses"][0]["path"]


def test_an_empty_node_db_is_rebuilt_from_the_files(again: Any, kept: Kept) -> None:
    drop_node(again)
    (again.data / "node.db").touch()
    goes_on(again, kept)
    assert again.status()["losses"]


def test_a_node_db_that_is_none_is_refused_with_what_to_do(again: Any, kept: Kept) -> None:
    drop_node(again)
    (again.data / "node.db").write_bytes(b"no database at all\n" * 500)
    refused = again.soc("serve", check=False)
    assert refused.returncode == 1
    assert "node.db" in refused.stderr
    assert "move it away" in refused.stderr
    (again.data / "node.db").rename(again.data.parent / "node.db.damaged")
    goes_on(again, kept)


def test_an_older_node_db_is_brought_up_to_date_from_the_files(again: Any, kept: Kept) -> None:
    drop_node(again)
    shutil.copy(kept.older, again.data / "node.db")
    goes_on(again, kept)
    assert again.status()["losses"]
    faults = [row for row in again.json_or_fault("store", "verify") if row["place"] != "node.db"]
    assert faults == []


def test_a_store_without_its_journal_takes_new_records_all_the_same(again: Any, kept: Kept) -> None:
    """Everything in it was normalised already: nothing is lost, and sequences are not used twice."""
    for path in journal(again):
        path.unlink()
    goes_on(again, kept)


def test_a_journal_without_its_mark_goes_on(again: Any, kept: Kept) -> None:
    (again.data / "journal" / "live" / "mark").unlink()
    goes_on(again, kept)


def test_an_emptied_journal_file_and_mark_lose_nothing_that_was_normalised(again: Any, kept: Kept) -> None:
    journal(again)[-1].write_bytes(b"")
    (again.data / "journal" / "live" / "mark").write_bytes(b"")
    goes_on(again, kept)


def test_what_was_not_normalised_yet_and_is_gone_is_named_as_lost(again: Any, kept: Kept) -> None:
    again.up("--role", "gateway")
    send(again, kept.token, kept.sent, 12)
    assert again.stop() == 0
    files = journal(again)
    unread = [path for path in files if int(path.stem) >= kept.sent]
    assert len(unread) >= 3
    gone, after = int(unread[1].stem), int(unread[2].stem)
    unread[1].unlink()
    again.start("--role", "normaliser", "--role", "detector")
    again.settled()
    assert again.count("mark:kept") == kept.events + 12 * BATCH - (after - gone)
    losses = again.status()["losses"]
    assert [(loss["first"], loss["last"]) for loss in losses] == [(gone, after)]
    assert "missing" in losses[0]["reason"]
    verified = again.soc("store", "verify", check=False)
    assert verified.returncode == 1
    assert f"live {gone}–{after}" in verified.stdout
    assert again.stop() == 0


def test_a_flipped_byte_in_an_unread_frame_costs_that_frame_and_is_quarantined(again: Any, kept: Kept) -> None:
    again.up("--role", "gateway")
    send(again, kept.token, kept.sent, 6)
    assert again.stop() == 0
    unread = [path for path in journal(again) if int(path.stem) >= kept.sent]
    body = bytearray(unread[0].read_bytes())
    body[len(body) // 2] ^= 0x10
    unread[0].write_bytes(body)
    again.start("--role", "normaliser", "--role", "detector")
    again.settled()
    assert again.count("mark:kept") == kept.events + 5 * BATCH
    (loss,) = again.status()["losses"]
    assert loss["last"] - loss["first"] == BATCH
    assert list((again.data / "quarantine").glob("live-*.frame"))
    assert again.restarts() == {}
    assert again.stop() == 0


def fingerprint(data: Path) -> dict[str, str]:
    """The content of every file but those of running processes; of a database what it holds, not how."""
    def content(path: Path) -> bytes:
        if path.suffix != ".db":
            return path.read_bytes()
        with closing(sqlite3.connect(path)) as database:
            return "\n".join([*database.iterdump(), str(database.execute("PRAGMA user_version").fetchone())]).encode()

    return {str(path.relative_to(data)): hashlib.sha256(content(path)).hexdigest() for path in sorted(data.rglob("*"))
            if path.is_file() and path.relative_to(data).parts[0] not in ("run", "tmp", "lock") and not path.name.endswith(("-wal", "-shm"))}


def newer_card(data: Path) -> None:
    card = json.loads((data / "centre.json").read_text())
    (data / "centre.json").write_text(json.dumps({**card, "format": 2}))


def newer_node(data: Path) -> None:
    with closing(sqlite3.connect(data / "node.db")) as node:
        node.execute("PRAGMA user_version = 99")


def newer_state(data: Path) -> None:
    with closing(sqlite3.connect(data / "state.db")) as state, state:
        (table,) = [name for (name,) in state.execute("SELECT name FROM sqlite_master WHERE name LIKE 'alembic_version%'")]
        state.execute(f"INSERT INTO {table} VALUES ('alerts_9999')")
        state.execute("UPDATE migrated_state SET names = names || ' alerts_9999'")


@pytest.mark.parametrize("make_newer", [newer_card, newer_node, newer_state])
def test_what_a_newer_version_wrote_is_refused_and_untouched(again: Any, kept: Kept, make_newer: Callable[[Path], None]) -> None:
    make_newer(again.data)
    before = fingerprint(again.data)
    for arguments in (["serve"], ["alerts", "list"]) if make_newer is newer_state else (["serve"], ["events", "count"], ["store", "verify"]):
        refused = again.soc(*arguments, check=False)
        assert refused.returncode == 1, arguments
        assert "Traceback" not in refused.stderr
        assert "version" in refused.stderr, refused.stderr
        assert "→" in refused.stderr
    assert fingerprint(again.data) == before


def test_a_frame_of_a_newer_version_is_named_and_kept_whole(again: Any, kept: Kept) -> None:
    """One frame in a journal of ours can only be damage: it is quarantined byte for byte, never deleted."""
    again.up("--role", "gateway")
    send(again, kept.token, kept.sent, 3)
    assert again.stop() == 0
    unread = next(path for path in journal(again) if int(path.stem) >= kept.sent)
    body = bytearray(unread.read_bytes())
    body[4] = 9
    body[36:40] = zlib.crc32(body[:36]).to_bytes(4, "little")
    unread.write_bytes(body)
    again.start("--role", "normaliser")
    normalised(again, kept.sent + 3 * BATCH)
    (loss,) = again.status()["losses"]
    assert "version" in loss["reason"]
    (frame,) = (again.data / "quarantine").glob("live-*.frame")
    assert frame.read_bytes()[:5] == b"SOCF\x09"
    assert again.stop() == 0


def test_damaged_files_are_named_and_the_rest_is_served(again: Any, kept: Kept) -> None:
    """A flipped byte, a file cut short, a file of zeros, a file that is gone: each costs no more than itself."""
    stored = rows_of(again)
    segment = next(path for path in stored if path.endswith(".parquet"))
    cut = next(path for path in stored if path.endswith(".arrow"))
    body = bytearray((again.data / segment).read_bytes())
    body[len(body) // 3] ^= 0x40
    (again.data / segment).write_bytes(body)
    whole = (again.data / cut).read_bytes()
    (again.data / cut).write_bytes(whole[: len(whole) // 2])
    done = again.soc("events", "search", "mark:kept", "--limit", "100000", "--json")
    assert kept.events - stored[segment] - stored[cut] <= len(json.loads(done.stdout)) < kept.events
    printed = again.soc("events", "search", "mark:kept", "--limit", "100000")
    assert cut in printed.stderr or cut in json.dumps(again.status()["quarantined"])
    verified = again.soc("store", "verify", "--json", check=False)
    assert verified.returncode == 1
    named = " ".join(fault["place"] for fault in json.loads(verified.stdout)) + json.dumps(again.status()["quarantined"])
    assert segment in named
    assert cut in named


def test_a_file_that_is_gone_is_named_and_the_rest_is_served(again: Any, kept: Kept) -> None:
    stored = rows_of(again)
    segment = next(path for path in stored if path.endswith(".parquet"))
    (again.data / segment).unlink()
    assert again.count("mark:kept") >= kept.events - stored[segment]
    verified = again.soc("store", "verify", "--json", check=False)
    assert verified.returncode == 1
    assert segment in " ".join(fault["place"] for fault in json.loads(verified.stdout)) + json.dumps(again.status()["quarantined"])


def rows_of(centre: Any) -> dict[str, int]:
    with closing(sqlite3.connect(centre.data / "node.db")) as node:
        return dict(node.execute("SELECT path, rows FROM segments WHERE removed IS NULL").fetchall())


def test_damaged_databases_are_named_with_what_to_do(again: Any) -> None:
    for name in ("state.db", "access.db"):
        good = (again.data / name).read_bytes()
        (again.data / name).write_bytes(b"\x13" * 8192)
        for side in ("-wal", "-shm"):
            (again.data / (name + side)).unlink(missing_ok=True)
        refused = again.soc("serve", check=False)
        assert refused.returncode == 1
        assert name in refused.stderr
        assert "→" in refused.stderr
        assert "Traceback" not in refused.stderr
        (again.data / name).write_bytes(good)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "x"}', "\0" * 40], ids=["empty", "list", "word", "zeros"])
def test_a_damaged_card_is_named_and_nothing_is_made_anew(again: Any, text: str) -> None:
    (again.data / "centre.json").write_text(text)
    refused = again.soc("serve", check=False)
    assert refused.returncode == 1
    assert "centre.json" in refused.stderr
    assert "backup" in refused.stderr
    assert (again.data / "centre.json").read_text() == text
