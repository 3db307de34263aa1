"""`soc store verify`, `soc backup` and `soc restore` by command: what is damaged is named, what is copied is whole."""
from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

LINES = "".join(f'{{"@timestamp":"2026-03-01T00:00:{n % 60:02d}Z","message":"entry {n}"}}\n' for n in range(3000))


@pytest.fixture
def filled(centre: Any, tmp_path: Path) -> Any:
    """A stopped centre with 3,000 imported events."""
    log = tmp_path / "app.jsonl"
    log.write_text(LINES)
    centre.soc("import", str(log))
    assert centre.soc("events", "count").stdout.strip() == "3000"
    return centre


def faults(centre: Any) -> list[str]:
    done = centre.soc("store", "verify", "--json", check=False)
    found = [row["place"] for row in json.loads(done.stdout)]
    assert done.returncode == (1 if found else 0)
    return found


def test_verify_names_a_flipped_byte_a_dropped_file_and_a_dropped_frame(filled: Any) -> None:
    assert faults(filled) == []
    cut = sorted(filled.data.glob("cuts/bulk/*/*.arrow"))[0]
    name = str(cut.relative_to(filled.data))
    whole = cut.read_bytes()
    cut.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    assert [p for p in faults(filled) if p.startswith(name)]
    cut.unlink()
    assert faults(filled) == [name]
    cut.write_bytes(whole)
    assert faults(filled) == []
    journal = sorted(filled.data.glob("journal/bulk/*.jrn"))[-1]
    body = journal.read_bytes()
    second = body.index(b"SOCF", 4)
    third = body.index(b"SOCF", second + 4)
    journal.write_bytes(body[:second] + body[third:])
    found = faults(filled)
    assert len(found) == 1
    assert found[0].startswith(str(journal.relative_to(filled.data)))
    journal.write_bytes(body[:second])
    assert faults(filled)[0].startswith(str(journal.relative_to(filled.data)))


def test_a_backup_taken_while_events_arrive_is_a_whole_centre(centre: Any, wait_for: Any, tmp_path: Path) -> None:
    centre.start()
    token = centre.source("agent")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson", "Soc-Stream": "s", "Soc-Epoch": "0",
               "Soc-Read-At": "2026-03-01T00:00:00Z"}
    wait_for(lambda: centre.post("/ingest/v1/batches", b"", {})[0] in (400, 401, 411), 30)

    def send(first: int) -> None:
        body = "".join(f'{{"message":"entry {n}"}}\n' for n in range(first, first + 100)).encode()
        status, answer = centre.post("/ingest/v1/batches", body, {**headers, "Soc-First": str(first), "Soc-Count": "100"})
        assert status == 200, answer

    stopping = threading.Event()
    sent = [0]

    def stream() -> None:
        while not stopping.is_set():
            send(sent[0])
            sent[0] += 100

    sender = threading.Thread(target=stream)
    sender.start()
    wait_for(lambda: sent[0] >= 2000, 60)
    before = sent[0]
    centre.soc("backup", str(tmp_path / "backup"))
    wait_for(lambda: sent[0] >= before + 1000, 60)
    stopping.set()
    sender.join()
    assert centre.stop() == 0

    assert centre.soc("restore", "--check", str(tmp_path / "backup")).returncode == 0
    centre.data = tmp_path / "restored"
    centre.environment["SOC_DATA"] = str(centre.data)
    centre.soc("restore", str(tmp_path / "backup"))
    centre.start()
    wait_for(lambda: centre.post("/ingest/v1/batches", b"", {})[0] in (400, 401, 411), 30)
    for first in range(0, sent[0], 100):  # the sender still has everything and sends it again
        send(first)
    wait_for(lambda: int(centre.soc("events", "count").stdout) >= sent[0], 60, 0.5)
    assert int(centre.soc("events", "count").stdout) == sent[0]
    assert centre.soc("store", "verify", check=False).returncode == 0


def test_a_damaged_backup_is_refused_before_anything_is_written(filled: Any, tmp_path: Path) -> None:
    filled.soc("backup", str(tmp_path / "backup"))
    victim = next((tmp_path / "backup" / "cuts").rglob("*.arrow"))
    victim.write_bytes(victim.read_bytes()[:-1])
    filled.data = tmp_path / "restored"
    filled.environment["SOC_DATA"] = str(filled.data)
    done = filled.soc("restore", str(tmp_path / "backup"), check=False)
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert not filled.data.exists() or not any(filled.data.iterdir())
