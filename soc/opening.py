"""Opening a data folder: its subfolders, both databases brought up to date, files that node.db forgot entered again."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from soc.config import Config
from soc.event import Lane
from soc.folder import DataFolder

__all__ = ["now_micros", "open_databases", "prepare", "reconcile"]

_FOLDERS = ("journal", "cuts", "segments", "quarantine", "run", "tmp")


def prepare(data: Path, config: Config, *, create: bool = True) -> DataFolder:
    """Open the folder, bring both databases up to date, enter files a lost node.db forgot. Raises SocError."""
    from soc.store.manifest import Manifest

    folder = DataFolder.open(data, create=create)
    for name in _FOLDERS:
        (data / name).mkdir(mode=0o700, exist_ok=True)
    fresh = not (data / "node.db").exists()
    manifest = Manifest.open(data)  # first: it refuses what a newer version wrote before anything is migrated
    try:
        state, access = open_databases(data, config)
        state.close()
        access.close()
        missing = any(not (data / s.path).exists() for s in manifest.snapshot().segments)
        if fresh or missing or any(manifest.cursor(lane) < _journal_from(data, lane) for lane in Lane):
            reconcile(data, manifest)
    finally:
        manifest.close()
    return folder


def reconcile(data: Path, manifest: Any) -> tuple[int, list[str]]:
    """Enter files that a lost or older node.db does not know (F6); returns how many, and those that cannot be read."""
    from soc.store.rebuild import rebuild

    return rebuild(data, manifest, {lane: _journal_from(data, lane) for lane in Lane}, now_micros())


def _journal_from(data: Path, lane: Lane) -> int:
    names = sorted(p.stem for p in (data / "journal" / lane.value).glob("*.jrn"))
    return int(names[0]) if names else 0


def open_databases(data: Path, config: Config) -> tuple[Any, Any]:
    """(state, access), migrated."""
    from soc.database import ACCESS, STATE, Database, sqlite_url

    state = Database.open(config.database.state.reveal() or sqlite_url(data / "state.db"), STATE)
    access = Database.open(config.database.access.reveal() or sqlite_url(data / "access.db"), ACCESS)
    state.migrate()
    access.migrate()
    return state, access


def now_micros() -> int:
    """The wall clock, microseconds since 1970 UTC."""
    return time.time_ns() // 1000
